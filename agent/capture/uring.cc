// SPDX-License-Identifier: Apache-2.0
#include "agent/capture/uring.h"

#include <bpf/btf.h>
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <optional>

namespace nodetrail::agent {
namespace {

struct Operation {
  std::string_view name;  // of IORING_OP_…
  std::string_view domain;
  std::vector<std::string_view> kinds;
};

const std::vector<Operation>& Operations() {
  static const std::vector<Operation> kOperations = {
      {"OPENAT", "file", {"file.open", "file.create", "file.denied"}},
      {"OPENAT2", "file", {"file.open", "file.create", "file.denied"}},
      {"UNLINKAT", "file", {"file.delete"}},
      {"RENAMEAT", "file", {"file.rename"}},
      {"LINKAT", "file", {"file.link"}},
      {"SYMLINKAT", "file", {"file.symlink"}},
      {"MKDIRAT", "file", {"file.mkdir"}},
      {"SETXATTR", "file", {"file.setxattr"}},
      {"FSETXATTR", "file", {"file.setxattr"}},
      {"FTRUNCATE", "file", {"file.truncate"}},
      {"CONNECT", "network", {"net.connect"}},
      {"ACCEPT", "network", {"net.accept"}},
  };
  return kOperations;
}

// The parameters of a tracepoint after the leading void*: the name of the struct
// each points to, "" for what is no pointer to a struct.
std::optional<std::vector<std::string>> ParametersOf(const btf* kernel, const std::string& tracepoint) {
  const int id = btf__find_by_name_kind(kernel, ("btf_trace_" + tracepoint).c_str(), BTF_KIND_TYPEDEF);
  if (id < 0) return std::nullopt;
  const btf_type* type = btf__type_by_id(kernel, static_cast<uint32_t>(id));
  type = btf__type_by_id(kernel, type->type);                       // pointer
  if (type != nullptr) type = btf__type_by_id(kernel, type->type);  // prototype
  if (type == nullptr || !btf_is_func_proto(type)) return std::nullopt;
  std::vector<std::string> names;
  for (uint16_t i = 1; i < btf_vlen(type); ++i) {
    const btf_type* parameter = btf__type_by_id(kernel, btf_params(type)[i].type);
    std::string name;
    if (parameter != nullptr && btf_is_ptr(parameter)) {
      const btf_type* pointed = btf__type_by_id(kernel, parameter->type);
      while (pointed != nullptr && btf_is_mod(pointed)) pointed = btf__type_by_id(kernel, pointed->type);
      if (pointed != nullptr && btf_is_struct(pointed)) name = btf__name_by_offset(kernel, pointed->name_off);
    }
    names.push_back(std::move(name));
  }
  return names;
}

// The enumerators of the request's flags have no enum's name.
std::optional<unsigned> FindEnumerator(const btf* kernel, std::string_view name) {
  for (uint32_t id = 1; id < btf__type_cnt(kernel); ++id) {
    const btf_type* type = btf__type_by_id(kernel, id);
    if (!btf_is_enum(type)) continue;
    for (uint16_t i = 0; i < btf_vlen(type); ++i) {
      if (btf__name_by_offset(kernel, btf_enum(type)[i].name_off) == name) {
        return static_cast<unsigned>(btf_enum(type)[i].val);
      }
    }
  }
  return std::nullopt;
}

std::vector<std::string> OperationsOf(const btf* kernel) {
  std::vector<std::string> found;
  const int id = btf__find_by_name_kind(kernel, "io_uring_op", BTF_KIND_ENUM);
  if (id < 0) return found;
  const btf_type* type = btf__type_by_id(kernel, static_cast<uint32_t>(id));
  for (uint16_t i = 0; i < btf_vlen(type); ++i) {
    std::string_view name = btf__name_by_offset(kernel, btf_enum(type)[i].name_off);
    constexpr std::string_view kPrefix = "IORING_OP_";
    if (!name.starts_with(kPrefix)) continue;
    name.remove_prefix(kPrefix.size());
    const auto known = [name](const Operation& operation) { return operation.name == name; };
    if (std::any_of(Operations().begin(), Operations().end(), known)) found.emplace_back(name);
  }
  return found;
}

}  // namespace

UringFacts ReadUringFacts(const btf* kernel) {
  UringFacts facts;
  if (kernel == nullptr) return facts;
  const auto complete = ParametersOf(kernel, "io_uring_complete");
  facts.present = complete.has_value();
  if (!facts.present) return facts;
  // (ctx, user_data, res, cflags) names no request. (ctx, req, user_data, res, cflags, extra1, extra2) does, and so
  // does (ctx, req, cqe), of newer kernels.
  facts.has_cqe = complete->size() == 3 && complete->at(2) == "io_uring_cqe";
  facts.complete = facts.has_cqe || complete->size() == 7;
  const auto first = [kernel](const char* tracepoint, size_t at) {
    const auto parameters = ParametersOf(kernel, tracepoint);
    return parameters && parameters->size() > at && parameters->at(at) == "io_kiocb";
  };
  facts.submit_req = first("io_uring_submit_req", 0);
  facts.submit_sqe = first("io_uring_submit_sqe", 0);
  facts.req_failed = first("io_uring_req_failed", 1);
  facts.creds_bit = FindEnumerator(kernel, "REQ_F_CREDS_BIT").value_or(64);
  facts.ops = OperationsOf(kernel);
  return facts;
}

UringVerdict JudgeUringHook(const UringFacts& facts, std::string_view tracepoint) {
  if (!tracepoint.starts_with("io_uring_")) return {};
  if (!facts.present) return {HookState::kOff, "this kernel has no io_uring"};
  if (tracepoint == "io_uring_submit_req" && !facts.submit_req && facts.submit_sqe) {
    return {HookState::kOff, "this kernel has tp_btf/io_uring_submit_sqe"};
  }
  if (tracepoint == "io_uring_submit_sqe" && !facts.submit_sqe && facts.submit_req) {
    return {HookState::kOff, "this kernel has tp_btf/io_uring_submit_req"};
  }
  const bool fits = tracepoint == "io_uring_submit_req"   ? facts.submit_req
                    : tracepoint == "io_uring_submit_sqe" ? facts.submit_sqe
                    : tracepoint == "io_uring_complete"   ? facts.complete
                                                          : facts.req_failed;
  if (fits) return {};
  return {HookState::kAbsent, "this kernel's tracepoint does not tell the request; 6.1 or later does"};
}

std::vector<HookCoverage> CoverUring(const UringFacts& facts, const std::vector<HookCoverage>& hooks) {
  std::string submit, complete, missing;
  for (const HookCoverage& hook : hooks) {
    if (!hook.hook.starts_with("tp_btf/io_uring_")) continue;
    const bool attached = hook.state == HookState::kAttached;
    if (attached && hook.hook.find("_submit_") != std::string::npos) submit = hook.hook;
    if (attached && hook.hook.ends_with("_complete")) complete = hook.hook;
    if (hook.state == HookState::kAbsent) missing = fmt::format("{}: {}", hook.hook, hook.why);
  }
  std::vector<HookCoverage> covered;
  for (const Operation& operation : Operations()) {
    HookCoverage entry;
    entry.hook = "io_uring/";
    for (const char c : operation.name) entry.hook += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    entry.family = "tracepoint";
    entry.domain = operation.domain;
    entry.kinds.assign(operation.kinds.begin(), operation.kinds.end());
    if (!facts.present) {
      entry.state = HookState::kOff;
      entry.why = "this kernel has no io_uring";
    } else if (std::find(facts.ops.begin(), facts.ops.end(), operation.name) == facts.ops.end()) {
      entry.state = HookState::kOff;
      entry.why = "this kernel's io_uring has no such operation";
    } else if (submit.empty() || complete.empty()) {
      entry.state = HookState::kAbsent;
      entry.why = missing.empty() ? "its tracepoints are not attached" : missing;
    } else {
      entry.state = HookState::kAttached;
      entry.why = fmt::format("seen by {} and {}", submit, complete);
    }
    covered.push_back(std::move(entry));
  }
  return covered;
}

}  // namespace nodetrail::agent
