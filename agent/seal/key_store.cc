// SPDX-License-Identifier: Apache-2.0
#include "agent/seal/key_store.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>

namespace nodetrail::agent {
namespace {

constexpr size_t kPageBytes = 4096;
constexpr std::array<char, 8> kMagic = {'N', 'T', 'K', 'E', 'Y', 'S', '0', '1'};
constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

}  // namespace

struct KeyStore::Page {
  struct Slot {
    // The algorithm (1 Ed25519, 2 P-256) if the rest is whole; written last,
    // cleared first. 0: empty.
    uint64_t filled;
    uint64_t epoch;
    uint64_t seq;
    uint8_t secret[32];
    uint8_t unused[32];
  };
  std::array<char, 8> magic;
  Slot slots[2];
};

Result<std::unique_ptr<KeyStore>> KeyStore::Create() {
  std::unique_ptr<KeyStore> store(new KeyStore());
  store->fd_.Reset(::memfd_create("nodetrail-ratchet", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!store->fd_.valid()) return ErrnoStatus(errno, "seal: memfd_create");
  if (::ftruncate(store->fd_.get(), kPageBytes) != 0) return ErrnoStatus(errno, "seal: key memfd: ftruncate");
  // Nobody who gets the descriptor can shrink it under our mapping.
  if (::fcntl(store->fd_.get(), F_ADD_SEALS, kSeals) != 0) return ErrnoStatus(errno, "seal: key memfd: seals");
  NT_RETURN_IF_ERROR(store->Map());
  store->page_->magic = kMagic;
  return store;
}

Result<std::unique_ptr<KeyStore>> KeyStore::Adopt(UniqueFd fd) {
  std::unique_ptr<KeyStore> store(new KeyStore());
  store->fd_ = std::move(fd);
  struct stat st {};
  if (::fstat(store->fd_.get(), &st) != 0) return ErrnoStatus(errno, "seal: inherited key: stat");
  if (!S_ISREG(st.st_mode) || st.st_size != static_cast<off_t>(kPageBytes)) {
    return InvalidArgument("seal: inherited key: not a key memfd");
  }
  // Only a memfd has seals; without them the mapping could be cut off under us.
  if (const int seals = ::fcntl(store->fd_.get(), F_GET_SEALS); seals < 0 || (seals & kSeals) != kSeals) {
    return InvalidArgument("seal: inherited key: not a sealed memfd");
  }
  NT_RETURN_IF_ERROR(store->Map());
  if (store->page_->magic != kMagic) return InvalidArgument("seal: inherited key: of another version");
  return store;
}

Status KeyStore::Map() {
  void* at = ::mmap(nullptr, kPageBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
  if (at == MAP_FAILED) return ErrnoStatus(errno, "seal: key memfd: mmap");
  page_ = static_cast<Page*>(at);
  // A page that may be swapped is written to a disk. Without the right to lock
  // (RLIMIT_MEMLOCK 0) the agent still runs: losing evidence would be worse.
  if (::mlock(at, kPageBytes) != 0 && errno != ENOMEM && errno != EPERM && errno != EAGAIN) {
    return ErrnoStatus(errno, "seal: key memfd: mlock");
  }
  if (::madvise(at, kPageBytes, MADV_DONTDUMP) != 0) return ErrnoStatus(errno, "seal: key memfd: madvise");
  // A child (there is none by design) must not inherit the key.
  if (::madvise(at, kPageBytes, MADV_DONTFORK) != 0) return ErrnoStatus(errno, "seal: key memfd: madvise");
  return OkStatus();
}

KeyStore::~KeyStore() {
  if (page_ != nullptr) ::munmap(page_, kPageBytes);
}

std::optional<trail::RatchetKey> KeyStore::Find(Position position, std::string_view key) const {
  const Page::Slot& slot = page_->slots[position.seq % 2];
  if (slot.epoch != position.epoch || slot.seq != position.seq) return std::nullopt;
  const auto alg = slot.filled == 1   ? trail::v1::SIG_ALG_ED25519
                   : slot.filled == 2 ? trail::v1::SIG_ALG_ECDSA_P256_SHA256
                                      : trail::v1::SIG_ALG_UNSPECIFIED;
  auto found = trail::RatchetKey::FromSecret(alg, {reinterpret_cast<const char*>(slot.secret), sizeof(slot.secret)});
  if (!found.ok() || found->public_key() != key) return std::nullopt;
  return std::move(*found);
}

void KeyStore::Put(Position position, const trail::RatchetKey& key) {
  Page::Slot& slot = page_->slots[position.seq % 2];
  slot.filled = 0;
  std::atomic_signal_fence(std::memory_order_seq_cst);  // order against a SIGKILL, not against another thread
  slot.epoch = position.epoch;
  slot.seq = position.seq;
  key.CopySecret(std::span<uint8_t, 32>(slot.secret));
  std::atomic_signal_fence(std::memory_order_seq_cst);
  slot.filled = key.alg() == trail::v1::SIG_ALG_ED25519 ? 1 : 2;
}

void KeyStore::Erase(Position position) { trail::SecureErase(&page_->slots[position.seq % 2], sizeof(Page::Slot)); }

void KeyStore::EraseAll() { trail::SecureErase(page_->slots, sizeof(page_->slots)); }

}  // namespace nodetrail::agent
