// SPDX-License-Identifier: Apache-2.0
//
// The protobuf wire format, read strictly. Two parsers must not be able to
// read one signed message in two ways: fields ascend, a singular field comes
// once, varints are minimal, groups do not exist.
#ifndef NODETRAIL_TRAIL_WIRE_H_
#define NODETRAIL_TRAIL_WIRE_H_

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "nodetrail/base/status.h"

namespace nodetrail::trail {

struct WireField {
  uint32_t number = 0;
  uint32_t type = 0;       // 0 varint, 1 fixed64, 2 length-delimited, 5 fixed32
  uint64_t varint = 0;     // type 0
  std::string_view bytes;  // type 2: the payload; 1 and 5: the raw bytes
};

// `packed` is varints and nothing else, each minimal and of at most 64 bits.
Status CheckVarints(std::string_view packed);

class WireReader {
 public:
  explicit WireReader(std::string_view data) : rest_(data) {}
  // Next field; nothing at the end. InvalidArgument if the bytes are not
  // strict wire format.
  Result<std::optional<WireField>> Next();

 private:
  friend Status CheckVarints(std::string_view packed);
  std::optional<uint64_t> TakeVarint();
  std::string_view rest_;
};

// Fields of `message` are strictly ascending; those in `repeated` may repeat.
Status CheckCanonical(std::string_view message, std::initializer_list<uint32_t> repeated = {});

// Appends "tag length payload" of a length-delimited field.
void AppendBytesField(std::string* out, uint32_t number, std::string_view payload);

}  // namespace nodetrail::trail

#endif  // NODETRAIL_TRAIL_WIRE_H_
