// SPDX-License-Identifier: Apache-2.0
//
// YAML text as a bounded tree with positions. Built from yaml-cpp's parse
// events rather than from its nodes: nodes follow aliases (a few bytes can mean
// gigabytes), may be cyclic, and forget where a key stood.
#ifndef NODETRAIL_BASE_YAML_TREE_H_
#define NODETRAIL_BASE_YAML_TREE_H_

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace nodetrail {

struct YamlNode {
  enum class Type { kNull, kScalar, kSequence, kMap };
  Type type = Type::kNull;
  int line = 1;  // from 1
  int column = 1;
  std::string scalar;
  bool quoted = false;  // written as a quoted or block string
  std::vector<std::unique_ptr<YamlNode>> items;
  struct Entry {
    std::string key;
    int line = 1;
    int column = 1;
    std::unique_ptr<YamlNode> value;
  };
  std::vector<Entry> entries;  // in the order of the text; duplicates kept
};

struct YamlError {
  int line = 1;
  int column = 1;
  std::string what;
};

// The single document of `text`; null for an empty one. On a syntax error or a
// forbidden construct the tree holds what came before it and `errors` says why.
std::unique_ptr<YamlNode> ParseYaml(std::string_view text, std::vector<YamlError>* errors);

}  // namespace nodetrail

#endif  // NODETRAIL_BASE_YAML_TREE_H_
