// SPDX-License-Identifier: Apache-2.0
#include "nodetrail/trail/body.h"

#include <fmt/format.h>
#include <zstd.h>

#include <memory>

#include "nodetrail/base/guard.h"
#include "trail/wire.h"

namespace nodetrail::trail {
namespace {

constexpr std::string_view kZstdMagic = "\x28\xb5\x2f\xfd";

struct ZstdFree {
  void operator()(ZSTD_CCtx* ctx) const { ZSTD_freeCCtx(ctx); }
  void operator()(ZSTD_DCtx* ctx) const { ZSTD_freeDCtx(ctx); }
};

// Events and absent ranges, merged in order, must count first..last without a
// hole or an overlap.
Status CheckEventNumbers(const event::v1::EventBatch& batch, const v1::BatchHeader& header) {
  uint64_t next = header.first_event_seq();
  int absent = 0;
  event::v1::Absent range;
  const auto take_absent = [&]() -> Status {
    while (absent < batch.absent_size()) {
      if (!range.ParseFromString(batch.absent(absent)))
        return DataLoss(fmt::format("body: absent[{}]: not an Absent", absent));
      if (range.first_seq() != next) return OkStatus();
      if (range.last_seq() < range.first_seq() || range.last_seq() > header.last_event_seq()) {
        return DataLoss(fmt::format("body: absent[{}]: bad range", absent));
      }
      next = range.last_seq() + 1;
      ++absent;
    }
    return OkStatus();
  };
  for (int i = 0; i < batch.events_size(); ++i) {
    NT_RETURN_IF_ERROR(take_absent());
    const auto event = PeekEvent(batch.events(i));
    if (!event) return DataLoss(fmt::format("body: events[{}]: not an Event", i));
    if (NT_GUARD(body_event_numbers, event->seq != next)) {
      return DataLoss(fmt::format("body: events[{}] has number {}, expected {}", i, event->seq, next));
    }
    ++next;
  }
  NT_RETURN_IF_ERROR(take_absent());
  if (absent != batch.absent_size()) return DataLoss(fmt::format("body: absent[{}] does not join", absent));
  if (next != header.last_event_seq() + 1) {
    return DataLoss(
        fmt::format("body: event numbers end at {}, the header says {}", next - 1, header.last_event_seq()));
  }
  return OkStatus();
}

}  // namespace

std::optional<EventBrief> PeekEvent(std::string_view event) {
  constexpr uint32_t kSeq = 2;
  constexpr uint32_t kKind = 3;
  EventBrief out;
  WireReader reader(event);
  while (true) {
    const auto field = reader.Next();
    if (!field.ok()) return std::nullopt;
    if (!*field) return out;
    if ((*field)->type != 0) continue;
    if ((*field)->number == kSeq) out.seq = (*field)->varint;
    if ((*field)->number == kKind) out.kind = static_cast<event::v1::Kind>(static_cast<int>((*field)->varint));
  }
}

Result<std::string> CompressBody(std::string_view raw, int level) {
  if (raw.size() > kMaxBodyBytes) {
    return OutOfRange(fmt::format("body: {} bytes, at most {} allowed", raw.size(), kMaxBodyBytes));
  }
  thread_local const std::unique_ptr<ZSTD_CCtx, ZstdFree> ctx(ZSTD_createCCtx());
  NT_CHECK(ctx != nullptr);
  std::string out(ZSTD_compressBound(raw.size()), '\0');
  const size_t size = ZSTD_compressCCtx(ctx.get(), out.data(), out.size(), raw.data(), raw.size(), level);
  if (ZSTD_isError(size) != 0) return Internal(fmt::format("body: zstd: {}", ZSTD_getErrorName(size)));
  // Bytes that do not compress grow a little; the limit holds for both.
  if (size > kMaxBodyBytes)
    return OutOfRange(fmt::format("body: {} compressed bytes, at most {} allowed", size, kMaxBodyBytes));
  out.resize(size);
  out.shrink_to_fit();
  return out;
}

Result<std::string> DecompressBody(std::string_view stored, uint64_t raw_len) {
  if (NT_GUARD(body_limit, raw_len > kMaxBodyBytes || stored.size() > kMaxBodyBytes)) {
    return InvalidArgument("body: above 8 MiB");
  }
  // A skippable frame is no body.
  if (!stored.starts_with(kZstdMagic)) return DataLoss("body: not a zstd frame");
  const unsigned long long content = ZSTD_getFrameContentSize(stored.data(), stored.size());
  if (content == ZSTD_CONTENTSIZE_ERROR || content == ZSTD_CONTENTSIZE_UNKNOWN) {
    return DataLoss("body: the zstd frame does not say its size");
  }
  if (content != raw_len) {
    return DataLoss(fmt::format("body: the zstd frame holds {} bytes, the header says {}", content, raw_len));
  }
  const size_t frame = ZSTD_findFrameCompressedSize(stored.data(), stored.size());
  if (ZSTD_isError(frame) != 0 || frame != stored.size()) return DataLoss("body: not exactly one zstd frame");
  thread_local const std::unique_ptr<ZSTD_DCtx, ZstdFree> ctx(ZSTD_createDCtx());
  NT_CHECK(ctx != nullptr);
  std::string out(raw_len, '\0');
  const size_t size = ZSTD_decompressDCtx(ctx.get(), out.data(), out.size(), stored.data(), stored.size());
  if (ZSTD_isError(size) != 0) return DataLoss(fmt::format("body: zstd: {}", ZSTD_getErrorName(size)));
  if (size != raw_len) return DataLoss("body: zstd: another length than the frame says");
  return out;
}

Status CheckStoredBody(std::string_view stored, const v1::BatchHeader& header) {
  if (stored.size() != header.stored_body_len()) {
    return DataLoss(fmt::format("body: {} stored bytes, the header says {}", stored.size(), header.stored_body_len()));
  }
  if (header.body_codec() == v1::BODY_CODEC_NONE) return OkStatus();
  if (NT_GUARD(body_sha256, View(Sha256Of(stored)) != header.body_sha256())) {
    return DataLoss("body: SHA-256 differs from the header's");
  }
  return OkStatus();
}

std::vector<std::string_view> Records(const event::v1::EventBatch& batch) {
  std::vector<std::string_view> out;
  out.reserve(1 + static_cast<size_t>(batch.processes_size()) + static_cast<size_t>(batch.events_size()) +
              static_cast<size_t>(batch.absent_size()));
  if (!batch.host().empty()) out.emplace_back(batch.host());
  for (const std::string& record : batch.processes()) out.emplace_back(record);
  for (const std::string& record : batch.events()) out.emplace_back(record);
  for (const std::string& record : batch.absent()) out.emplace_back(record);
  return out;
}

std::vector<Hash> RecordHashes(const event::v1::EventBatch& batch) {
  std::vector<Hash> out;
  for (const std::string_view record : Records(batch)) out.push_back(LeafHash(record));
  return out;
}

Hash EventsRoot(const event::v1::EventBatch& batch) {
  CompactRange range;
  for (const std::string_view record : Records(batch)) range.Append(LeafHash(record));
  return range.Root();
}

uint64_t EventRecordIndex(const event::v1::EventBatch& batch, uint64_t event) {
  return (batch.host().empty() ? 0U : 1U) + static_cast<uint64_t>(batch.processes_size()) + event;
}

Result<RecordProof> ProveRecord(const event::v1::EventBatch& batch, uint64_t index) {
  const std::vector<Hash> hashes = RecordHashes(batch);
  RecordProof proof{index, hashes.size(), {}};
  NT_ASSIGN_OR_RETURN(proof.path, InclusionProof(hashes, index));
  return proof;
}

Status VerifyRecord(std::string_view record, const RecordProof& proof, const Hash& events_root) {
  return VerifyInclusion(LeafHash(record), proof.index, proof.size, proof.path, events_root);
}

Result<event::v1::EventBatch> OpenBody(std::string_view stored, const v1::BatchHeader& header) {
  NT_RETURN_IF_ERROR(CheckStoredBody(stored, header));
  event::v1::EventBatch batch;
  if (header.body_codec() != v1::BODY_CODEC_NONE) {
    NT_ASSIGN_OR_RETURN(const std::string raw, DecompressBody(stored, header.raw_body_len()));
    if (!batch.ParseFromString(raw)) return DataLoss("body: not an EventBatch");
    if (NT_GUARD(events_root, View(EventsRoot(batch)) != header.events_root())) {
      return DataLoss("body: events_root differs from the header's");
    }
  }
  if (static_cast<uint64_t>(batch.events_size()) != header.event_count()) {
    return DataLoss(fmt::format("body: {} events, the header says {}", batch.events_size(), header.event_count()));
  }
  NT_RETURN_IF_ERROR(CheckEventNumbers(batch, header));
  return batch;
}

}  // namespace nodetrail::trail
