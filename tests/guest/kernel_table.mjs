// SPDX-License-Identifier: Apache-2.0
//
// What the guests' tests said, as a table.
//
//   node kernel_table.mjs --dir DIR --json FILE [--docs FILE] [--insns FILE]      DIR: jobs.tsv and the guests' outputs
//
// Exit status: 0 each kernel does what is expected of it, 1 otherwise.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const options = {};
for (let i = 2; i < process.argv.length; i += 2) options[process.argv[i].slice(2)] = process.argv[i + 1];

// It records what the verifier walked, a property a program.
const verifierTest = "VerifierTest.WalksNoMoreThanItDid";
const tooOld = /kernel \S+ is too old \(.*\); \S+ or later is needed/;

function outcome(line) {
  const [kernel, hooks, expect, code, seconds] = line.split("\t");
  const text = readFileSync(join(options.dir, `${kernel}-${hooks}.out`), "utf8");
  const job = { kernel, hooks, expect, seconds: Number(seconds), release: /^== release (\S+)/m.exec(text)?.[1] ?? null, tests: [] };
  job.insns = {};
  const json = /^== json\s*$([\s\S]*?)^== end\s*$/m.exec(text)?.[1];
  if (json === undefined) return { ...job, good: false, why: `no result (${code})` };
  for (const suite of JSON.parse(json).testsuites) {
    for (const test of suite.testsuite) {
      if (`${suite.name}.${test.name}` === verifierTest) {
        for (const [key, value] of Object.entries(test)) if (/^(tp|tp_btf)__/.test(key)) job.insns[key] = Number(value);
      }
      job.tests.push({ suite: suite.name, name: `${suite.name}.${test.name}`, skipped: test.result === "SKIPPED", failures: test.failures?.map((f) => f.failure) ?? [] });
    }
  }
  const failed = job.tests.filter((test) => test.failures.length > 0);
  if (expect === "refused") {
    const said = job.tests.length > 0 && job.tests.every((test) => test.failures.some((failure) => tooOld.test(failure)));
    return { ...job, good: said, why: said ? "refused, and says so" : "was to say that it is too old" };
  }
  const skipped = job.tests.filter((test) => test.skipped);
  const ran = job.tests.length > 0 && Number(code) === 0;
  const why = `${job.tests.length - failed.length - skipped.length} of ${job.tests.length}` + (skipped.length > 0 ? `, ${skipped.length} skipped` : "");
  return { ...job, good: ran && failed.length === 0 && skipped.length === 0, why };
}

// Columns as wide as what stands in them.
function table(rows) {
  const widths = rows[0].map((_, i) => Math.max(...rows.map((row) => row[i].length)));
  return rows.map((row) => row.map((cell, i) => cell.padEnd(widths[i])).join("  ").trimEnd()).join("\n");
}

function document(jobs) {
  const suites = [...new Set(jobs.flatMap((job) => job.tests.map((test) => test.suite)))];
  const kernels = [...new Set(jobs.map((job) => job.kernel))];
  const cell = (kernel, suite) =>
    jobs
      .filter((job) => job.kernel === kernel)
      .map((job) => {
        if (job.expect === "refused") return job.good ? "refused" : "**wrong**";
        const tests = job.tests.filter((test) => test.suite === suite);
        const passed = tests.filter((test) => test.failures.length === 0 && !test.skipped).length;
        return passed === tests.length ? `${passed}` : `**${passed} of ${tests.length}**`;
      })
      .filter((value, i, all) => all.indexOf(value) === i)
      .join(" / ");
  const lines = [
    "# Kernels",
    "",
    "Written by `./dev test-kernel --write-docs`, which runs the ground-truth tests in a guest per kernel and kind of system call hook",
    "(QEMU in software emulation, Debian's cloud kernels). Each test does one act and compares every field of what the probes tell.",
    "A number: so many tests passed, with per-syscall tracepoints and with `tp_btf/sys_exit`; one number when it is the same with both.",
    "*refused*: the kernel is below the floor ([ADR 5](adr/0005-kernel-floor.md)); the probes don't load, and say why.",
    "*Verifier*: no program takes the kernel's verifier more than 10 % more instructions than [bpf/insns.tsv](../bpf/insns.tsv) has for that kernel with two CPUs; these guests have one, with which it walks up to a fifth less.",
    "",
    `| kernel | release tested | ${suites.map((suite) => suite.replace(/Test$/, "")).join(" | ")} |`,
    `|---|---|${suites.map(() => "---").join("|")}|`,
    ...kernels.map((kernel) => {
      const release = jobs.find((job) => job.kernel === kernel && job.release !== null)?.release ?? "?";
      return `| ${kernel} | ${release} | ${suites.map((suite) => cell(kernel, suite)).join(" | ")} |`;
    }),
    "",
  ];
  return lines.join("\n");
}

// What the verifier walked, of both kinds of hooks together.
function insnsTable(jobs) {
  const lines = [
    "# SPDX-License-Identifier: Apache-2.0",
    "# Written by `./dev test-kernel --write-insns`: kernel, BPF program, instructions that its verifier walked (it refuses at",
    "# 1,000,000). VerifierTest of the root tier fails where a program takes 10 % more.",
  ];
  for (const release of new Set(jobs.filter((job) => job.expect === "works").map((job) => job.release))) {
    const kernel = /^\d+\.\d+/.exec(release)[0];
    const insns = Object.assign({}, ...jobs.filter((job) => job.release === release).map((job) => job.insns));
    for (const program of Object.keys(insns).sort()) lines.push(`${kernel}\t${program}\t${insns[program]}`);
  }
  return lines.join("\n") + "\n";
}

const jobs = readFileSync(join(options.dir, "jobs.tsv"), "utf8").trim().split("\n").map(outcome);
jobs.sort((a, b) => a.kernel.localeCompare(b.kernel, "en", { numeric: true }) || a.hooks.localeCompare(b.hooks));
console.log(table([["kernel", "release", "hooks", "result", "", "seconds"], ...jobs.map((job) => [job.kernel, job.release ?? "?", job.hooks, job.why, job.good ? "ok" : "FAILED", String(job.seconds)])]));
for (const job of jobs.filter((each) => !each.good)) {
  const failed = job.tests.filter((test) => test.failures.length > 0 && job.expect === "works");
  console.log(`\n${job.kernel} ${job.hooks}: whole output in ${join(options.dir, `${job.kernel}-${job.hooks}.out`)}`);
  for (const test of failed) {
    console.log(`  ${test.name}\n${test.failures[0].replace(/^/gm, "    ")}`);
    console.log(`    again: ./dev test-kernel ${job.kernel} --hooks ${job.hooks} --filter '${test.name}'`);
  }
}
writeFileSync(options.json, JSON.stringify(jobs, null, 1) + "\n");
if (options.docs !== undefined) writeFileSync(options.docs, document(jobs));
if (options.insns !== undefined && jobs.every((job) => job.good && (job.expect === "refused" || Object.keys(job.insns).length > 0))) {
  writeFileSync(options.insns, insnsTable(jobs));
}
process.exit(jobs.every((job) => job.good) ? 0 : 1);
