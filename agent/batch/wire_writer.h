// SPDX-License-Identifier: Apache-2.0
//
// Writes the protobuf wire format straight into one growing buffer. Events are
// written once per record and never read back here: a message object in
// between costs more than the rest of the pipeline. Callers write fields in
// ascending order and leave out defaults, so that the bytes are those that the
// generated classes would write (wire_writer_test, event_encoder_test).
#ifndef NODETRAIL_AGENT_BATCH_WIRE_WRITER_H_
#define NODETRAIL_AGENT_BATCH_WIRE_WRITER_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>
#include <utility>

namespace nodetrail::agent {

// Thread: one.
class WireWriter {
 public:
  [[nodiscard]] size_t size() const { return size_; }
  [[nodiscard]] std::string_view view() const { return {data_.get(), size_}; }
  [[nodiscard]] std::string_view view(size_t from) const { return {data_.get() + from, size_ - from}; }
  void Clear() { size_ = 0; }
  // Takes back what was written after `size`.
  void Truncate(size_t size) { size_ = size; }

  void Varint(uint32_t field, uint64_t value) {
    if (value == 0) return;
    AlwaysVarint(field, value);
  }
  // Also a zero: within a repeated or oneof field.
  void AlwaysVarint(uint32_t field, uint64_t value) {
    Need(20);
    Raw(uint64_t{field} << 3U);
    Raw(value);
  }
  void Bool(uint32_t field, bool value) { Varint(field, value ? 1 : 0); }
  void Zigzag(uint32_t field, int64_t value) {
    Varint(field, (static_cast<uint64_t>(value) << 1U) ^ static_cast<uint64_t>(value >> 63));
  }
  // int32 and enum: negative ones take ten bytes.
  void Int32(uint32_t field, int32_t value) { Varint(field, static_cast<uint64_t>(int64_t{value})); }
  void Fixed64(uint32_t field, uint64_t value) {
    if (value == 0) return;
    Need(18);
    Raw(uint64_t{field} << 3U | 1U);
    for (unsigned i = 0; i < 8; ++i) data_[size_++] = static_cast<char>(value >> (8 * i));
  }
  void Bytes(uint32_t field, std::string_view value) {
    if (!value.empty()) AlwaysBytes(field, value);
  }
  void AlwaysBytes(uint32_t field, std::string_view value) {
    Need(20 + value.size());
    Raw(uint64_t{field} << 3U | 2U);
    Raw(value.size());
    if (!value.empty()) std::memcpy(data_.get() + size_, value.data(), value.size());
    size_ += value.size();
  }
  // An element of a packed field: Begin(field), elements, End.
  void PackedVarint(uint64_t value) {
    Need(10);
    Raw(value);
  }
  // Bytes that are fields already.
  void Splice(std::string_view fields) {
    if (fields.empty()) return;
    Need(fields.size());
    std::memcpy(data_.get() + size_, fields.data(), fields.size());
    size_ += fields.size();
  }

  // A submessage: auto at = Begin(field); …fields…; End(at). Its length takes
  // one byte, or is moved up for when it turns out longer.
  [[nodiscard]] size_t Begin(uint32_t field) {
    Need(20);
    Raw(uint64_t{field} << 3U | 2U);
    data_[size_++] = 0;
    return size_;
  }
  void End(size_t at) {
    const size_t length = size_ - at;
    if (length < 0x80) {
      data_[at - 1] = static_cast<char>(length);
      return;
    }
    size_t extra = 0;
    for (size_t rest = length >> 7U; rest != 0; rest >>= 7U) ++extra;
    Need(extra);
    std::memmove(data_.get() + at + extra, data_.get() + at, length);
    size_ = at - 1;
    Raw(length);
    size_ += length;
  }

 private:
  void Need(size_t more) {
    if (capacity_ - size_ < more) Grow(more);
  }
  void Grow(size_t more) {
    size_t capacity = capacity_ == 0 ? 4096 : capacity_;
    while (capacity - size_ < more) capacity *= 2;
    std::unique_ptr<char[]> data(new char[capacity]);
    if (size_ != 0) std::memcpy(data.get(), data_.get(), size_);
    data_ = std::move(data);
    capacity_ = capacity;
  }
  void Raw(uint64_t value) {
    while (value >= 0x80) {
      data_[size_++] = static_cast<char>(value | 0x80U);
      value >>= 7U;
    }
    data_[size_++] = static_cast<char>(value);
  }

  std::unique_ptr<char[]> data_;
  size_t size_ = 0;
  size_t capacity_ = 0;
};

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_BATCH_WIRE_WRITER_H_
