// SPDX-License-Identifier: Apache-2.0
#include "collector/index/test_trail.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "nodetrail/schema/text.h"
#include "nodetrail/trail/body.h"
#include "nodetrail/trail/leaf.h"
#include "nodetrail/trail/log_entry.h"

namespace nodetrail::collector {
namespace {

namespace ev = event::v1;

template <typename T>
T Must(Result<T> result) {
  if (!result.ok()) std::fprintf(stderr, "test trail: %s\n", result.status().ToString().c_str());
  return std::move(result).value();
}

std::string UidOf(uint32_t pid) { return trail::Bytes(trail::Sha256Of(fmt::format("proc {}", pid))).substr(0, 16); }

constexpr std::array<const char*, 6> kUsers = {"root", "alice", "bob", "www-data", "", "m\xc3\xa5ns"};
constexpr std::array<uint32_t, 6> kUids = {0, 1000, 1001, 33, 4242, 1002};
constexpr std::array<const char*, 7> kPrograms = {"/usr/bin/bash",
                                                  "/usr/bin/curl",
                                                  "/usr/sbin/sshd",
                                                  "/usr/bin/vim",
                                                  "/usr/bin/rm",
                                                  "/opt/app/server",
                                                  "/tmp/x\xff"
                                                  "evil"};

}  // namespace

TestTrail::TestTrail(const std::string& dir)
    : dir_(dir),
      writer_(Must(trail::TrailWriter::Open(dir))),
      log_key_(trail::Ed25519Key::Generate()),
      verifier_(Must(trail::NoteVerifier::Make("trail.example.com/test", log_key_.public_key()))) {}

uint64_t TestTrail::Append(TestBatch batch) {
  Chain& chain = chains_[{batch.agent_id, batch.epoch}];
  if (chain.key == nullptr) chain.key = std::make_unique<trail::Ed25519Key>(trail::Ed25519Key::Generate());
  ev::EventBatch body;
  body.set_schema_version(1);
  if (chain.host_sha256.empty() && !batch.hostname.empty()) {
    ev::Host host;
    host.set_hostname(batch.hostname);
    host.set_kernel_release("6.1.0-test");
    body.set_host(host.SerializeAsString());
    chain.host_sha256 = trail::Bytes(trail::Sha256Of(body.host()));
  }
  body.set_host_sha256(chain.host_sha256);
  for (const auto& process : batch.processes) body.add_processes(process.SerializeAsString());
  const uint64_t first = chain.next_event;
  for (auto& event : batch.events) {
    event.set_seq(chain.next_event++);
    body.add_events(event.SerializeAsString());
  }
  const std::string raw = body.SerializeAsString();
  const std::string stored = Must(trail::CompressBody(raw, 1));
  const auto sha = trail::Sha256Of(stored);

  trail::v1::BatchHeader header;
  header.set_format_version(1);
  header.set_type(trail::v1::BATCH_TYPE_EVENTS);
  header.set_sig_alg(trail::v1::SIG_ALG_ED25519);
  header.set_body_codec(trail::v1::BODY_CODEC_ZSTD);
  header.set_assurance(trail::v1::ASSURANCE_SOFTWARE);
  header.set_tenant("default");
  header.set_agent_id(batch.agent_id);
  header.set_boot_id("11111111-2222-3333-4444-555555555555");
  header.set_epoch(batch.epoch);
  header.set_seq(chain.next_seq++);
  header.set_prev_hash(trail::Bytes(chain.prev));
  header.set_signer_key(trail::Bytes(chain.key->public_key()));
  auto next_key = std::make_unique<trail::Ed25519Key>(trail::Ed25519Key::Generate());
  header.set_next_key(trail::Bytes(next_key->public_key()));
  header.set_first_event_seq(first);
  header.set_last_event_seq(chain.next_event - 1);
  header.set_event_count(batch.events.size());
  header.set_raw_body_len(raw.size());
  header.set_stored_body_len(stored.size());
  header.set_events_root(trail::Bytes(trail::EventsRoot(body)));
  header.set_body_sha256(trail::Bytes(sha));
  if (!batch.events.empty()) {
    header.set_first_wall_ns(batch.events.front().t_wall_ns());
    header.set_last_wall_ns(batch.events.back().t_wall_ns());
  }
  header.mutable_losses()->set_ring(batch.lost);
  header.set_config_sha256(std::string(32, '\1'));
  header.set_program_sha256(std::string(32, '\2'));
  header.set_sealed_wall_ns(kTestTime);
  const std::string leaf = Must(trail::MakeLeaf(header.SerializeAsString(), *chain.key));
  chain.prev = trail::BatchHash(leaf);
  chain.key = std::move(next_key);

  NT_CHECK(writer_->PutBody(sha, stored).ok());
  // Readers take the time of storing from the file; in tests it is fixed.
  const std::string path = dir_ + "/" + trail::BodyPath(sha);
  const std::array<timespec, 2> times = {{{1'772'000'001, 0}, {1'772'000'001, 0}}};
  NT_CHECK(::utimensat(AT_FDCWD, path.c_str(), times.data(), 0) == 0);
  bodies_[writer_->size()] = path;
  const std::string_view view = leaf;
  NT_CHECK(writer_->AppendLeaves({&view, 1}).ok());
  tree_.Append(trail::LeafHash(leaf));
  return writer_->size();
}

uint64_t TestTrail::AppendEntry(const trail::v1::LogEntry& entry) {
  const std::string leaf = Must(trail::MakeLogEntry(entry, log_key_));
  const std::string_view view = leaf;
  NT_CHECK(writer_->AppendLeaves({&view, 1}).ok());
  tree_.Append(trail::LeafHash(leaf));
  return writer_->size();
}

void TestTrail::Checkpoint() {
  trail::Checkpoint checkpoint;
  checkpoint.origin = verifier_.name;
  checkpoint.size = tree_.size();
  checkpoint.root = tree_.Root();
  NT_CHECK(writer_->WriteCheckpoint(Must(trail::SignCheckpoint(checkpoint, log_key_))).ok());
}

ev::Process TestProcess(uint32_t pid, const std::string& exe, std::vector<std::string> argv,
                        const ev::Process* parent) {
  ev::Process out;
  out.set_proc_uid(UidOf(pid));
  out.set_exec_count(1);
  out.set_pid(pid);
  out.set_exe(exe);
  out.set_comm(schema::EscapeInvalidUtf8(exe.substr(exe.rfind('/') + 1)).substr(0, 15));
  out.set_argc(static_cast<uint32_t>(argv.size()));
  for (auto& arg : argv) out.add_argv(std::move(arg));
  out.set_cwd("/home");
  out.set_complete(true);
  if (parent != nullptr) {
    out.set_ppid(parent->pid());
    out.set_parent_uid(parent->proc_uid());
    auto* first = out.add_ancestors();
    first->set_proc_uid(parent->proc_uid());
    first->set_pid(parent->pid());
    first->set_exe(parent->exe());
    if (parent->argv_size() > 0) first->set_argv0(parent->argv(0));
    for (const auto& a : parent->ancestors()) {
      if (out.ancestors_size() < 16) *out.add_ancestors() = a;
    }
  }
  return out;
}

ev::Event TestEvent(ev::Kind kind, const ev::Process& process, uint64_t wall_ns, uint32_t uid, uint32_t login_uid) {
  ev::Event out;
  out.set_schema_version(1);
  out.set_kind(kind);
  out.set_t_wall_ns(wall_ns);
  out.set_t_boot_ns(wall_ns - kTestTime + 1'000'000);
  out.mutable_outcome()->set_success(true);
  out.set_proc_uid(process.proc_uid());
  out.set_exec_count(process.exec_count());
  out.set_tid(process.pid());
  auto* cred = out.mutable_cred();
  cred->set_uid(uid);
  cred->set_euid(uid);
  cred->set_suid(uid);
  cred->set_fsuid(uid);
  cred->set_gid(uid);
  cred->mutable_caps()->set_effective(uid == 0 ? 0x1ffffffffffULL : 0);
  out.set_login_uid(login_uid);
  out.set_session_id(login_uid == 0xffffffffU ? 0xffffffffU : 7);
  for (size_t i = 0; i < kUids.size(); ++i) {
    if (kUids[i] == uid) out.mutable_names()->set_user(kUsers[i]);
    if (kUids[i] == login_uid) out.mutable_names()->set_login_user(kUsers[i]);
  }
  return out;
}

EventMaker::EventMaker(uint32_t seed, size_t breadth) : random_(seed), breadth_(breadth) {
  processes_.push_back(TestProcess(1, "/usr/lib/systemd/systemd", {"/sbin/init"}));
}

ev::Event EventMaker::Event(const ev::Process& process) {
  static constexpr std::array<ev::Kind, 13> kKinds = {
      ev::KIND_PROCESS_EXEC, ev::KIND_PROCESS_FORK, ev::KIND_PROCESS_EXIT, ev::KIND_CRED_CHANGE, ev::KIND_FILE_OPEN,
      ev::KIND_FILE_OPEN,    ev::KIND_FILE_CREATE,  ev::KIND_FILE_DELETE,  ev::KIND_FILE_RENAME, ev::KIND_FILE_DENIED,
      ev::KIND_NET_CONNECT,  ev::KIND_NET_ACCEPT,   ev::KIND_NET_CLOSE};
  const size_t who = Pick(kUids.size());
  const size_t login = Pick(3) == 0 ? kUids.size() : Pick(kUids.size());
  ev::Event e = TestEvent(kKinds[Pick(kKinds.size())], process, wall_ns, kUids[who],
                          login == kUids.size() ? 0xffffffffU : kUids[login]);
  if (Pick(20) == 0) {
    e.mutable_cred()->set_euid(0);
    e.mutable_names()->set_euser("root");
  }
  if (Pick(10) == 0 || e.kind() == ev::KIND_FILE_DENIED) {
    const int err = e.kind() == ev::KIND_FILE_DENIED ? EACCES : Pick(2) == 0 ? ENOENT : ECONNREFUSED;
    e.mutable_outcome()->set_success(false);
    e.mutable_outcome()->set_error(err);
    e.mutable_outcome()->set_retval(-err);
  }
  const auto path = [this] {
    static constexpr std::array<const char*, 5> kDirs = {"/etc", "/home/alice/src", "/var/log/nginx", "/tmp",
                                                         "/srv/data with space"};
    return fmt::format("{}/file-{}{}", kDirs[Pick(kDirs.size())], Pick(breadth_), Pick(50) == 0 ? "\xfe" : ".conf");
  };
  switch (e.kind()) {
    case ev::KIND_PROCESS_EXEC: e.mutable_exec()->set_prev_exe("/usr/bin/bash"); break;
    case ev::KIND_PROCESS_FORK:
      e.mutable_fork()->set_child_pid(next_pid_);
      e.mutable_fork()->set_child_uid(UidOf(next_pid_));
      break;
    case ev::KIND_PROCESS_EXIT:
      e.mutable_exit()->set_exit_code(static_cast<uint32_t>(Pick(3)));
      e.mutable_exit()->set_duration_ns(Pick(10'000'000'000));
      break;
    case ev::KIND_CRED_CHANGE:
      e.mutable_cred_change()->set_cause(ev::CRED_CAUSE_SETUID);
      *e.mutable_cred_change()->mutable_before() = e.cred();
      e.mutable_cred_change()->mutable_before()->set_uid(0);
      break;
    case ev::KIND_NET_CONNECT:
    case ev::KIND_NET_ACCEPT:
    case ev::KIND_NET_CLOSE: {
      auto* net = e.mutable_net();
      net->set_protocol("tcp");
      net->set_direction(e.kind() == ev::KIND_NET_ACCEPT ? "inbound" : "outbound");
      std::string ip = {'\x0a', static_cast<char>(Pick(4)), static_cast<char>(Pick(256)),
                        static_cast<char>(Pick(breadth_) % 256)};
      if (Pick(4) == 0) ip = schema::NormaliseIp(ip);
      if (Pick(8) == 0) ip = *schema::ParseIp(fmt::format("2001:db8::{:x}", Pick(65536)));
      net->mutable_remote()->set_ip(ip);
      net->mutable_remote()->set_port(static_cast<uint32_t>(Pick(3) == 0 ? 443 : Pick(65536)));
      net->mutable_local()->set_ip(std::string("\x7f\0\0\1", 4));
      net->mutable_local()->set_port(static_cast<uint32_t>(Pick(65536)));
      net->set_bytes_sent(Pick(100'000));
      break;
    }
    default: {
      auto* file = e.mutable_file();
      file->mutable_path()->set_path(path());
      file->mutable_path()->set_source(ev::PATH_SOURCE_KERNEL_OBJECT);
      file->mutable_file()->set_ino(Pick(100'000));
      file->mutable_file()->set_mode(0100644);
      file->set_syscall("openat");
      file->set_open_flags(O_WRONLY | O_CREAT);
      if (e.kind() == ev::KIND_FILE_RENAME) file->mutable_new_path()->set_path(path());
    }
  }
  return e;
}

TestBatch EventMaker::Batch(size_t count) {
  TestBatch out;
  const size_t node = Pick(3);
  out.agent_id = fmt::format("web-{}", node);
  out.hostname = node == 2 ? "" : fmt::format("host-{}.example.com", node);
  // Long runs keep the young ones.
  if (processes_.size() > 400) processes_.erase(processes_.begin() + 1, processes_.begin() + 200);
  std::vector<size_t> used;
  while (out.events.size() < count) {
    if (processes_.size() < 4 || Pick(12) == 0) {
      const std::string exe = kPrograms[Pick(kPrograms.size())];
      auto process = TestProcess(
          next_pid_++, exe,
          {exe.substr(exe.rfind('/') + 1), Pick(2) == 0 ? "--force" : "-v", fmt::format("arg{}", Pick(breadth_))},
          &processes_[Pick(processes_.size())]);
      if (Pick(4) == 0) process.mutable_container()->set_id(fmt::format("{:064x}", Pick(breadth_) + 1));
      process.set_tty_nr(Pick(2) == 0 ? 34816 : 0);
      processes_.push_back(std::move(process));
    }
    wall_ns += Pick(1'000'000'000 / std::max<size_t>(count, 1) + 1);
    const size_t at = processes_.size() - 1 - Pick(std::min<size_t>(processes_.size(), 40));
    if (Pick(200) == 0) {
      // The agent speaks of itself; and an actor whose record was lost.
      ev::Event e;
      e.set_kind(Pick(2) == 0 ? ev::KIND_AGENT_HEARTBEAT : ev::KIND_AGENT_LOSS);
      e.set_t_wall_ns(wall_ns);
      e.mutable_outcome()->set_success(true);
      e.mutable_agent()->set_stage(e.kind() == ev::KIND_AGENT_LOSS ? "ring" : "");
      e.mutable_agent()->set_count(e.kind() == ev::KIND_AGENT_LOSS ? 3 : 0);
      out.events.push_back(std::move(e));
      continue;
    }
    out.events.push_back(Event(processes_[at]));
    if (Pick(300) != 0) used.push_back(at);
  }
  std::sort(used.begin(), used.end());
  used.erase(std::unique(used.begin(), used.end()), used.end());
  for (const size_t at : used) out.processes.push_back(processes_[at]);
  return out;
}

}  // namespace nodetrail::collector
