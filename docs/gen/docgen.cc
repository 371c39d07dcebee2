// SPDX-License-Identifier: Apache-2.0
//
// Writes docs/events.md and docs/configuration.md from the schema, comments
// included, so that the documents can't differ from what the programs do.
//
//   nt_docgen DESCRIPTORS --write DIR     writes them into DIR
//   nt_docgen DESCRIPTORS --check DIR     fails if what is in DIR differs
//
// DESCRIPTORS: a FileDescriptorSet with source info, as protoc writes it.
#include <fmt/format.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "nodetrail/base/fd.h"
#include "nodetrail/config/v1/config.pb.h"
#include "nodetrail/event/v1/event.pb.h"

namespace nodetrail {
namespace {

namespace pb = google::protobuf;
namespace cfg = config::v1;
namespace ev = event::v1;

constexpr size_t kMaxInput = 16U << 20;

// One line, safe inside a table cell.
std::string Cell(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\n') {
      if (!out.empty() && out.back() != ' ') out += ' ';
    } else if (c == '|') {
      out += "\\|";
    } else if (c != ' ' || (!out.empty() && out.back() != ' ')) {
      out += c;
    }
  }
  while (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

template <typename D>
std::string CommentOf(const D& descriptor) {
  pb::SourceLocation location;
  if (!descriptor.GetSourceLocation(&location)) return "";
  std::string text = location.leading_comments;
  if (!location.trailing_comments.empty()) text += (text.empty() ? "" : " ") + location.trailing_comments;
  return Cell(text);
}

std::string Anchor(std::string_view heading) {
  std::string out;
  for (const char c : heading) {
    if (c == ' ') {
      out += '-';
    } else if (std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_') {
      out += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
  }
  return out;
}

std::string TypeOf(const pb::FieldDescriptor& field) {
  std::string name;
  if (field.is_map()) return "map of text";
  switch (field.cpp_type()) {
    case pb::FieldDescriptor::CPPTYPE_MESSAGE:
      name = fmt::format("[{}](#{})", field.message_type()->name(), Anchor(field.message_type()->name()));
      break;
    case pb::FieldDescriptor::CPPTYPE_ENUM:
      name = fmt::format("[{}](#{})", field.enum_type()->name(), Anchor(field.enum_type()->name()));
      break;
    default: name = field.type_name();
  }
  return field.is_repeated() ? "list of " + name : name;
}

// ---- events.md ------------------------------------------------------------

void AppendMessage(const pb::Descriptor& message, std::string* out) {
  *out += fmt::format("### {}\n\n", message.name());
  if (const auto comment = CommentOf(message); !comment.empty()) *out += comment + "\n\n";
  *out += "| # | field | type | meaning |\n|--:|---|---|---|\n";
  for (int i = 0; i < message.field_count(); ++i) {
    const auto& field = *message.field(i);
    *out += fmt::format("| {} | `{}` | {} | {} |\n", field.number(), field.name(), TypeOf(field), CommentOf(field));
  }
  *out += '\n';
}

void AppendEnum(const pb::EnumDescriptor& type, std::string* out) {
  *out += fmt::format("### {}\n\n", type.name());
  if (const auto comment = CommentOf(type); !comment.empty()) *out += comment + "\n\n";
  *out += "| # | printed | meaning |\n|--:|---|---|\n";
  for (int i = 0; i < type.value_count(); ++i) {
    const auto& options = type.value(i)->options();
    *out += fmt::format("| {} | `{}` | {} |\n", type.value(i)->number(), options.GetExtension(ev::label),
                        Cell(options.GetExtension(ev::summary)));
  }
  *out += '\n';
}

std::string Domain(int kind) {
  switch (kind / 100) {
    case 1: return "Process";
    case 2: return "Privilege";
    case 3: return "File";
    case 4: return "Network";
    default: return "The agent itself";
  }
}

std::string Events(const pb::FileDescriptor& file) {
  std::string out =
      "<!-- Generated from proto/nodetrail/event/v1/event.proto by `./dev docs`; do not edit. -->\n"
      "# Events\n\n"
      "What is recorded, and every field of it. Kinds are written as printed and queried "
      "(`nodetrail query --kind file.delete`). The OCSF column is the class of the "
      "[Open Cybersecurity Schema Framework](https://schema.ocsf.io) that the kind maps to. A critical kind closes its "
      "batch early, so that it is durable within a few tens of milliseconds.\n\n"
      "The schema is append-only: the number of a field or of a kind is never given another meaning.\n\n"
      "## Kinds\n\n";
  const pb::EnumDescriptor& kinds = *file.FindEnumTypeByName("Kind");
  std::string domain;
  for (int i = 0; i < kinds.value_count(); ++i) {
    const auto& value = *kinds.value(i);
    if (value.number() == 0) continue;
    if (Domain(value.number()) != domain) {
      domain = Domain(value.number());
      out += fmt::format("{}**{}**\n\n| kind | # | OCSF | critical | what happened |\n|---|--:|--:|:-:|---|\n",
                         i > 1 ? "\n" : "", domain);
    }
    const auto& options = value.options();
    const uint32_t ocsf = options.GetExtension(ev::ocsf_class);
    out += fmt::format("| `{}` | {} | {} | {} | {} |\n", options.GetExtension(ev::label), value.number(),
                       ocsf == 0 ? "" : fmt::to_string(ocsf), options.GetExtension(ev::critical) ? "yes" : "",
                       Cell(options.GetExtension(ev::summary)));
  }
  out +=
      "\n## The record\n\n"
      "The messages as they are signed and stored. Times: `*_ns` are nanoseconds; `t_boot_ns` counts from boot "
      "(CLOCK_BOOTTIME, suspend included), `t_wall_ns` is UTC since the Unix epoch. User and group ids are those of "
      "the "
      "initial user namespace. Paths and arguments are bytes: they need not be UTF-8.\n\n";
  AppendMessage(*file.FindMessageTypeByName("Event"), &out);
  for (int i = 0; i < file.message_type_count(); ++i) {
    if (file.message_type(i)->name() != "Event") AppendMessage(*file.message_type(i), &out);
  }
  out += "## Enumerations\n\n";
  for (int i = 0; i < file.enum_type_count(); ++i) {
    if (file.enum_type(i)->name() != "Kind") AppendEnum(*file.enum_type(i), &out);
  }
  out.pop_back();
  return out;
}

// ---- configuration.md -----------------------------------------------------

std::string YamlType(const pb::FieldDescriptor& field) {
  if (field.is_map()) return "block of text";
  switch (field.cpp_type()) {
    case pb::FieldDescriptor::CPPTYPE_STRING:
      return field.options().GetExtension(cfg::path) || field.options().GetExtension(cfg::file_must_exist) ? "path"
                                                                                                           : "text";
    case pb::FieldDescriptor::CPPTYPE_BOOL: return "true or false";
    default: return "number";
  }
}

std::string Allowed(const pb::FieldDescriptor& field) {
  const auto& options = field.options();
  if (options.HasExtension(cfg::one_of)) {
    std::string text = options.GetExtension(cfg::one_of);
    for (size_t at = 0; (at = text.find(',', at)) != std::string::npos; at += 4) text.replace(at, 1, "`, `");
    return "`" + text + "`";
  }
  if (options.GetExtension(cfg::file_must_exist)) return "an existing file";
  const bool has_min = options.HasExtension(cfg::min);
  const bool has_max = options.HasExtension(cfg::max);
  if (has_min && has_max)
    return fmt::format("{} to {}", options.GetExtension(cfg::min), options.GetExtension(cfg::max));
  if (has_max) return fmt::format("at most {}", options.GetExtension(cfg::max));
  if (has_min) return fmt::format("at least {}", options.GetExtension(cfg::min));
  return "";
}

void AppendKeys(const pb::Descriptor& message, const std::string& prefix, bool optional, std::string* out) {
  for (int i = 0; i < message.field_count(); ++i) {
    const auto& field = *message.field(i);
    const auto& options = field.options();
    const std::string key = prefix + field.name();
    const std::string help = Cell(options.GetExtension(cfg::help));
    if (field.cpp_type() == pb::FieldDescriptor::CPPTYPE_MESSAGE && !field.is_map()) {
      const bool block_optional = options.GetExtension(cfg::optional_block);
      if (field.is_repeated() || block_optional) {
        *out += fmt::format("| `{}` | {} |  |  | {} |\n", key,
                            field.is_repeated() ? "list of blocks" : "block, optional", help);
      }
      AppendKeys(*field.message_type(), key + (field.is_repeated() ? "[]." : "."),
                 optional || block_optional || field.is_repeated(), out);
      continue;
    }
    std::string preset;
    if (options.GetExtension(cfg::required)) {
      preset = optional ? "required in it" : "**required**";
    } else if (options.HasExtension(cfg::default_value)) {
      preset = fmt::format("`{}`", options.GetExtension(cfg::default_value));
    }
    *out += fmt::format("| `{}` | {} | {} | {} | {} |\n", key, YamlType(field), preset, Allowed(field), help);
  }
}

std::string Configuration(const pb::FileDescriptor& file) {
  std::string out =
      "<!-- Generated from proto/nodetrail/config/v1/config.proto by `./dev docs`; do not edit. -->\n"
      "# Configuration\n\n"
      "Each program reads one YAML file (`--config`). A file is checked as a whole before anything starts, and all its "
      "errors are told at once, each with line, column, key and fix; the exit status is then 2. `--check-config` does "
      "only that.\n\n"
      "- An unknown key, a key given twice, a value of another type or out of range is an error.\n"
      "- A key that is left out has its default. A block may be left out if nothing in it is required.\n"
      "- A relative path counts from the folder of the configuration file.\n"
      "- Anchors, aliases, tags and a second document are not supported; a file has at most 256 KiB.\n"
      "- There are no secrets in a configuration: keys are in files of their own.\n";
  const struct {
    const char* message;
    const char* title;
    const char* path;
  } programs[] = {{"AgentConfig", "nodetrail-agent", "/etc/nodetrail/agent.yaml"},
                  {"CollectorConfig", "nodetrail-collector", "/etc/nodetrail/collector.yaml"},
                  {"WitnessConfig", "nodetrail-witness", "/etc/nodetrail/witness.yaml"},
                  {"CliConfig", "nodetrail", "/etc/nodetrail/cli.yaml"}};
  for (const auto& program : programs) {
    out += fmt::format(
        "\n## {}\n\nDefault file: `{}`\n\n| key | value | default | allowed | meaning |\n|---|---|---|---|---|\n",
        program.title, program.path);
    AppendKeys(*file.FindMessageTypeByName(program.message), "", false, &out);
  }
  return out;
}

int Fail(std::string_view what) {
  std::fprintf(stderr, "nt_docgen: %s\n", std::string(what).c_str());
  return 1;
}

// The first line in which the two differ.
std::string FirstDifference(std::string_view have, std::string_view want) {
  int line = 1;
  while (true) {
    const auto a = have.substr(0, have.find('\n'));
    const auto b = want.substr(0, want.find('\n'));
    if (a != b) return fmt::format("line {}\n  have: {}\n  want: {}", line, a, b);
    if (a.size() == have.size() || b.size() == want.size()) return fmt::format("line {}: one ends here", line);
    have.remove_prefix(a.size() + 1);
    want.remove_prefix(b.size() + 1);
    ++line;
  }
}

int Run(int argc, char** argv) {
  const std::string_view mode = argc == 4 ? argv[2] : "";
  if (mode != "--write" && mode != "--check") return Fail("usage: nt_docgen DESCRIPTORS --write|--check DIR");
  const auto bytes = ReadFile(argv[1], kMaxInput);
  if (!bytes.ok()) return Fail(bytes.status().message());
  pb::FileDescriptorSet set;
  if (!set.ParseFromString(*bytes)) return Fail("not a FileDescriptorSet");
  pb::DescriptorPool pool;
  for (const auto& file : set.file()) {
    if (pool.BuildFile(file) == nullptr) return Fail(fmt::format("{}: not a good descriptor", file.name()));
  }
  const std::map<std::string, std::string> documents = {
      {"events.md", Events(*pool.FindFileByName("nodetrail/event/v1/event.proto"))},
      {"configuration.md", Configuration(*pool.FindFileByName("nodetrail/config/v1/config.proto"))}};
  int result = 0;
  for (const auto& [name, text] : documents) {
    const std::string path = fmt::format("{}/{}", argv[3], name);
    if (mode == "--write") {
      if (const Status written = WriteFileAtomically(path, text, 0644); !written.ok()) return Fail(written.message());
      continue;
    }
    const auto have = ReadFile(path, kMaxInput);
    if (!have.ok()) return Fail(have.status().message());
    if (*have != text) {
      result = Fail(
          fmt::format("{} is not what the schema says; ./dev docs mends it: {}", path, FirstDifference(*have, text)));
    }
  }
  return result;
}

}  // namespace
}  // namespace nodetrail

int main(int argc, char** argv) { return nodetrail::Run(argc, argv); }
