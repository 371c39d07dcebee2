// SPDX-License-Identifier: Apache-2.0
#include "trail/wire.h"

#include <fmt/format.h>

#include <algorithm>

namespace nodetrail::trail {

std::optional<uint64_t> WireReader::TakeVarint() {
  uint64_t value = 0;
  for (unsigned i = 0; i < 10 && i < rest_.size(); ++i) {
    const auto byte = static_cast<unsigned char>(rest_[i]);
    if (i == 9 && byte > 1) return std::nullopt;  // above 64 bits
    value |= static_cast<uint64_t>(byte & 0x7fU) << (7 * i);
    if ((byte & 0x80U) != 0) continue;
    if (byte == 0 && i > 0) return std::nullopt;  // not minimal
    rest_.remove_prefix(i + 1);
    return value;
  }
  return std::nullopt;
}

Result<std::optional<WireField>> WireReader::Next() {
  if (rest_.empty()) return std::optional<WireField>();
  const auto tag = TakeVarint();
  if (!tag || *tag > UINT32_MAX || (*tag >> 3U) == 0) return InvalidArgument("wire: bad tag");
  WireField field;
  field.number = static_cast<uint32_t>(*tag >> 3U);
  field.type = static_cast<uint32_t>(*tag & 7U);
  uint64_t size = 0;
  switch (field.type) {
    case 0: {
      const auto value = TakeVarint();
      if (!value) return InvalidArgument(fmt::format("wire: field {}: bad varint", field.number));
      field.varint = *value;
      return std::optional(field);
    }
    case 1: size = 8; break;
    case 5: size = 4; break;
    case 2: {
      const auto length = TakeVarint();
      if (!length) return InvalidArgument(fmt::format("wire: field {}: bad length", field.number));
      size = *length;
      break;
    }
    default: return InvalidArgument(fmt::format("wire: field {}: type {}", field.number, field.type));
  }
  if (size > rest_.size()) return InvalidArgument(fmt::format("wire: field {}: cut off", field.number));
  field.bytes = rest_.substr(0, size);
  rest_.remove_prefix(size);
  return std::optional(field);
}

Status CheckVarints(std::string_view packed) {
  WireReader reader(packed);
  while (!reader.rest_.empty()) {
    if (!reader.TakeVarint()) return InvalidArgument("wire: bad varint in a packed field");
  }
  return OkStatus();
}

Status CheckCanonical(std::string_view message, std::initializer_list<uint32_t> repeated) {
  WireReader reader(message);
  uint32_t last = 0;
  while (true) {
    NT_ASSIGN_OR_RETURN(const std::optional<WireField> field, reader.Next());
    if (!field) return OkStatus();
    const bool again = field->number == last && std::find(repeated.begin(), repeated.end(), last) != repeated.end();
    if (field->number <= last && !again) {
      return InvalidArgument(fmt::format("wire: field {} repeats or is out of order", field->number));
    }
    last = field->number;
  }
}

void AppendBytesField(std::string* out, uint32_t number, std::string_view payload) {
  const auto varint = [out](uint64_t value) {
    while (value >= 0x80) {
      *out += static_cast<char>((value & 0x7fU) | 0x80U);
      value >>= 7U;
    }
    *out += static_cast<char>(value);
  };
  varint((static_cast<uint64_t>(number) << 3U) | 2U);
  varint(payload.size());
  *out += payload;
}

}  // namespace nodetrail::trail
