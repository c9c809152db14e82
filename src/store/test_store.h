// For tests of stores: a party, and what is asked of a store, waited for.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <future>
#include <string>
#include <vector>

#include "base/rng.h"
#include "party/roster.h"
#include "store/store.h"

namespace lanrage::store {

// A party's data as its owner's first requests make it, without going through a server.
struct Sample {
  SeededRng rng{1};
  party::PartyId id = party::PartyId(rng.array<16>());
  std::vector<party::Change> created{party::PartyCreated{Bytes{1, 2, 3}}, party::VersionRaised{1},
                                     party::MemberPut{member(1)}};

  party::MemberRow member(std::uint8_t number) {
    party::MemberRow row;
    std::array<std::uint8_t, 32> key{};
    key[0] = number;
    row.public_key = crypto::PublicKey(key);
    if (number % 2 == 0) row.verify_key = crypto::VerifyKey::from_bytes(Bytes(32, number));
    row.state = party::MemberState::kJoined;
    row.ipv4 = IpAddress::v4(10, 66, 1, number);
    row.name = "böb " + std::to_string(number);
    row.joined = from_unix_seconds(1700000000 + number);
    row.record_version = number;
    row.since = number;
    row.record = Bytes(number, number);
    return row;
  }
  party::InviteRow invite(std::uint8_t number) {
    party::InviteRow row;
    row.id = party::InviteId(std::array<std::uint8_t, 6>{number});
    row.token_hash[0] = number;
    row.uses = 5;
    row.uses_left = 3;
    row.expires = from_unix_seconds(1800000000);
    row.envelope = {9, 9};
    return row;
  }
};

inline std::string fresh_folder() {
  static int number = 0;
  const auto folder = std::filesystem::temp_directory_path() /
                      ("lanrage_store_test_" + std::to_string(getpid()) + "_" + std::to_string(++number));
  std::filesystem::create_directory(folder);
  return folder.string();
}

inline Result<std::optional<Loaded>> load(Store& store, const party::PartyId& id) {
  std::promise<Result<std::optional<Loaded>>> promise;
  store.load(id, [&](Result<std::optional<Loaded>> found) { promise.set_value(std::move(found)); });
  return promise.get_future().get();
}

inline Result<void> commit(Store& store, Commit commit) {
  std::promise<Result<void>> promise;
  store.commit(std::move(commit), [&](Result<void> result) { promise.set_value(std::move(result)); });
  return promise.get_future().get();
}

// On top of what the store has.
inline Result<void> commit(Store& store, const party::PartyId& id, std::vector<party::Change> changes,
                           std::vector<party::PartyEvent> events = {}) {
  LR_ASSIGN(const auto loaded, load(store, id));
  return commit(store, {id, loaded ? loaded->revision : 0, std::move(changes), std::move(events)});
}

inline std::size_t retire(Store& store, WallTime now, std::vector<party::PartyId> in_use = {}) {
  std::promise<Result<std::size_t>> promise;
  store.retire(now, std::move(in_use), [&](Result<std::size_t> count) { promise.set_value(std::move(count)); });
  return *promise.get_future().get();
}

}  // namespace lanrage::store
