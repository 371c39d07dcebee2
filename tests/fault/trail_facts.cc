// SPDX-License-Identifier: Apache-2.0
#include "tests/fault/trail_facts.h"

#include <charconv>

#include "nodetrail/trail/body.h"
#include "nodetrail/trail/log_entry.h"
#include "nodetrail/trail/trail_store.h"

namespace nodetrail::fault {
namespace {

constexpr std::string_view kMarker = "/srv/event/";

void ReadEvents(const event::v1::EventBatch& body, LoggedBatch* out) {
  for (const std::string& bytes : body.events()) {
    event::v1::Event event;
    if (!event.ParseFromString(bytes)) continue;
    if (event.kind() == event::v1::KIND_AGENT_GAP) {
      out->gap = {event.agent().last_epoch(), event.agent().last_batch_seq(), event.agent().clean()};
    }
    if (event.kind() == event::v1::KIND_AGENT_LOSS && event.agent().stage() == "ring") {
      out->loss_events += event.agent().count();
    }
    if (event.kind() == event::v1::KIND_AGENT_LOSS && event.agent().body_only()) {
      out->loss_bodies += event.agent().count();
    }
    const std::string& path = event.file().path().path();
    if (!path.starts_with(kMarker)) continue;
    uint64_t number = 0;
    std::from_chars(path.data() + kMarker.size(), path.data() + path.size(), number);
    out->events.push_back(number);
  }
}

}  // namespace

Result<std::vector<LoggedBatch>> ReadTrail(const std::string& dir) {
  NT_ASSIGN_OR_RETURN(const std::unique_ptr<trail::TrailReader> reader, trail::TrailReader::Open(dir));
  std::vector<LoggedBatch> out;
  Status wrong;
  const Status read = reader->ForEach(0, [&](const trail::LeafLocation& where, std::string_view leaf) {
    if (trail::IsLogEntry(leaf)) return true;
    const auto parsed = trail::ParseLeaf(leaf);
    if (!parsed.ok()) {
      wrong = Annotate(parsed.status(), where.file);
      return false;
    }
    const trail::v1::BatchHeader& h = parsed->header;
    LoggedBatch batch;
    batch.agent_id = h.agent_id();
    batch.epoch = h.epoch();
    batch.seq = h.seq();
    batch.hash = parsed->batch_hash;
    batch.leaf = std::string(leaf);
    batch.lost_ring = h.losses().ring();
    batch.lost_evicted = h.losses().evicted_events();
    batch.clean_shutdown = h.type() == trail::v1::BATCH_TYPE_CLEAN_SHUTDOWN;
    if (h.type() == trail::v1::BATCH_TYPE_EPOCH_OPEN) {
      trail::v1::EpochStatement statement;
      batch.opens_unclean =
          statement.ParseFromString(h.epoch_open().statement()) && statement.prev_known() && !statement.prev_clean();
    }
    if (h.body_codec() == trail::v1::BODY_CODEC_ZSTD) {
      const auto sha = trail::HashFromBytes(h.body_sha256());
      const auto stored = reader->Body(sha.value_or(trail::Hash{}));
      if (stored.status().code() == Code::kNotFound && reader->Eviction(sha.value_or(trail::Hash{})).ok()) {
        batch.evicted_events = h.event_count();
        out.push_back(std::move(batch));
        return true;
      }
      const auto body = stored.ok() ? trail::OpenBody(*stored, h) : Result<event::v1::EventBatch>(stored.status());
      if (!body.ok()) {
        wrong = body.status();
        return false;
      }
      ReadEvents(*body, &batch);
    }
    out.push_back(std::move(batch));
    return true;
  });
  NT_RETURN_IF_ERROR(wrong);
  NT_RETURN_IF_ERROR(read);
  return out;
}

Result<uint64_t> CountEnrolments(const std::string& dir, const std::string& agent_id) {
  NT_ASSIGN_OR_RETURN(const std::unique_ptr<trail::TrailReader> reader, trail::TrailReader::Open(dir));
  uint64_t count = 0;
  Status wrong;
  const Status read = reader->ForEach(0, [&](const trail::LeafLocation&, std::string_view leaf) {
    if (!trail::IsLogEntry(leaf)) return true;
    const auto entry = trail::ParseLogEntry(leaf);
    wrong = entry.status();
    if (entry.ok() && entry->entry.enrol().agent_id() == agent_id) ++count;
    return entry.ok();
  });
  NT_RETURN_IF_ERROR(wrong);
  NT_RETURN_IF_ERROR(read);
  return count;
}

}  // namespace nodetrail::fault
