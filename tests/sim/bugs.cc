// SPDX-License-Identifier: Apache-2.0
//
// What is planted to see that it is found, and what must happen at all.
#include "tests/sim/world.h"

namespace nodetrail::sim {

std::vector<Bug> PlantedBugs() {
  return {{"spool-not-synced", "the spool forgets fdatasync of its segments"},
          {"spool-name-not-synced", "the spool forgets fsync of its folder"},
          {"leaf-not-synced", "the log forgets fdatasync of its segments"},
          {"segment-name-not-synced", "the log forgets fsync of its folder"},
          {"body-not-synced", "bodies are renamed without fdatasync"},
          {"body-name-not-synced", "the folders of bodies are not synced"},
          {"checkpoint-not-synced", "the checkpoint is renamed without fsync"},
          {"failed-sync-ignored", "a failed fsync counts as one that succeeded"},
          {"trimmed-too-far", "the spool gives up one batch more than was acknowledged"},
          {"key-kept", "the key of a durable batch stays in memory"},
          {"machine-cloned", "spool and key go back to an earlier state, and the agent goes on"},
          {"gap-not-declared", "an unclean end is not declared"},
          {"rot-not-declared", "batches that rotted in the spool are not declared"},
          {"receipt-not-verified", "the spool gives up what a receipt names, whatever it proves"},
          {"quorum-not-awaited", "a receipt without its witnesses is enough"},
          {"witness-answers-first", "a witness cosigns before its record is saved"},
          {"witness-not-synced", "a witness's record is renamed without fsync"},
          {"rollback-signed", "the log goes on signing though a witness knows more of it"},
          {"eviction-not-sent", "a body is given up without a statement at the collector"},
          {"eviction-not-counted", "bodies that are given up are in no counter"}};
}

std::vector<Kind> Kinds() {
  constexpr uint64_t kOften = 100, kSeldom = 2000;
  return {{"line broken", kOften},
          {"agent killed", kOften},
          {"agent lost power", kOften},
          {"collector killed", kOften},
          {"collector lost power", kOften},
          {"clock jumped", kOften},
          {"agent stopped", kOften},
          {"agent died in a change", kOften},
          {"collector died in a change", kOften},
          {"sync failed", kOften},
          {"disk full", kOften},
          {"disk filled by others", kOften},
          {"spool rotted", kOften},
          {"write lost", kOften},
          {"write torn", kSeldom},
          {"name lost", kOften},
          {"batch refused", kOften},
          {"refused", kOften},
          {"hole declared", kSeldom},
          {"epoch continued", kOften},
          {"epoch opened", kOften},
          {"witness killed", kOften},
          {"witness lost power", kOften},
          {"witness died in a change", kOften},
          {"witness answer lost", kOften},
          {"witness rolled back", kOften},
          {"witness rollback noticed", kSeldom},
          {"receipt", kOften},
          {"receipt without quorum", kSeldom},
          {"receipt forged", kOften},
          {"forged receipt refused", kSeldom},
          {"collector rolled back", kOften},
          {"old copy refused at start", kOften},
          {"old copy refused later", kSeldom},
          {"newest put back", kSeldom},
          {"agent raised an alarm", kSeldom},
          {"loss by an old copy shown", kSeldom},
          {"evicted body sent", kOften},
          {"evicted body in the log", kOften},
          {"evictions compared", kSeldom}};
}

}  // namespace nodetrail::sim
