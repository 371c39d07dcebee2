// SPDX-License-Identifier: Apache-2.0
//
// The JSON of an event. Every key is always there; what is not known is null
// (or an empty list), so that a reader never has to guess whether a key is
// missing or misspelled.
#include <fmt/format.h>
#include <sys/sysmacros.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "nodetrail/base/status.h"
#include "nodetrail/schema/event_view.h"
#include "nodetrail/schema/labels.h"
#include "nodetrail/schema/text.h"

namespace nodetrail::schema {
namespace {

namespace ev = event::v1;
using Json = nlohmann::ordered_json;

// A string that some other machine or user chose: valid UTF-8, exact bytes beside it if it was not.
void SetBytes(Json* out, const std::string& key, std::string_view bytes) {
  (*out)[key] = EscapeInvalidUtf8(bytes);
  if (!IsValidUtf8(bytes)) (*out)[key + "_b64"] = Base64(bytes);
}

void SetBytesOrNull(Json* out, const std::string& key, std::string_view bytes) {
  if (bytes.empty()) (*out)[key] = nullptr;
  else SetBytes(out, key, bytes);
}

Json IdOrNull(uint32_t id) { return id == kUnsetId ? Json(nullptr) : Json(id); }

Json HexOrNull(std::string_view bytes) { return bytes.empty() ? Json(nullptr) : Json(Hex(bytes)); }

Json CapsJson(const ev::Capabilities& caps) {
  const auto hex = [](uint64_t set) { return fmt::format("{:016x}", set); };
  return {{"effective", hex(caps.effective())},
          {"permitted", hex(caps.permitted())},
          {"inheritable", hex(caps.inheritable())},
          {"bounding", hex(caps.bounding())},
          {"ambient", hex(caps.ambient())}};
}

Json CredJson(const ev::Credentials& cred) {
  return {{"uid", cred.uid()},
          {"euid", cred.euid()},
          {"suid", cred.suid()},
          {"fsuid", cred.fsuid()},
          {"gid", cred.gid()},
          {"egid", cred.egid()},
          {"sgid", cred.sgid()},
          {"fsgid", cred.fsgid()},
          {"caps", CapsJson(cred.caps())},
          {"securebits", cred.securebits()},
          {"userns_level", cred.userns_level()},
          {"no_new_privs", cred.no_new_privs()},
          {"seccomp_mode", cred.seccomp_mode()}};
}

void SetArgv(Json* out, const google::protobuf::RepeatedPtrField<std::string>& argv) {
  Json list = Json::array();
  bool exact = true;
  for (const auto& arg : argv) {
    list.push_back(EscapeInvalidUtf8(arg));
    exact = exact && IsValidUtf8(arg);
  }
  (*out)["argv"] = std::move(list);
  if (!exact) {
    Json b64 = Json::array();
    for (const auto& arg : argv) b64.push_back(Base64(arg));
    (*out)["argv_b64"] = std::move(b64);
  }
}

Json ContainerJson(const ev::Process& process) {
  if (!process.has_container() || process.container().id().empty()) return nullptr;
  const auto& container = process.container();
  Json out;
  SetBytes(&out, "id", container.id());
  SetBytesOrNull(&out, "runtime", container.runtime());
  SetBytesOrNull(&out, "pod_uid", container.pod_uid());
  return out;
}

Json AncestorsJson(const ev::Process& process) {
  Json out = Json::array();
  for (const auto& a : process.ancestors()) {
    Json one;
    one["proc_uid"] = HexOrNull(a.proc_uid());
    one["pid"] = a.pid();
    SetBytesOrNull(&one, "exe", a.exe());
    SetBytesOrNull(&one, "argv0", a.argv0());
    one["uid"] = a.uid();
    SetBytesOrNull(&one, "user", a.user());
    out.push_back(std::move(one));
  }
  return out;
}

void SetPerson(const ev::Process& process, Json* out) {
  Json chain = Json::array();
  for (const auto& link : process.elevation()) {
    Json one;
    one["proc_uid"] = HexOrNull(link.proc_uid());
    SetBytesOrNull(&one, "tool", link.tool());
    SetBytesOrNull(&one, "cause", link.cause());
    one["from_uid"] = link.from_uid();
    SetBytesOrNull(&one, "from_user", link.from_user());
    one["to_uid"] = link.to_uid();
    SetBytesOrNull(&one, "to_user", link.to_user());
    Json command = Json::array();
    for (const auto& arg : link.command()) command.push_back(EscapeInvalidUtf8(arg));
    one["command"] = std::move(command);
    one["command_truncated"] = link.command_truncated();
    one["exec_boot_ns"] = link.exec_boot_ns() != 0 ? Json(link.exec_boot_ns()) : Json(nullptr);
    one["from_proc"] = link.from_proc();
    one["added_caps"] = link.added_caps() != 0 ? Json(fmt::format("{:016x}", link.added_caps())) : Json(nullptr);
    chain.push_back(std::move(one));
  }
  (*out)["elevation"] = std::move(chain);
  if (process.has_entry()) {
    const auto& entry = process.entry();
    Json one;
    one["kind"] = entry.kind();
    one["proc_uid"] = HexOrNull(entry.proc_uid());
    one["pid"] = entry.pid();
    SetBytesOrNull(&one, "exe", entry.exe());
    one["from_proc"] = entry.from_proc();
    (*out)["entry"] = std::move(one);
  } else {
    (*out)["entry"] = nullptr;
  }
  if (process.has_login()) {
    const auto& login = process.login();
    (*out)["login"] = Json{{"ip", FormatIp(login.source().ip())},
                           {"port", login.source().port()},
                           {"accepted_boot_ns", login.accepted_boot_ns()}};
  } else {
    (*out)["login"] = nullptr;
  }
}

Json ActorJson(const EventView& view) {
  const auto& e = view.event;
  if (!view.HasActor()) return nullptr;
  const auto& p = view.process != nullptr ? *view.process : ev::Process::default_instance();
  const auto& names = view.Names();
  Json out;
  out["proc_uid"] = HexOrNull(e.proc_uid());
  const bool known = view.process != nullptr;
  out["pid"] = known ? Json(p.pid()) : Json(nullptr);
  out["tid"] = e.tid();
  out["ppid"] = known ? Json(p.ppid()) : Json(nullptr);
  out["parent_uid"] = HexOrNull(p.parent_uid());
  out["exec_count"] = e.exec_count();
  out["start_boot_ns"] = p.start_boot_ns();
  SetBytesOrNull(&out, "comm", p.comm());
  SetBytesOrNull(&out, "exe", p.exe());
  SetArgv(&out, p.argv());
  out["argc"] = p.argc();
  SetBytesOrNull(&out, "cwd", p.cwd());
  SetBytesOrNull(&out, "script", p.script());
  if (e.has_cred()) {
    const Json cred = CredJson(e.cred());
    for (const auto& [key, value] : cred.items()) {
      if (key != "caps" && key != "userns_level" && key != "no_new_privs") out[key] = value;
    }
  } else {
    for (const char* key : {"uid", "euid", "suid", "fsuid", "gid", "egid", "sgid", "fsgid"}) out[key] = nullptr;
  }
  SetBytesOrNull(&out, "user", names.user());
  SetBytesOrNull(&out, "euser", view.EffectiveUser());
  SetBytesOrNull(&out, "group", names.group());
  out["login_uid"] = IdOrNull(e.login_uid());
  SetBytesOrNull(&out, "login_user", names.login_user());
  out["session_id"] = IdOrNull(e.session_id());
  out["caps"] = e.has_cred() ? CapsJson(e.cred().caps()) : Json(nullptr);
  out["userns_level"] = e.cred().userns_level();
  out["no_new_privs"] = e.cred().no_new_privs();
  out["ancestors"] = AncestorsJson(p);
  out["ancestors_truncated"] = p.ancestors_truncated();
  SetPerson(p, &out);
  out["container"] = ContainerJson(p);
  SetBytesOrNull(&out, "cgroup", p.cgroup_path());
  SetBytesOrNull(&out, "tty", FormatTty(p.tty_nr()));
  out["complete"] = known && p.complete();
  return out;
}

void SetPath(Json* out, const std::string& prefix, const ev::Path& path) {
  SetBytesOrNull(out, prefix.empty() ? "path" : prefix + "path", path.path());
  (*out)[prefix + "path_source"] = PathSourceLabel(path.source());
  SetBytesOrNull(out, prefix + "user_string", path.user_string());
  if (path.truncated()) (*out)[prefix + "path_truncated"] = true;
}

void SetFileRef(Json* out, const ev::FileRef& file) {
  (*out)["dev"] = fmt::format("{}:{}", major(file.dev()), minor(file.dev()));
  (*out)["ino"] = file.ino();
  (*out)["mode"] = fmt::format("{:07o}", file.mode());
  (*out)["uid"] = file.uid();
  (*out)["gid"] = file.gid();
  (*out)["nlink"] = file.nlink();
  (*out)["size"] = file.size();
  (*out)["fs_magic"] = file.fs_magic();
  (*out)["deleted"] = file.deleted();
  (*out)["memfd"] = file.memfd();
}

Json RequestedJson(const ev::FileChange& requested) {
  Json out = Json::object();
  if (requested.has_mode()) out["mode"] = fmt::format("{:04o}", requested.mode());
  if (requested.has_uid()) out["uid"] = IdOrNull(requested.uid());
  if (requested.has_gid()) out["gid"] = IdOrNull(requested.gid());
  if (requested.has_size()) out["size"] = requested.size();
  if (requested.has_device()) {
    out["device"] = fmt::format("{}:{}", major(requested.device()), minor(requested.device()));
  }
  return out;
}

Json FileJson(const ev::FileEvent& file) {
  Json out;
  out["type"] = "file";
  SetPath(&out, "", file.path());
  if (file.has_new_path()) SetPath(&out, "new_", file.new_path());
  else out["new_path"] = nullptr;
  if (file.has_file()) {
    SetFileRef(&out, file.file());
  } else {
    for (const char* key : {"dev", "ino", "mode", "uid", "gid"}) out[key] = nullptr;
  }
  out["open_flags"] = OpenFlagsText(file.open_flags());
  out["open_flags_raw"] = file.open_flags();
  out["open_mode"] = fmt::format("{:04o}", file.open_mode());
  out["directory"] = file.directory();
  out["rename_flags"] = file.rename_flags();
  out["syscall"] = file.syscall();
  if (file.has_before()) {
    out["before"] = Json::object();
    SetFileRef(&out["before"], file.before());
  }
  if (file.has_requested()) out["requested"] = RequestedJson(file.requested());
  if (!file.xattr().empty()) SetBytes(&out, "xattr", file.xattr());
  if (!file.link_target().empty()) SetBytes(&out, "link_target", file.link_target());
  return out;
}

Json CallJson(const ev::CallEvent& call) {
  Json out;
  out["type"] = "call";
  out["syscall"] = call.syscall();
  SetBytesOrNull(&out, "operation", call.operation());
  if (call.has_path()) SetPath(&out, "", call.path());
  else out["path"] = nullptr;
  if (call.has_source()) SetPath(&out, "source_", call.source());
  if (call.has_file()) SetFileRef(&out, call.file());
  SetBytesOrNull(&out, "text", call.text());
  out["args"] = Json::array();
  for (const uint64_t arg : call.args()) out["args"].push_back(arg);
  if (call.target_pid() != 0) {
    out["target"] = {{"pid", call.target_pid()}, {"proc_uid", HexOrNull(call.target_uid())}};
    SetBytesOrNull(&out["target"], "exe", call.target_exe());
  }
  return out;
}

void SetEndpoint(Json* out, const std::string& side, bool known, const ev::Endpoint& endpoint) {
  const auto ip = FormatIp(endpoint.ip());
  (*out)[side + "_ip"] = known && !ip.empty() ? Json(ip) : Json(nullptr);
  (*out)[side + "_port"] = known ? Json(endpoint.port()) : Json(nullptr);
}

// A socket made, bound, listened on, or connected within the host.
Json SocketJson(const ev::NetEvent& net) {
  Json out;
  out["type"] = "socket";
  SetBytesOrNull(&out, "family", net.family());
  SetBytesOrNull(&out, "socket_type", net.socket_type());
  SetBytesOrNull(&out, "protocol", net.protocol());
  SetBytesOrNull(&out, "direction", net.direction());
  if (net.has_local()) SetEndpoint(&out, "local", true, net.local());
  if (net.has_path()) SetPath(&out, "", net.path());
  if (!net.abstract_name().empty()) SetBytes(&out, "abstract_name", net.abstract_name());
  out["backlog"] = net.backlog();
  out["interface"] = net.interface();
  out["socket_cookie"] = net.socket_cookie();
  out["socket_inode"] = net.socket_inode();
  out["netns"] = net.netns();
  out["nonblocking"] = net.nonblocking();
  if (net.has_peer()) {
    const auto& peer = net.peer();
    out["peer"] = {
        {"pid", peer.pid()}, {"uid", peer.uid()}, {"gid", peer.gid()}, {"proc_uid", HexOrNull(peer.proc_uid())}};
    SetBytesOrNull(&out["peer"], "exe", peer.exe());
  }
  return out;
}

Json ConnectionJson(const ev::NetEvent& net) {
  Json out;
  out["type"] = "connection";
  out["protocol"] = net.protocol();
  out["direction"] = net.direction();
  SetEndpoint(&out, "local", net.has_local(), net.local());
  SetEndpoint(&out, "remote", net.has_remote(), net.remote());
  out["socket_cookie"] = net.socket_cookie();
  out["netns"] = net.netns();
  out["bytes_sent"] = net.bytes_sent();
  out["bytes_received"] = net.bytes_received();
  out["duration_ns"] = net.duration_ns();
  out["reset"] = net.reset();
  out["nonblocking"] = net.nonblocking();
  return out;
}

Json TamperJson(const ev::Tamper& tamper) {
  Json out;
  SetBytes(&out, "object", tamper.object());
  SetBytes(&out, "what", tamper.what());
  SetBytesOrNull(&out, "target", tamper.target());
  out["event_seq"] = tamper.event_seq() == 0 ? Json(nullptr) : Json(tamper.event_seq());
  out["restored"] = tamper.restored();
  out["stopped_ns"] = tamper.stopped_ns();
  SetBytesOrNull(&out, "actor_is", tamper.actor_is());
  return out;
}

Json AgentJson(const ev::AgentEvent& agent) {
  Json out;
  out["type"] = "agent";
  SetBytesOrNull(&out, "reason", agent.reason());
  out["clean"] = agent.clean();
  SetBytesOrNull(&out, "version", agent.version());
  SetBytesOrNull(&out, "stage", agent.stage());
  SetBytesOrNull(&out, "kind", agent.kind());
  out["cpu"] = agent.cpu();
  out["seq_from"] = agent.seq_from();
  out["seq_to"] = agent.seq_to();
  out["count"] = agent.count();
  out["from_boot_ns"] = agent.from_boot_ns();
  out["to_boot_ns"] = agent.to_boot_ns();
  const auto time = [](uint64_t ns) { return ns == 0 ? Json(nullptr) : Json(FormatTimeUtc(ns)); };
  out["from"] = time(agent.from_wall_ns());
  out["to"] = time(agent.to_wall_ns());
  out["last_epoch"] = agent.last_epoch();
  out["last_batch_seq"] = agent.last_batch_seq();
  out["last_batch_hash"] = HexOrNull(agent.last_batch_hash());
  SetBytesOrNull(&out, "scope", agent.scope());
  out["events_total"] = agent.events_total();
  out["lost_total"] = agent.lost_total();
  out["spool_bytes"] = agent.spool_bytes();
  out["processes"] = agent.processes();
  Json hooks = Json::array();
  for (const auto& hook : agent.hooks()) {
    Json one;
    SetBytes(&one, "hook", hook.hook());
    SetBytes(&one, "family", hook.family());
    SetBytes(&one, "domain", hook.domain());
    SetBytes(&one, "state", hook.state());
    SetBytes(&one, "why", hook.why());
    one["kinds"] = Json::array();
    for (const auto& kind : hook.kinds()) one["kinds"].push_back(EscapeInvalidUtf8(kind));
    hooks.push_back(std::move(one));
  }
  out["hooks"] = std::move(hooks);
  Json filtered = Json::array();
  for (const auto& f : agent.filtered()) {
    Json one;
    SetBytes(&one, "rule", f.rule());
    SetBytes(&one, "kind", f.kind());
    one["count"] = f.count();
    filtered.push_back(std::move(one));
  }
  out["filtered"] = std::move(filtered);
  Json domains = Json::array();
  for (const auto& domain : agent.domains()) {
    Json one;
    SetBytes(&one, "domain", domain.domain());
    SetBytes(&one, "state", domain.state());
    one["missing"] = Json::array();
    for (const auto& kind : domain.missing()) one["missing"].push_back(EscapeInvalidUtf8(kind));
    SetBytesOrNull(&one, "why", domain.why());
    domains.push_back(std::move(one));
  }
  out["domains"] = std::move(domains);
  if (agent.has_tamper()) out["tamper"] = TamperJson(agent.tamper());
  return out;
}

Json ProcessResource(const EventView& view) {
  const auto& e = view.event;
  Json out;
  out["type"] = "process";
  if (e.has_fork()) {
    out["proc_uid"] = HexOrNull(e.fork().child_uid());
    out["pid"] = e.fork().child_pid();
    out["ns_pid"] = e.fork().child_ns_pid();
    return out;
  }
  out["proc_uid"] = HexOrNull(e.proc_uid());
  if (view.process != nullptr) {
    out["pid"] = view.process->pid();
    SetBytesOrNull(&out, "path", view.process->exe());
    SetBytesOrNull(&out, "script", view.process->script());
    if (view.process->has_exe_file()) SetFileRef(&out, view.process->exe_file());
  } else {
    out["pid"] = nullptr;
    out["path"] = nullptr;
  }
  if (e.has_exec()) {
    SetBytesOrNull(&out, "prev_exe", e.exec().prev_exe());
    out["secureexec"] = e.exec().secureexec();
    out["thread_exec"] = e.exec().thread_exec();
    out["old_tid"] = e.exec().old_tid();
  }
  if (e.has_exit()) {
    const auto& exit = e.exit();
    out["exit_code"] = exit.exit_code();
    out["signal"] = exit.signal();
    out["core_dumped"] = exit.core_dumped();
    out["duration_ns"] = exit.duration_ns();
    out["user_ns"] = exit.user_ns();
    out["system_ns"] = exit.system_ns();
    out["max_rss_bytes"] = exit.max_rss_bytes();
  }
  return out;
}

Json CredentialsResource(const ev::CredEvent& cred) {
  Json out;
  out["type"] = "credentials";
  out["cause"] = CredCauseLabel(cred.cause());
  out["args"] = Json::array();
  for (const uint32_t arg : cred.args()) out["args"].push_back(IdOrNull(arg));
  return out;
}

Json ResourceJson(const EventView& view) {
  const auto& e = view.event;
  switch (e.body_case()) {
    case ev::Event::kCredChange: return CredentialsResource(e.cred_change());
    case ev::Event::kFile: return FileJson(e.file());
    case ev::Event::kNet: return KindIsConnection(e.kind()) ? ConnectionJson(e.net()) : SocketJson(e.net());
    case ev::Event::kAgent: return AgentJson(e.agent());
    case ev::Event::kCall: return CallJson(e.call());
    default: return ProcessResource(view);
  }
}

}  // namespace

Json EventJson(const EventView& view) {
  const auto& e = view.event;
  const auto kind = KindLabel(e.kind());
  Json out;
  SetBytes(&out, "event_id", FormatEventId(view));
  out["kind"] = kind;
  out["action"] = kind.substr(kind.find('.') + 1);
  out["time"] = FormatTimeUtc(e.t_wall_ns());
  out["t_boot_ns"] = e.t_boot_ns();
  SetBytes(&out, "node", view.Node());
  SetBytes(&out, "agent", view.facts.agent_id);
  SetBytes(&out, "tenant", view.facts.tenant);
  out["seq"] = e.seq();
  out["cpu"] = e.cpu();
  out["cpu_seq"] = e.cpu_seq();
  SetBytesOrNull(&out, "hook", e.hook());
  out["outcome"] = {{"success", e.outcome().success()},
                    {"errno", e.outcome().error()},
                    {"errno_name", e.outcome().error() > 0 ? Json(ErrnoName(e.outcome().error())) : Json(nullptr)},
                    {"retval", e.outcome().retval()}};
  out["actor"] = ActorJson(view);
  out["resource"] = ResourceJson(view);
  if (e.has_cred_change()) {
    out["before"] = CredJson(e.cred_change().before());
    out["after"] = e.has_cred() ? CredJson(e.cred()) : Json(nullptr);
  } else if (e.has_exec() && e.exec().has_cred_before()) {
    out["before"] = CredJson(e.exec().cred_before());
    out["after"] = e.has_cred() ? CredJson(e.cred()) : Json(nullptr);
  }
  out["gaps"] = Json::array();
  for (const auto& gap : e.gaps()) {
    Json one;
    SetBytes(&one, "what", gap.what());
    SetBytes(&one, "why", gap.why());
    out["gaps"].push_back(std::move(one));
  }
  out["redactions"] = Json::array();
  for (const auto& redaction : e.redactions()) {
    Json one;
    SetBytes(&one, "field", redaction.field());
    SetBytes(&one, "rule", redaction.rule());
    out["redactions"].push_back(std::move(one));
  }
  out["rule_ids"] = Json::array();
  for (const auto& rule : e.rule_ids()) out["rule_ids"].push_back(EscapeInvalidUtf8(rule));
  out["truncated"] = e.truncated();
  out["compat32"] = e.compat32();
  out["from_io_uring"] = e.from_io_uring();
  out["trail"] = {{"epoch", view.facts.epoch},
                  {"batch_seq", view.facts.batch_seq},
                  {"log_index", view.facts.log_index},
                  {"received", view.facts.received_wall_ns == 0 ? Json(nullptr)
                                                                : Json(FormatTimeUtc(view.facts.received_wall_ns))}};
  return out;
}

std::string DumpSafe(const Json& json, int indent) {
  const std::string raw = json.dump(indent, ' ', false, Json::error_handler_t::replace);
  // JSON escapes C0 only. DEL, C1 and bidirectional overrides are legal inside
  // its strings, and a terminal obeys them.
  std::string out;
  out.reserve(raw.size());
  for (size_t i = 0; i < raw.size(); ++i) {
    const auto c = static_cast<uint8_t>(raw[i]);
    const auto next = [&](size_t n) { return i + n < raw.size() ? static_cast<uint8_t>(raw[i + n]) : uint8_t{0}; };
    if (c == 0x7f) {
      out += "\\u007f";
    } else if (c == 0xc2 && next(1) >= 0x80 && next(1) < 0xa0) {
      out += fmt::format("\\u{:04x}", next(1));
      i += 1;
    } else if (c == 0xe2 &&
               ((next(1) == 0x80 && ((next(2) >= 0xa8 && next(2) <= 0xae) || next(2) == 0x8e || next(2) == 0x8f)) ||
                (next(1) == 0x81 && next(2) >= 0xa6 && next(2) <= 0xa9))) {
      out += fmt::format("\\u{:04x}", 0x2000U | ((next(1) & 0x3fU) << 6) | (next(2) & 0x3fU));
      i += 2;
    } else {
      out.push_back(raw[i]);
    }
  }
  return out;
}

std::string EventJsonLine(const EventView& view) { return DumpSafe(EventJson(view)); }

}  // namespace nodetrail::schema
