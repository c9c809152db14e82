// What control servers that share a store say to each other over their bus: one JSON object a message.
//
// Nothing of it is needed for correctness, which the store has: news come sooner by it, presence and signals at all.
// A server that does not know a type ignores it. docs/wire/news.md has the page. Pure values and functions; any thread.
#pragma once

#include "wire/control.h"

namespace lanrage::wire {

using ServerId = std::array<std::uint8_t, 8>;  // of one run of a server

inline constexpr std::size_t kNewsBytesMax = 512 * 1024;

// The party has this revision in the store now.
struct PartyChanged {
  PartyId party{};
  std::uint64_t revision = 0;
  friend bool operator==(const PartyChanged&, const PartyChanged&) = default;
};
// All members of the party that are connected to the sender; others are not, any more. `asks`: answer with yours.
struct Here {
  PartyId party{};
  std::vector<crypto::PublicKey> members;
  bool asks = false;
  friend bool operator==(const Here&, const Here&) = default;
};
// A member is connected to the sender from here on, or is not.
struct PresenceNews {
  PartyId party{};
  Presence presence;
  friend bool operator==(const PresenceNews&, const PresenceNews&) = default;
};
// For a member that is connected to a reader.
struct SignalNews {
  crypto::PublicKey from;
  Signal signal;
  friend bool operator==(const SignalNews&, const SignalNews&) = default;
};
// The sender runs, at these addresses, and these relays are its own or connected to it; said every second.
struct Alive {
  Servers servers;
  Relays relays;
  RelaysHealth health;
  friend bool operator==(const Alive&, const Alive&) = default;
};

struct News {
  ServerId server{};  // the sender
  std::variant<PartyChanged, Here, PresenceNews, SignalNews, Alive> body;
  friend bool operator==(const News&, const News&) = default;
};

std::string encode(const News& news);
// Nullopt for a type that this version does not know.
Result<std::optional<News>> decode_news(std::string_view text);

}  // namespace lanrage::wire
