// The snapshot that the data threads work from: who is where, under which key, on which path.
//
// Control builds one, publishes it and never changes it again; TX, RX and the simulator read it. What moves stands
// behind pointers, each with one owner: a SendKey and `PeerTx` belong to TX, a ReceiveKey and `PeerRx` to RX, and
// `PeerCounters` are relaxed atomics written by the two and read by control. A peer keeps its slot and its `PeerState`
// from snapshot to snapshot. Pure; decides nothing (outbound.h, inbound.h do).
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
#include <optional>
#include <vector>

#include "base/ip.h"
#include "base/time.h"
#include "crypto/keys.h"
#include "lan/address_translation.h"
#include "node/filter.h"
#include "tunnel/allowed_ips.h"
#include "tunnel/device.h"
#include "tunnel/session.h"
#include "wire/inner.h"

namespace lanrage::node {

// Game packets are few, small and in a hurry (`lane_of` in outbound.h tells them).
enum class Lane : std::uint8_t { kGame, kBulk };

// The only way back from the data threads to control, one block per peer. Each field has one writer.
class PeerCounters {
 public:
  // TX, for each data message. `datagram_bytes` as on the wire; empty: a keepalive.
  void note_sent(Time now, std::size_t datagram_bytes, std::uint64_t send_counter, bool empty);
  // TX: the same datagram went out by a second path too. Not among what was sent.
  void note_copy(std::size_t datagram_bytes);
  // RX, for each genuine data message, and when the source of a newest one is another than before.
  void note_received(Time now, std::size_t datagram_bytes, std::uint32_t receive_index, bool empty);
  void note_source(const Path& source);

  // Control: everything so far, as the tunnel wants it.
  tunnel::Activity read() const;
  struct Copies {
    std::uint64_t packets = 0;
    std::uint64_t bytes = 0;
  };
  Copies copies() const;

 private:
  using Number = std::atomic<std::uint64_t>;
  static void add(Number& number, std::uint64_t more) {  // a single writer needs no locked addition
    number.store(number.load(std::memory_order_relaxed) + more, std::memory_order_relaxed);
  }

  static constexpr std::int64_t kNever = tunnel::Activity::kNone.time_since_epoch().count();
  // TX and RX each write a cache line of their own.
  alignas(64) std::atomic<std::int64_t> last_sent_{kNever};
  std::atomic<std::int64_t> last_data_sent_{kNever};
  Number send_counter_{0}, sent_packets_{0}, sent_bytes_{0}, copied_packets_{0}, copied_bytes_{0};
  alignas(64) std::atomic<std::int64_t> last_received_{kNever};
  std::atomic<std::int64_t> last_data_received_{kNever};
  Number received_packets_{0}, received_bytes_{0};
  Number receive_index_{0};  // 2^32 + index; 0: none yet
  // The path in four words under a version that is odd while they change; 0: none yet.
  Number source_version_{0};
  std::array<Number, 3> source_{};
};

struct PeerState {
  PeerCounters counters;
  struct Tx {
    std::uint16_t fragment_id = 0;
    Time last_packet{};  // sealed
  } tx;                  // TX's alone
  struct Rx {
    Time newest_key{};               // created() of the youngest key that opened a packet
    std::uint32_t newest_index = 0;  // and its local_index()
    std::optional<Path> source;
    std::optional<Path> second_source;  // before that one, or where copies come from
    Time source_heard{};
    Time second_heard{};
    wire::Reassembler fragments;

    // A newest packet came from there: true when that is the peer's source from now on. When it sends on two paths at
    // once, now the one and now the other is ahead: the source stays until it falls behind for kCopyLead.
    static constexpr Duration kCopyLead = std::chrono::milliseconds{250};
    bool follow(Time now, const Path& from);
  };
  alignas(64) Rx rx;  // RX's alone
};

struct Peer {
  static constexpr std::size_t kPathsMax = 2;

  crypto::PublicKey key;
  std::shared_ptr<PeerState> state;       // null: nobody in this slot
  std::shared_ptr<tunnel::SendKey> send;  // null: no session
  std::array<Path, kPathsMax> paths{};    // the second gets a copy of each sealed game packet
  std::uint8_t path_count = 0;
  bool lanrage = false;                      // understands our inner frames
  std::uint16_t path_mtu = 0;                // the largest inner packet that one datagram carries
  std::shared_ptr<const PortFilter> filter;  // null: may reach everything

  std::span<const Path> way(Lane lane) const {
    return std::span(paths).first(lane == Lane::kGame ? path_count : std::min<std::size_t>(path_count, 1));
  }
};

// Receive index -> session. A flat table of fixed size per snapshot, built once.
class SessionTable {
 public:
  struct Session {
    std::shared_ptr<tunnel::ReceiveKey> key;
    std::uint32_t slot = 0;
  };
  SessionTable() = default;
  explicit SessionTable(std::vector<Session> sessions);

  const Session* find(std::uint32_t index) const {
    if (places_.empty()) return nullptr;
    for (std::size_t at = place(index);; at = (at + 1) & (places_.size() - 1)) {
      const Place& p = places_[at];
      if (p.session == 0) return nullptr;
      if (p.index == index) return &sessions_[p.session - 1];
    }
  }

 private:
  struct Place {
    std::uint32_t index = 0;
    std::uint32_t session = 0;  // its number plus one; 0: free
  };
  // Indices are random numbers of our own making: their low bits are hash enough.
  std::size_t place(std::uint32_t index) const { return index & (places_.size() - 1); }
  std::vector<Session> sessions_;
  std::vector<Place> places_;
};

struct Forwarding {
  std::optional<crypto::PublicKey> identity;  // ours; nothing: no handshake is for us
  std::shared_ptr<const tunnel::AllowedIps<>> routes = std::make_shared<tunnel::AllowedIps<>>();  // values are slots
  std::vector<Peer> peers;                                                                        // by slot
  SessionTable sessions;

  // A party. Without `lan` this is a plain WireGuard device: what `routes` says goes, to and from everywhere.
  bool lan = false;
  std::vector<IpAddress> own;         // ours on the adapter; with `lan`, only packets to them are delivered
  std::vector<IpAddress> broadcasts;  // of the adapter's networks, beside 255.255.255.255
  std::vector<Endpoint> relays;       // what comes from there was relayed
  std::shared_ptr<Flows> flows;       // needed when a peer has a filter
  std::shared_ptr<const lan::AddressTranslation> translation;  // null: no program's address is translated

  const Peer* peer(std::uint32_t slot) const {
    return slot < peers.size() && peers[slot].state ? &peers[slot] : nullptr;
  }
  const Peer* peer_of(const crypto::PublicKey& key, std::uint32_t slot) const {
    const Peer* found = peer(slot);
    return found != nullptr && found->key == key ? found : nullptr;
  }
  bool is_group(const IpAddress& destination) const;  // broadcast or multicast
  bool is_own(const IpAddress& destination) const;
  Path path_from(const Endpoint& source, std::uint16_t socket = 0) const;
};

}  // namespace lanrage::node
