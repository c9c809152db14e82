#include <algorithm>

#include "store/store.h"

namespace lanrage::store {

void MemoryStore::load(const party::PartyId& id, Found found) {
  failed_.erase(id);
  const auto party = parties_.find(id);
  found(party == parties_.end() ? std::nullopt : std::optional<Loaded>(party->second));
}

void MemoryStore::commit(Commit commit, Committed done) {
  ++stats_.requests;
  const auto refuse = [&](Error error) {
    ++stats_.refused;
    failed_.insert(commit.id);
    done(std::move(error));
  };
  if (failure_) {
    stats_.problem = failure_->message;
    return refuse(*std::exchange(failure_, std::nullopt));
  }
  const auto known = parties_.find(commit.id);
  const std::uint64_t revision = known == parties_.end() ? 0 : known->second.revision;
  if (failed_.contains(commit.id) || commit.revision != revision) return refuse(decided_on_the_past());
  ++stats_.transactions;
  stats_.changes += commit.changes.size();
  stats_.problem.clear();
  if (commit.changes.empty()) return done({});
  Loaded& party = parties_[commit.id];
  ++party.revision;
  for (const party::Change& change : commit.changes) party::apply_change(party.data, change);
  for (party::PartyEvent& event : commit.events) party.recent.push_back(std::move(event));
  if (party.recent.size() > party::kRecentEventsMax)
    party.recent.erase(party.recent.begin(), party.recent.end() - party::kRecentEventsMax);
  done({});
}

void MemoryStore::changed(Changed changed) {
  std::vector<Revision> out;
  for (const auto& [id, party] : parties_) out.push_back({id, party.revision});
  changed(std::move(out));
}

Result<StoreSize> MemoryStore::size() {
  StoreSize size;
  size.parties = parties_.size();
  for (const auto& [id, party] : parties_) {
    for (const auto& [key, row] : party.data.members) size.members += row.state == party::MemberState::kJoined ? 1 : 0;
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
    const party::PartyData& data = entry.second.data;
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
