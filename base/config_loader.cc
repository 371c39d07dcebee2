// SPDX-License-Identifier: Apache-2.0
#include "nodetrail/base/config_loader.h"

#include <fmt/format.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <openssl/evp.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/yaml_tree.h"
#include "nodetrail/base/fd.h"
#include "nodetrail/config/v1/config.pb.h"

namespace nodetrail {
namespace {

namespace pb = google::protobuf;
namespace cfg = config::v1;

constexpr size_t kMaxErrorsTold = 50;
constexpr size_t kMaxShown = 40;  // of a value or a key in an error

// For an error message: bounded, without control characters.
std::string Shown(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, kMaxShown)) {
    const auto u = static_cast<unsigned char>(c);
    if (u < 0x20 || u == 0x7f) {
      out += fmt::format("\\x{:02x}", u);
    } else {
      out += c;
    }
  }
  if (text.size() > kMaxShown) out += "...";
  return out;
}

bool IsUtf8(std::string_view s) {
  size_t i = 0;
  while (i < s.size()) {
    const auto c = static_cast<unsigned char>(s[i]);
    size_t more = 0;
    uint32_t code = 0;
    if (c < 0x80) {
      ++i;
      continue;
    }
    if (c >= 0xc2 && c <= 0xdf) {
      more = 1;
      code = c & 0x1fU;
    } else if (c >= 0xe0 && c <= 0xef) {
      more = 2;
      code = c & 0x0fU;
    } else if (c >= 0xf0 && c <= 0xf4) {
      more = 3;
      code = c & 0x07U;
    } else {
      return false;
    }
    if (s.size() - i <= more) return false;
    for (size_t k = 1; k <= more; ++k) {
      const auto next = static_cast<unsigned char>(s[i + k]);
      if ((next & 0xc0U) != 0x80) return false;
      code = code << 6 | (next & 0x3fU);
    }
    if ((more == 2 && code < 0x800) || (more == 3 && code < 0x10000) || code > 0x10ffff ||
        (code >= 0xd800 && code <= 0xdfff)) {
      return false;
    }
    i += more + 1;
  }
  return true;
}

// Levenshtein, over words that are bounded by the caller.
size_t Distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0U : 1U)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

// "; did you mean x?", or "; one of a, b, c".
std::string Suggest(std::string_view word, const std::vector<std::string>& known) {
  if (word.size() <= kMaxShown) {
    const std::string* best = nullptr;
    size_t best_distance = std::max<size_t>(2, word.size() / 3) + 1;
    for (const auto& candidate : known) {
      const bool longer_form = candidate.size() >= 3 && word.starts_with(candidate);  // "warning" for "warn"
      // It is never less than the difference of the lengths: most need no table.
      const size_t least = std::max(word.size(), candidate.size()) - std::min(word.size(), candidate.size());
      if (!longer_form && least >= best_distance) continue;
      const size_t d = longer_form ? 1 : Distance(word, candidate);
      if (d < best_distance && d < candidate.size()) {
        best = &candidate;
        best_distance = d;
      }
    }
    if (best != nullptr) return fmt::format("; did you mean {}?", *best);
  }
  return fmt::format("; one of: {}", fmt::join(known, ", "));
}

