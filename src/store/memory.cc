#include "store/store.h"

namespace lanrage::store {

Result<std::optional<party::PartyData>> MemoryStore::load(const party::PartyId& id) {
  failed_.erase(id);
  auto found = parties_.find(id);
  return found == parties_.end() ? std::nullopt : std::optional<party::PartyData>(found->second);
}

void MemoryStore::commit(const party::PartyId& id, std::vector<party::Change> changes, Committed done) {
  if (failure_) {
    failed_.insert(id);
    const Error error = *std::exchange(failure_, std::nullopt);
    return done(error);
  }
  if (failed_.contains(id))
    return done(Error{Code::kIo, "an earlier change of this party could not be stored", "try again"});
  party::PartyData& data = parties_[id];
  for (const party::Change& change : changes) party::apply_change(data, change);
  done({});
}

Result<StoreSize> MemoryStore::size() {
  StoreSize size;
  size.parties = parties_.size();
  for (const auto& [id, party] : parties_) {
    for (const auto& [key, row] : party.members) size.members += row.state == party::MemberState::kJoined ? 1 : 0;
  }
  return size;
}

}  // namespace lanrage::store
