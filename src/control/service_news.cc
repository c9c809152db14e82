// Of Service: what it hears of the other servers that share its store, and what it tells them.
#include <algorithm>

#include "control/service.h"

namespace lanrage::control {

void Service::say(const party::PartyId& id, decltype(wire::News::body) body) {
  if (options_.bus != nullptr) options_.bus->publish(id, wire::encode(wire::News{id_, std::move(body)}));
}

void Service::say_here(const party::PartyId& id, bool asks) {
  std::set<crypto::PublicKey> members;
  for (StreamId stream_id : streams_of_.at(id).ids) members.insert(streams_.at(stream_id).by);
  say(id, wire::Here{wire_id(id), {members.begin(), members.end()}, asks});
}

void Service::handle_news(Now now, std::string_view message) {
  const auto news = wire::decode_news(message);
  if (!news || !*news) return log_.debug("news of another server mean nothing", {});
  const wire::ServerId& from = (*news)->server;
  if (from == id_) return;
  if (!others_.contains(from)) {
    if (others_.size() >= kServersMax) return;
    log_.info("another server shares the store", {{"server", to_hex(from)}});
  }
  Other& other = others_[from];
  other.heard = now.time;
  std::visit([&](const auto& body) { hear(now, other, body); }, (*news)->body);
}

void Service::handle_gap() {
  for (const auto& [id, open] : streams_of_) say_here(id, true);
}

void Service::hear(Now now, Other&, const wire::PartyChanged& news) {
  note_revision(now, party::PartyId(news.party), news.revision);
}

// What is in memory is read again if it is older.
void Service::note_revision(Now now, const party::PartyId& id, std::uint64_t revision) {
  if (const auto loading = loading_.find(id); loading != loading_.end())
    loading->second.at_least = std::max(loading->second.at_least, revision);
  const auto cached = parties_.find(id);
  if (cached == parties_.end() || cached->second->revision >= revision) return;
  forget(id, PartyPtr(cached->second));
  if (streams_of_.contains(id)) find(now, id, [](const Result<PartyPtr>&) {});
}

void Service::hear(Now, Other& from, const wire::Here& news) {
  const party::PartyId id(news.party);
  if (!streams_of_.contains(id)) return;
  std::set<crypto::PublicKey> members(news.members.begin(), news.members.end());
  std::swap(members, from.members[id]);
  for (const crypto::PublicKey& member : news.members)
    if (!members.contains(member) && !is_here(id, member)) tell(id, wire::Presence{member, true});
  for (const crypto::PublicKey& member : members)
    if (!is_here(id, member) && !is_elsewhere(id, member)) tell(id, wire::Presence{member, false});
  if (news.asks) say_here(id, false);
}

void Service::hear(Now, Other& from, const wire::PresenceNews& news) {
  const party::PartyId id(news.party);
  const crypto::PublicKey& member = news.presence.member;
  if (!streams_of_.contains(id)) return;
  const bool was_online = is_here(id, member) || is_elsewhere(id, member);
  if (news.presence.online) {
    from.members[id].insert(member);
  } else {
    from.members[id].erase(member);
  }
  const bool is_online = is_here(id, member) || is_elsewhere(id, member);
  if (is_online != was_online) tell(id, wire::Presence{member, is_online});
}

void Service::hear(Now, Other&, const wire::SignalNews& news) {
  deliver(party::PartyId(news.signal.party), news.from, news.signal);
}

void Service::hear(Now now, Other& from, const wire::Alive& news) {
  const bool has_relays = from.said.relays != news.relays;
  const std::size_t known = known_addresses_.size();
  for (const std::string& address : news.servers.addresses)
    if (known < kServersMax) known_addresses_[address] = now.time;
  from.said = news;
  if (has_relays) tell_relays();
  if (known_addresses_.size() != known) tell_servers();
}

// This one first.
wire::Servers Service::named_servers() const {
  wire::Servers out{addresses_};
  for (const auto& [address, heard] : known_addresses_)
    if (std::find(addresses_.begin(), addresses_.end(), address) == addresses_.end()) out.addresses.push_back(address);
  if (out.addresses.size() > wire::kServersMax) out.addresses.resize(wire::kServersMax);
  return out;
}

void Service::tell_servers() {
  const wire::Servers servers = named_servers();
  for (const auto& [id, stream] : streams_) stream.stream.send(servers);
}

// Every second.
void Service::keep_in_touch(Now now) {
  options_.bus->broadcast(wire::encode(wire::News{id_, wire::Alive{{addresses_}, own_relays(), own_relays_health()}}));
  // Each party at its own second.
  constexpr auto kTurns = static_cast<std::uint64_t>(kHereInterval / kSweep);
  ++sweeps_;
  for (const auto& [id, open] : streams_of_)
    if (id.bytes()[0] % kTurns == sweeps_ % kTurns) say_here(id, false);
  drop_lost(now);
  std::erase_if(known_addresses_, [&](const auto& entry) { return now.time - entry.second > kAddressesKept; });
  if (asking_changed_) return;
  asking_changed_ = true;
  store_.changed(on_service([this, now](const Result<std::vector<store::Revision>>& changed) {
    asking_changed_ = false;
    if (!changed) return;
    for (const store::Revision& party : *changed) note_revision(now, party.id, party.revision);
  }));
}

void Service::drop_lost(Now now) {
  bool had_relays = false;
  for (auto it = others_.begin(); it != others_.end();) {
    if (now.time - it->second.heard < kServerLost) {
      ++it;
      continue;
    }
    log_.warn("another server is not heard any more", {{"server", to_hex(it->first)}});
    had_relays = had_relays || !it->second.said.relays.relays.empty();
    const auto lost = std::move(it->second.members);
    it = others_.erase(it);
    for (const auto& [id, members] : lost)
      for (const crypto::PublicKey& member : members)
        if (!is_here(id, member) && !is_elsewhere(id, member)) tell(id, wire::Presence{member, false});
  }
  if (had_relays) tell_relays();
}

}  // namespace lanrage::control