std::vector<std::string> SplitCommas(const std::string& text) {
  std::vector<std::string> parts;
  size_t begin = 0;
  while (begin <= text.size()) {
    const size_t end = std::min(text.find(',', begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

std::string_view TypeName(const YamlNode& node) {
  switch (node.type) {
    case YamlNode::Type::kNull: return "nothing";
    case YamlNode::Type::kScalar: return "a single value";
    case YamlNode::Type::kSequence: return "a list";
    case YamlNode::Type::kMap: return "a block of keys";
  }
  return "";
}

std::string Join(std::string_view path, std::string_view key) {
  return path.empty() ? std::string(key) : fmt::format("{}.{}", path, key);
}

// The types a field may have: the ranges of a number, before min and max.
struct Range {
  bool is_signed = false;
  uint64_t max = 0;
  int64_t min = 0;
};

Range RangeOf(const pb::FieldDescriptor& field) {
  switch (field.cpp_type()) {
    case pb::FieldDescriptor::CPPTYPE_UINT32: return {false, std::numeric_limits<uint32_t>::max(), 0};
    case pb::FieldDescriptor::CPPTYPE_UINT64: return {false, std::numeric_limits<uint64_t>::max(), 0};
    case pb::FieldDescriptor::CPPTYPE_INT32:
      return {true, std::numeric_limits<int32_t>::max(), std::numeric_limits<int32_t>::min()};
    default:
      return {true, static_cast<uint64_t>(std::numeric_limits<int64_t>::max()), std::numeric_limits<int64_t>::min()};
  }
}

}  // namespace

// Walks the schema and the tree side by side, filling the message.
class ConfigReader {
 public:
  ConfigReader(ConfigReport* report, std::string base_dir) : report_(report), base_dir_(std::move(base_dir)) {}

  // False if the text is not YAML: then the message is not worth checking.
  static bool ReadText(std::string_view text, const std::string& base_dir, pb::Message* message, ConfigReport* report) {
    std::vector<YamlError> yaml_errors;
    const auto root = ParseYaml(text, &yaml_errors);
    ConfigReader(report, base_dir).Read(*root, message);
    if (yaml_errors.empty()) return true;
    // After a syntax error the rest of the file is unread: what it lacks is no
    // news, but what stands before the error was checked all the same.
    std::erase_if(report->errors_, [](const auto& error) { return error.absence; });
    for (auto& error : yaml_errors) report->AddAt({error.line, error.column}, std::move(error.what));
    return false;
  }

 private:
  void Read(const YamlNode& root, pb::Message* message) {
    if (root.type == YamlNode::Type::kScalar || root.type == YamlNode::Type::kSequence) {
      report_->AddAt(PositionOf(root), fmt::format("{} where a block of keys is expected", TypeName(root)));
      return;
    }
    ReadMessage(root, "", message);
  }

  static ConfigReport::Position PositionOf(const YamlNode& node) { return {node.line, node.column}; }

  void Fail(const YamlNode& node, std::string_view path, std::string_view what) {
    report_->AddAt(PositionOf(node), fmt::format("{}: {}", path, what));
  }

  void ReadMessage(const YamlNode& node, const std::string& path, pb::Message* message) {
    const pb::Descriptor& schema = *message->GetDescriptor();
    std::set<std::string, std::less<>> seen;
    const YamlNode empty;
    std::vector<const YamlNode*> given(static_cast<size_t>(schema.field_count()), nullptr);
    for (const auto& entry : node.entries) {
      const std::string key_path = Join(path, Shown(entry.key));
      const ConfigReport::Position position{entry.line, entry.column};
      const pb::FieldDescriptor* field = schema.FindFieldByName(entry.key);
      if (field == nullptr) {
        std::vector<std::string> known;
        for (int i = 0; i < schema.field_count(); ++i) known.push_back(schema.field(i)->name());
        report_->AddAt(position, fmt::format("{}: unknown key{}", key_path, Suggest(entry.key, known)));
        continue;
      }
      if (!seen.insert(entry.key).second) {
        report_->AddAt(position, fmt::format("{}: given twice; keep one", key_path));
        continue;
      }
      report_->positions_[key_path] = position;
      given[static_cast<size_t>(field->index())] = entry.value.get();
    }
    for (int i = 0; i < schema.field_count(); ++i) {
      const YamlNode* value = given[static_cast<size_t>(i)];
      const bool absent = value == nullptr || value->type == YamlNode::Type::kNull;
      const std::string field_path = Join(path, schema.field(i)->name());
      // Where an error about an absent key is told: at its own place if it was
      // written without a value, else at the block that lacks it.
      if (value == nullptr && !report_->positions_.contains(field_path)) {
        report_->positions_[field_path] = PositionOf(node);
      }
      if (absent) {
        ReadAbsent(value != nullptr ? *value : node, field_path, *schema.field(i), message);
      } else {
        ReadField(*value, field_path, *schema.field(i), message);
      }
    }
  }

  void ReadAbsent(const YamlNode& where, const std::string& path, const pb::FieldDescriptor& field,
                  pb::Message* message) {
    const auto& options = field.options();
    if (options.GetExtension(cfg::required)) {
      std::string fix = "; add it";
      if (options.HasExtension(cfg::help)) fix += fmt::format(" ({})", options.GetExtension(cfg::help));
      report_->AddAt(PositionOf(where), fmt::format("{}: missing{}", path, fix), /*absence=*/true);
      return;
    }
    if (field.is_repeated()) return;
    if (field.cpp_type() == pb::FieldDescriptor::CPPTYPE_MESSAGE) {
      if (options.GetExtension(cfg::optional_block)) return;
      YamlNode block;
      block.line = where.line;
      block.column = where.column;
      ReadMessage(block, path, message->GetReflection()->MutableMessage(message, &field));
      return;
    }
    if (!options.HasExtension(cfg::default_value)) return;
    YamlNode value;
    value.type = YamlNode::Type::kScalar;
    value.line = where.line;
    value.column = where.column;
    value.scalar = options.GetExtension(cfg::default_value);
    ReadScalar(value, path, field, message);
  }

  void ReadField(const YamlNode& node, const std::string& path, const pb::FieldDescriptor& field,
                 pb::Message* message) {
    const pb::Reflection& reflection = *message->GetReflection();
    if (field.is_map()) {
      ReadMap(node, path, field, message);
      return;
    }
    const bool is_block = field.cpp_type() == pb::FieldDescriptor::CPPTYPE_MESSAGE;
    if (!field.is_repeated()) {
      if (!is_block) {
        ReadScalar(node, path, field, message);
      } else if (node.type != YamlNode::Type::kMap) {
        Fail(node, path, fmt::format("{} where a block of keys is expected", TypeName(node)));
      } else {
        ReadMessage(node, path, reflection.MutableMessage(message, &field));
      }
      return;
    }
    if (node.type != YamlNode::Type::kSequence) {
      Fail(node, path, fmt::format("{} where a list is expected; begin each item with '- '", TypeName(node)));
      return;
    }
    for (size_t i = 0; i < node.items.size(); ++i) {
      const YamlNode& item = *node.items[i];
      const std::string item_path = fmt::format("{}[{}]", path, i);
      report_->positions_[item_path] = PositionOf(item);
      if (!is_block) {
        ReadScalar(item, item_path, field, message);
      } else if (item.type != YamlNode::Type::kMap) {
        Fail(item, item_path, fmt::format("{} where a block of keys is expected", TypeName(item)));
      } else {
        ReadMessage(item, item_path, reflection.AddMessage(message, &field));
      }
    }
  }

  // map<string, string>: free keys.
  void ReadMap(const YamlNode& node, const std::string& path, const pb::FieldDescriptor& field, pb::Message* message) {
    if (node.type != YamlNode::Type::kMap) {
      Fail(node, path, fmt::format("{} where a block of keys is expected", TypeName(node)));
      return;
    }
    std::set<std::string, std::less<>> seen;
    for (const auto& entry : node.entries) {
      const std::string entry_path = Join(path, Shown(entry.key));
      const ConfigReport::Position position{entry.line, entry.column};
      if (!seen.insert(entry.key).second) {
        report_->AddAt(position, fmt::format("{}: given twice; keep one", entry_path));
        continue;
      }
      report_->positions_[entry_path] = position;
      if (entry.value->type != YamlNode::Type::kScalar) {
        Fail(*entry.value, entry_path, fmt::format("{} where text is expected", TypeName(*entry.value)));
        continue;
      }
      pb::Message* pair = message->GetReflection()->AddMessage(message, &field);
      const pb::Descriptor& schema = *pair->GetDescriptor();
      pair->GetReflection()->SetString(pair, schema.map_key(), entry.key);
      ReadScalar(*entry.value, entry_path, *schema.map_value(), pair);
    }
  }

  void ReadScalar(const YamlNode& node, const std::string& path, const pb::FieldDescriptor& field,
                  pb::Message* message) {
    if (node.type != YamlNode::Type::kScalar) {
      Fail(node, path, fmt::format("{} where a single value is expected", TypeName(node)));
      return;
    }
    switch (field.cpp_type()) {
      case pb::FieldDescriptor::CPPTYPE_STRING: ReadString(node, path, field, message); return;
      case pb::FieldDescriptor::CPPTYPE_BOOL: ReadBool(node, path, field, message); return;
      case pb::FieldDescriptor::CPPTYPE_UINT32:
      case pb::FieldDescriptor::CPPTYPE_UINT64:
      case pb::FieldDescriptor::CPPTYPE_INT32:
      case pb::FieldDescriptor::CPPTYPE_INT64: ReadNumber(node, path, field, message); return;
      default: CheckFailed("a field type that the configuration schema does not use", __FILE__, __LINE__);
    }
  }

  void ReadString(const YamlNode& node, const std::string& path, const pb::FieldDescriptor& field,
                  pb::Message* message) {
    const auto& options = field.options();
    std::string value = node.scalar;
    if (value.find('\0') != std::string::npos) {
      Fail(node, path, "holds a NUL character; remove it");
      return;
    }
    if (value.empty() && options.GetExtension(cfg::required)) {
      Fail(node, path, "empty; give a value");
      return;
    }
    if (options.HasExtension(cfg::one_of)) {
      const auto known = SplitCommas(options.GetExtension(cfg::one_of));
      if (std::find(known.begin(), known.end(), value) == known.end()) {
        Fail(node, path, fmt::format("{} is not known{}", Shown(value), Suggest(value, known)));
        return;
      }
    }
    const bool must_exist = options.GetExtension(cfg::file_must_exist);
    if ((must_exist || options.GetExtension(cfg::path)) && !value.empty()) {
      if (value.front() != '/') value = (std::filesystem::path(base_dir_) / value).lexically_normal().string();
      if (must_exist) CheckFile(node, path, value);
    }
    Store(field, message, std::move(value));
  }

  void CheckFile(const YamlNode& node, const std::string& path, const std::string& file) {
    struct stat st {};
    if (::stat(file.c_str(), &st) != 0) {
      const int err = errno;
      Fail(node, path,
           fmt::format("{}; {}", ErrnoStatus(err, file).message(),
                       err == ENOENT ? "create the file or correct the path" : "make it readable for this user"));
    } else if (!S_ISREG(st.st_mode)) {
      Fail(node, path, fmt::format("{}: not a regular file; name a file", file));
    }
  }

  void ReadBool(const YamlNode& node, const std::string& path, const pb::FieldDescriptor& field, pb::Message* message) {
    if (node.quoted || (node.scalar != "true" && node.scalar != "false")) {
      Fail(node, path, fmt::format("{} is not true or false", Shown(node.scalar)));
      return;
    }
    const bool value = node.scalar == "true";
    const pb::Reflection& reflection = *message->GetReflection();
    if (field.is_repeated()) {
      reflection.AddBool(message, &field, value);
    } else {
      reflection.SetBool(message, &field, value);
    }
  }

  void ReadNumber(const YamlNode& node, const std::string& path, const pb::FieldDescriptor& field,
                  pb::Message* message) {
    const auto& options = field.options();
    const Range range = RangeOf(field);
    std::string_view digits = node.scalar;
    const bool negative = !digits.empty() && digits.front() == '-';
    if (negative) digits.remove_prefix(1);
    uint64_t magnitude = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), magnitude);
    const bool parsed = !digits.empty() && end == digits.data() + digits.size();
    if (node.quoted || !parsed || error == std::errc::invalid_argument) {
      Fail(node, path,
           fmt::format("{}{} is not a whole number; write digits only", Shown(node.scalar),
                       node.quoted ? " in quotes" : ""));
      return;
    }
    const uint64_t low = options.HasExtension(cfg::min) ? options.GetExtension(cfg::min) : 0;
    const bool has_low = options.HasExtension(cfg::min) || !range.is_signed;
    const uint64_t high =
        options.HasExtension(cfg::max) ? std::min<uint64_t>(options.GetExtension(cfg::max), range.max) : range.max;
    const bool too_low =
        (negative && magnitude > 0 && has_low) || (!negative && magnitude < low) || (negative && magnitude > range.max);
    if (error == std::errc::result_out_of_range || too_low || (!negative && magnitude > high)) {
      Fail(node, path,
           fmt::format("{} is out of range; allowed: {} to {}", Shown(node.scalar),
                       has_low ? fmt::to_string(low) : fmt::to_string(range.min), high));
      return;
    }
    StoreNumber(field, message, negative, magnitude);
  }

  static void StoreNumber(const pb::FieldDescriptor& field, pb::Message* message, bool negative, uint64_t magnitude) {
    const pb::Reflection& r = *message->GetReflection();
    const int64_t value = negative ? -static_cast<int64_t>(magnitude) : static_cast<int64_t>(magnitude);
    const bool many = field.is_repeated();
    switch (field.cpp_type()) {
      case pb::FieldDescriptor::CPPTYPE_UINT32:
        many ? r.AddUInt32(message, &field, static_cast<uint32_t>(magnitude))
             : r.SetUInt32(message, &field, static_cast<uint32_t>(magnitude));
        return;
      case pb::FieldDescriptor::CPPTYPE_UINT64:
        many ? r.AddUInt64(message, &field, magnitude) : r.SetUInt64(message, &field, magnitude);
        return;
      case pb::FieldDescriptor::CPPTYPE_INT32:
        many ? r.AddInt32(message, &field, static_cast<int32_t>(value))
             : r.SetInt32(message, &field, static_cast<int32_t>(value));
        return;
      default: many ? r.AddInt64(message, &field, value) : r.SetInt64(message, &field, value); return;
    }
  }

  static void Store(const pb::FieldDescriptor& field, pb::Message* message, std::string value) {
    const pb::Reflection& r = *message->GetReflection();
    if (field.is_repeated()) {
      r.AddString(message, &field, std::move(value));
    } else {
      r.SetString(message, &field, std::move(value));
    }
  }

  ConfigReport* report_;
  std::string base_dir_;
};

void ConfigReport::AddAt(Position position, std::string text, bool absence) {
  errors_.push_back({position, std::move(text), absence});
}

void ConfigReport::Add(std::string_view key, std::string_view what) {
  std::string text = fmt::format("{}: {}", key, what);
  std::string_view near = key;
  while (!near.empty()) {
    if (const auto it = positions_.find(near); it != positions_.end()) {
      AddAt(it->second, std::move(text));
      return;
    }
    const size_t cut = near.find_last_of(".[");
    near = cut == std::string_view::npos ? std::string_view() : near.substr(0, cut);
  }
  AddAt({}, std::move(text));
}

Status ConfigReport::ToStatus() const {
  if (errors_.empty()) return OkStatus();
  std::vector<const Error*> sorted;
  sorted.reserve(errors_.size());
  for (const auto& error : errors_) sorted.push_back(&error);
  std::stable_sort(sorted.begin(), sorted.end(), [](const Error* a, const Error* b) {
    return a->position.line != b->position.line ? a->position.line < b->position.line
                                                : a->position.column < b->position.column;
  });
  std::string text;
  for (size_t i = 0; i < std::min(sorted.size(), kMaxErrorsTold); ++i) {
    if (i > 0) text += '\n';
    text += fmt::format("{}:{}:{}: {}", file_, sorted[i]->position.line, sorted[i]->position.column, sorted[i]->text);
  }
  if (sorted.size() > kMaxErrorsTold) text += fmt::format("\nand {} more", sorted.size() - kMaxErrorsTold);
  return InvalidArgument(std::move(text));
}

Status LoadConfigTextInto(std::string_view text, const std::string& file, const std::string& base_dir,
                          pb::Message* message, const ConfigCheck& check) {
  message->Clear();
  ConfigReport report(file);
  if (text.size() > kMaxConfigBytes) {
    return ResourceExhausted(fmt::format("{}: longer than {} bytes", file, kMaxConfigBytes));
  }
  if (!IsUtf8(text) || text.find('\0') != std::string_view::npos) {
    return InvalidArgument(fmt::format("{}: not UTF-8 text; save it as UTF-8", file));
  }
  if (ConfigReader::ReadText(text, base_dir, message, &report) && check) check(*message, report);
  return report.ToStatus();
}

Status LoadConfigInto(const std::string& path, pb::Message* message, const ConfigCheck& check) {
  NT_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxConfigBytes));
  std::error_code error;
  std::filesystem::path absolute = std::filesystem::absolute(path, error);
  if (error) absolute = path;
  return LoadConfigTextInto(text, path, absolute.parent_path().string(), message, check);
}

std::string EffectiveConfigSha256(const pb::Message& message) {
  std::string bytes;
  {
    pb::io::StringOutputStream stream(&bytes);
    pb::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    NT_CHECK(message.SerializeToCodedStream(&coded));
  }
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  NT_CHECK(EVP_Digest(bytes.data(), bytes.size(), digest, &size, EVP_sha256(), nullptr) == 1);
  std::string hex;
  for (unsigned int i = 0; i < size; ++i) hex += fmt::format("{:02x}", digest[i]);
  return hex;
}

}  // namespace nodetrail
