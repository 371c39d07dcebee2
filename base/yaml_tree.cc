// SPDX-License-Identifier: Apache-2.0
#include "base/yaml_tree.h"

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <cstddef>
#include <exception>
#include <sstream>
#include <string>
#include <utility>

namespace nodetrail {
namespace {

// A configuration is 4 levels deep and a few hundred values long.
constexpr size_t kMaxDepth = 16;
constexpr size_t kMaxValues = 10'000;

// Builds the tree. It can't stop the parser, so after a bound or a forbidden
// construct it lets the rest pass by.
class TreeBuilder final : public YAML::EventHandler {
 public:
  explicit TreeBuilder(std::vector<YamlError>* errors) : errors_(errors) {}

  std::unique_ptr<YamlNode> TakeRoot() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    if (skip_ > 0) return;
    RejectAnchor(mark, anchor);
    Place(mark, Make(YamlNode::Type::kNull, mark));
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    if (skip_ > 0) return;
    Fail(mark, "aliases (*name) are not supported; write the value out");
    Place(mark, Make(YamlNode::Type::kNull, mark));
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    if (skip_ > 0) return;
    RejectAnchor(mark, anchor);
    RejectTag(mark, tag);
    auto node = Make(YamlNode::Type::kScalar, mark);
    node->scalar = value;
    node->quoted = tag == "!";  // yaml-cpp's mark of a scalar that is not plain
    Place(mark, std::move(node));
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Start(YamlNode::Type::kSequence, mark, tag, anchor);
  }
  void OnSequenceEnd() override { End(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Start(YamlNode::Type::kMap, mark, tag, anchor);
  }
  void OnMapEnd() override { End(); }

 private:
  struct Open {
    YamlNode* node;
    bool have_key = false;
  };

  static std::unique_ptr<YamlNode> Make(YamlNode::Type type, const YAML::Mark& mark) {
    auto node = std::make_unique<YamlNode>();
    node->type = type;
    node->line = mark.line + 1;
    node->column = mark.column + 1;
    return node;
  }

  void Fail(const YAML::Mark& mark, std::string what) {
    errors_->push_back({mark.line + 1, mark.column + 1, std::move(what)});
  }

  void RejectAnchor(const YAML::Mark& mark, YAML::anchor_t anchor) {
    if (anchor != YAML::NullAnchor) Fail(mark, "anchors (&name) are not supported; write the value out");
  }

  void RejectTag(const YAML::Mark& mark, const std::string& tag) {
    if (!tag.empty() && tag != "?" && tag != "!") Fail(mark, "tags (!name) are not supported; remove it");
  }

  // Puts a finished or an opened node where it belongs. Null if there is no
  // such place: a bound was passed, or a map was used as a key.
  YamlNode* Place(const YAML::Mark& mark, std::unique_ptr<YamlNode> node) {
    if (++values_ > kMaxValues) {
      if (values_ == kMaxValues + 1) Fail(mark, fmt::format("more than {} values", kMaxValues));
      return nullptr;
    }
    YamlNode* raw = node.get();
    if (open_.empty()) {
      root_ = std::move(node);
      return raw;
    }
    Open& top = open_.back();
    if (top.node->type == YamlNode::Type::kSequence) {
      top.node->items.push_back(std::move(node));
      return raw;
    }
    if (!top.have_key) {
      if (node->type != YamlNode::Type::kScalar) Fail(mark, "a key must be a word");
      top.have_key = true;
      top.node->entries.push_back({std::move(node->scalar), node->line, node->column, nullptr});
      return nullptr;
    }
    top.have_key = false;
    top.node->entries.back().value = std::move(node);
    return raw;
  }

  void Start(YamlNode::Type type, const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    if (skip_ > 0) {
      ++skip_;
      return;
    }
    RejectAnchor(mark, anchor);
    RejectTag(mark, tag);
    if (open_.size() >= kMaxDepth) {
      Fail(mark, fmt::format("nested deeper than {} levels", kMaxDepth));
      Place(mark, Make(YamlNode::Type::kNull, mark));
      skip_ = 1;
      return;
    }
    YamlNode* node = Place(mark, Make(type, mark));
    if (node == nullptr) {
      skip_ = 1;
      return;
    }
    open_.push_back({node});
  }

  void End() {
    if (skip_ > 0) {
      --skip_;
      return;
    }
    if (!open_.empty()) open_.pop_back();
  }

  std::vector<YamlError>* errors_;
  std::unique_ptr<YamlNode> root_;
  std::vector<Open> open_;
  size_t values_ = 0;
  size_t skip_ = 0;  // depth inside a collection that is left out
};

// A key whose value never came, because the text broke off there.
void CompleteEntries(YamlNode* node) {
  for (auto& item : node->items) CompleteEntries(item.get());
  for (auto& entry : node->entries) {
    if (entry.value == nullptr) {
      entry.value = std::make_unique<YamlNode>();
      entry.value->line = entry.line;
      entry.value->column = entry.column;
    }
    CompleteEntries(entry.value.get());
  }
}

}  // namespace

std::unique_ptr<YamlNode> ParseYaml(std::string_view text, std::vector<YamlError>* errors) {
  TreeBuilder builder(errors);
  // yaml-cpp reports by exceptions; they end here.
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    if (parser.HandleNextDocument(builder)) {
      std::vector<YamlError> ignored;
      TreeBuilder second(&ignored);
      if (parser.HandleNextDocument(second)) {
        auto extra = second.TakeRoot();
        errors->push_back({extra ? extra->line : 1, extra ? extra->column : 1, "a second document; keep one"});
      }
    }
  } catch (const YAML::Exception& e) {
    errors->push_back({e.mark.is_null() ? 1 : e.mark.line + 1, e.mark.is_null() ? 1 : e.mark.column + 1,
                       fmt::format("not YAML: {}", e.msg)});
  } catch (const std::exception& e) {
    errors->push_back({1, 1, fmt::format("not YAML: {}", e.what())});
  }
  auto root = builder.TakeRoot();
  if (root == nullptr) root = std::make_unique<YamlNode>();
  CompleteEntries(root.get());
  return root;
}

}  // namespace nodetrail
