#include <algorithm>

#include "store/store.h"

namespace lanrage::store {

Result<std::optional<party::PartyData>> MemoryStore::load(const party::PartyId& id) {
  failed_.erase(id);
  auto found = parties_.find(id);
  return found == parties_.end() ? std::nullopt : std::optional<party::PartyData>(found->second);
}

void MemoryStore::commit(const party::PartyId& id, std::vector<party::Change> changes, Committed done) {
  ++stats_.requests;
  if (failure_) {
    ++stats_.refused;
    failed_.insert(id);
    const Error error = *std::exchange(failure_, std::nullopt);
    stats_.problem = error.message;
    return done(error);
  }
  if (failed_.contains(id)) {
    ++stats_.refused;
    return done(Error{Code::kIo, "an earlier change of this party could not be stored", "try again"});
  }
  ++stats_.transactions;
  stats_.changes += changes.size();
  stats_.problem.clear();
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

void MemoryStore::retire(WallTime now, std::vector<party::PartyId> in_use, Retired done) {
  const bool day_over = !counted_ || now >= *counted_ + kDay || now < *counted_ - kDay;
  if (day_over) counted_ = now;
  const std::set<party::PartyId> used(in_use.begin(), in_use.end());
  done(std::erase_if(parties_, [&](const auto& entry) {
    std::int64_t& idle = idle_days_[entry.first];
    if (day_over) ++idle;
    if (used.contains(entry.first)) idle = 0;
    const party::PartyData& data = entry.second;
    const bool inhabited = std::any_of(data.members.begin(), data.members.end(), [](const auto& member) {
      return member.second.state == party::MemberState::kPending || member.second.state == party::MemberState::kJoined;
    });
    const bool inviting = std::any_of(data.invites.begin(), data.invites.end(), [&](const auto& invite) {
      return invite.second.state == party::InviteState::kLive && invite.second.uses_left > 0 &&
             invite.second.expires > now;
    });
    const bool gone = !used.contains(entry.first) && (idle > kIdleDaysMax || (!inhabited && !inviting));
    if (gone) idle_days_.erase(entry.first);
    return gone;
  }));
}

}  // namespace lanrage::store
