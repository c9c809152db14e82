// Broadcast and multicast of a party: takes up what local games say, gives it to every other member once, and decides
// how what members said reaches the games here.
//
// Driven by `node` on the control thread: packets in by the three handle_ methods, then `poll_transmit` and
// `poll_delivery` until both are empty. It reads this machine through `HostTables` only, does no I/O, seals nothing and
// knows no peers' paths. Rules in rules.h, the kernel's behaviour in delivery.h, what people see in docs/lan.md.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/rng.h"
#include "lan/address_translation.h"
#include "lan/dedup.h"
#include "lan/delivery.h"
#include "lan/host_view.h"
#include "lan/rate_limit.h"
#include "lan/reassembly.h"
#include "lan/status.h"
#include "wire/ip.h"
#include "wire/lan.h"

namespace lanrage::lan {

struct ForwarderOptions {
  RateLimits rates;
  // For copies that come back by another way, and the same announcement on another card. Never for repeats.
  Duration content_window = std::chrono::seconds(5);
  bool deduplicate = true;  // off only to measure what it saves
};

// The first 8 bytes of SHA-256 over a public key.
wire::LanOrigin origin_of(ByteView public_key);

struct Self {
  wire::LanOrigin origin{};
  int adapter = 0;             // interface index
  IpPrefix v4;                 // our party address with the party's prefix length
  std::optional<IpPrefix> v6;  // likewise
};

// Whose tunnel an envelope came by.
struct Sender {
  wire::LanOrigin origin{};
  std::span<const IpPrefix> addresses;  // what its record allows as source
};

// One thing to do for a game on this machine, in the order they are polled.
struct Delivery {
  enum class Kind : std::uint8_t {
    kWrite,   // `packet` into the adapter
    kJoin,    // `group` on the adapter's interface
    kLeave,   // the same, given back
    kInject,  // `packet` (its hop limit is 0) by a raw socket on `interface`; it never reaches a wire
  };
  Kind kind = Kind::kWrite;
  int interface = 0;
  IpAddress group;
  Bytes packet;
};

class Forwarder {
 public:
  static constexpr std::size_t kQueueMax = 1024;  // of each kind of output
  static constexpr std::size_t kGroupsMax = 128;  // joined on the adapter at once
  static constexpr std::size_t kProgramsMax = 128;
  static constexpr std::size_t kHeardMax = 128;
  static constexpr std::size_t kNotesMax = 32;
  static constexpr Duration kGroupIdle = std::chrono::minutes(5);  // then a joined group is left
  static constexpr std::size_t kWholeMax = 1420;  // the adapter's MTU: what is larger goes as IP fragments
  static constexpr std::size_t kPieceMax = 1280;  // of this size, so that their envelopes fit every path

  // `tables` and `log` outlive it. `rng` gives the first sequence number.
  Forwarder(const ForwarderOptions& options, const Self& self, HostTables& tables, Rng& rng, const Logger& log);

  // A packet read from the party's adapter for which `is_lan_destination` holds.
  void handle_adapter_packet(Time now, ByteView packet);
  // A packet seen leaving by another interface. Its UDP checksum may be unfinished.
  void handle_captured_packet(Time now, int interface, ByteView packet);
  // An inner frame of type 0x10.
  void handle_envelope(Time now, const Sender& sender, ByteView inner);

  // Which UDP ports of this machine members may reach; every one until set. What was said to a closed one is dropped,
  // but for mDNS and SSDP to a group, which are asked for by joining it.
  void set_open_ports(std::function<bool(std::uint16_t port)> is_open) { is_open_ = std::move(is_open); }

  // An envelope to be sent to every other member.
  std::optional<Bytes> poll_transmit();
  std::optional<Delivery> poll_delivery();

  void handle_timeout(Time now);
  Time next_timeout() const;

  // Looks at this machine again, for `translation()`; while packets come this happens by itself.
  void refresh(Time now) { view(now, Freshness::kCached); }

  // A failed join: it is not taken for joined any more. `why` is shown.
  void handle_join_failed(const IpAddress& group, const std::string& why);

  // For the data threads; the same object until the host's sockets changed. Never null.
  std::shared_ptr<const AddressTranslation> translation() const { return translation_; }

  LanStatus status() const;

 private:
  struct Heard {
    std::uint64_t packets = 0;
    std::uint64_t unheard = 0;
  };
  struct Joined {
    Time used{};
  };
  // Bounds how often missing things make the tables be read again.
  struct RefreshBudget {
    static constexpr double kPerSecond = 10;
    static constexpr double kBurst = 20;
    double tokens = kBurst;
    Time filled{};
    bool take(Time now);
  };

  static std::vector<Bytes> pieces_of(ByteView packet, std::uint32_t identification) {
    return wire::split_ip(packet, packet.size() <= kWholeMax ? kWholeMax : kPieceMax, identification);
  }
  void drop(Drop reason) { ++status_.dropped[static_cast<std::size_t>(reason)]; }
  const HostView& view(Time now, Freshness freshness);
  const HostView* view_again(Time now);
  std::optional<wire::UdpPacket> parse(Time now, int way, ByteView& packet);

  void take_up(Time now, int way, const wire::UdpPacket& udp, ByteView packet);
  std::optional<IpAddress> party_destination(const HostView& view, const IpAddress& destination) const;
  bool is_services_chatter(const HostView& view, const wire::UdpPacket& udp) const;
  bool is_card_in_turn(Time now, int way, const wire::UdpPacket& udp, const IpAddress& destination);
  Bytes rewritten(const HostView& view, const wire::UdpPacket& udp, ByteView packet, const IpAddress& source,
                  const IpAddress& destination) const;
  void count_program(Time now, std::uint16_t source_port, std::uint16_t port);

  void deliver(Time now, const wire::UdpPacket& udp, ByteView packet);
  bool push(Delivery delivery);
  void note_group(const IpAddress& group, int interface, GroupWay way);
  void note_deaf(const LocalSocket& socket);
  void note(const std::string& sentence);

  ForwarderOptions options_;
  Self self_;
  HostTables& tables_;
  Logger log_;
  std::uint64_t sequence_;
  std::function<bool(std::uint16_t)> is_open_ = [](std::uint16_t) { return true; };

  OriginWindows windows_;
  RecentContent said_;       // by local programs
  RecentContent delivered_;  // by members
  RateLimiter rates_;
  RefreshBudget refresh_;
  Reassembly fragments_;
  Bytes whole_;                       // the last packet that was put together
  std::uint32_t identification_ = 0;  // of what is handed over in fragments

  std::deque<Bytes> transmissions_;
  std::deque<Delivery> deliveries_;
  std::map<IpAddress, Joined> joined_;

  LanStatus status_;  // the counters; lists are filled by status()
  std::map<std::pair<std::string, std::uint16_t>, std::uint64_t> programs_;
  std::map<Endpoint, Heard> heard_;
  std::map<IpAddress, GroupStatus> groups_;
  std::set<std::string> notes_;
  std::map<int, std::string> interface_names_;
  std::shared_ptr<const AddressTranslation> translation_;
  std::uint64_t translated_generation_ = 0;
};

}  // namespace lanrage::lan
