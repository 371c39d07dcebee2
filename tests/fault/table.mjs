// SPDX-License-Identifier: Apache-2.0
//
// The fault table: each row with its tests and how they ended.
//
//   node table.mjs names --rows FILE --list CTEST_JSON          the tests of all rows, as one regular expression
//   node table.mjs show --rows FILE --list CTEST_JSON --junit FILE --sweep FILE… [--guest FILE] [--json FILE]
//
// --guest: what ./dev test-guest said, a line a check: "ok 12 s row 16: …".
//
// Exit status of show: 0 what there are of tests and sweeps passed, 1 otherwise. A row without any is told as missing.
import { readFileSync, writeFileSync } from "node:fs";

const [mode, ...rest] = process.argv.slice(2);
const options = { sweep: [] };
for (let i = 0; i < rest.length; i += 2) {
  const name = rest[i].slice(2);
  if (name === "sweep") options.sweep.push(rest[i + 1]);
  else options[name] = rest[i + 1];
}

const allTests = JSON.parse(readFileSync(options.list, "utf8")).tests.map((test) => test.name);

function rowsOf(file) {
  const rows = [];
  for (const line of readFileSync(file, "utf8").split("\n")) {
    if (line === "" || line.startsWith("#")) continue;
    const [number, fault, tests = ""] = line.split("\t");
    const row = { row: number, fault, built: tests !== "-", sweeps: [], tests: [], guest: false };
    const patterns = [];
    for (const word of tests === "-" ? [] : tests.split(" ")) {
      if (word.startsWith("sweep:")) row.sweeps.push(word.slice(6));
      else if (word === "guest") row.guest = true;
      else if (word !== "") patterns.push(new RegExp(word));
    }
    row.tests = allTests.filter((name) => named(name).has(row.row) || patterns.some((pattern) => pattern.test(name)));
    rows.push(row);
  }
  return rows;
}

// Row07_… is of row 7, Row02And03_… of two.
function named(name) {
  const numbers = new Set();
  for (const match of name.matchAll(/Row(\d+)(?:And(\d+))?/g)) {
    for (const number of match.slice(1)) if (number !== undefined) numbers.add(String(Number(number)));
  }
  return numbers;
}

function results(file) {
  const out = new Map();
  for (const match of readFileSync(file, "utf8").matchAll(/<testcase name="([^"]*)"[^>]*?status="([^"]*)"/g)) {
    out.set(match[1], match[2]);
  }
  return out;
}

// Checks in a guest, by row.
function guestChecks(file) {
  const out = new Map();
  if (file === undefined) return out;
  for (const match of readFileSync(file, "utf8").matchAll(/^(ok|FAILED) +\d+ s +row (\S+): (.*)$/gm)) {
    const [, result, row, what] = match;
    if (!out.has(row)) out.set(row, { passed: 0, failed: [] });
    if (result === "ok") out.get(row).passed++;
    else out.get(row).failed.push(what);
  }
  return out;
}

function judge(rows) {
  const ended = results(options.junit);
  const nameOf = (sweep) => sweep.side + (sweep.fault === "kill" ? "" : `-${sweep.fault}`);
  const sweeps = new Map(options.sweep.map((file) => JSON.parse(readFileSync(file, "utf8"))).map((s) => [nameOf(s), s]));
  const guests = guestChecks(options.guest);
  for (const row of rows) {
    row.checks = guests.get(row.row) ?? { passed: 0, failed: [] };
    const states = row.tests.map((name) => ended.get(name) ?? "not run");
    row.passed = states.filter((state) => state === "run").length;
    row.failed = row.tests.filter((name) => ended.get(name) === "fail");
    row.notRun = states.filter((state) => state !== "run" && state !== "fail").length;
    row.points = row.sweeps.map((name) => sweeps.get(name)).filter((sweep) => sweep !== undefined);
    const sweepFailed = row.points.some((sweep) => sweep.failures.length > 0 || !sweep.crossed);
    if (!row.built) row.result = "not built";
    else if (row.failed.length + row.checks.failed.length > 0 || sweepFailed) row.result = "FAILED";
    else if (row.tests.length === 0 && row.sweeps.length === 0 && !row.guest) row.result = "MISSING";
    else if (row.points.length < row.sweeps.length || row.notRun > 0) row.result = "not run";
    else if (row.guest && row.checks.passed === 0) row.result = options.guest === undefined ? "guest not run" : "not run";
    else row.result = "holds";
  }
}

const rows = rowsOf(options.rows);
if (mode === "names") {
  const names = new Set(rows.flatMap((row) => row.tests));
  process.stdout.write(`^(${[...names].map((name) => name.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|")})$\n`);
} else {
  judge(rows);
  console.log("row  fault                                                 tests              result");
  for (const row of rows) {
    const points = row.points.map((sweep) => `${sweep.points_run} of ${sweep.points_total} points`);
    const tests = [...points, row.tests.length > 0 ? `${row.passed}/${row.tests.length}` : "",
      row.checks.passed > 0 ? `guest ${row.checks.passed}` : ""].filter((t) => t).join(", ");
    console.log(`${String(row.row).padStart(3)}  ${row.fault.padEnd(52)}  ${tests.padEnd(24)}  ${row.result}`);
    for (const name of row.failed) console.log(`       failed: ${name}`);
    for (const what of row.checks.failed) console.log(`       failed in a guest: ${what}`);
    for (const failure of row.points.flatMap((sweep) => sweep.failures)) {
      console.log(`       failed: ${failure.again} (${failure.where})`);
    }
  }
  const count = (result) => rows.filter((row) => row.result === result).length;
  console.log(
    `${rows.length} rows: ${count("holds")} hold, ${count("FAILED")} failed, ${count("MISSING")} missing, ` +
      `${count("not run")} not run, ${count("guest not run")} without their guest (--guest), ${count("not built")} not built`,
  );
  if (options.json !== undefined) {
    const out = rows.map(({ row, fault, result, tests, failed, points, checks }) => ({ row, fault, result, tests, failed, points, checks }));
    writeFileSync(options.json, `${JSON.stringify(out, null, 2)}\n`);
  }
  process.exitCode = count("FAILED") + count("not run") === 0 ? 0 : 1;
}
