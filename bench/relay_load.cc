// Load for a relay, ours or a TURN server, from addresses 10.77.0.0/16 of this host: see bench/relay.py.
//
//   relay_load keys SERVER_KEY_HEX                   the relay.keys of a relay that is to take our grants
//   relay_load sessions IP:PORT KEY COUNT            registers them and holds them until standard input ends
//   relay_load lanrage IP:PORT KEY OPTIONS...        pairs, each a party of two
//   relay_load turn IP:PORT - OPTIONS...             pairs of an allocation with a channel, and a peer
//   relay_load straight IP:PORT - OPTIONS...         pairs without a relay: what the load itself costs
//     --pairs N --pps N --size BYTES --seconds S     one datagram in turn from every pair, at that rate in all
//     --run N                                        N of them at once, as one send (UDP_SEGMENT), as nodes do with
//     bulk
//     --flood PPS --flood-size BYTES --flooders N    one more party, of whom N send as much as that in all
//
// Datagrams are WireGuard data messages by their looks, with the time of their sending. Answers one line of JSON.
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "base/check.h"
#include "base/format.h"
#include "base/rng.h"
#include "crypto/random.h"
#include "net/clock.h"
#include "net/poller.h"
#include "net/udp_socket.h"
#include "wire/json.h"
#include "wire/relay.h"

using namespace lanrage;
using wire::Json;

namespace {

constexpr std::uint16_t kSenders = 7001, kReceivers = 7002;
constexpr std::size_t kHeader = 24;  // type, receiver, group, time

crypto::SigningKey grant_key() {
  SeededRng rng(77);  // of benchmarks alone
  return crypto::SigningKey::generate(rng);
}

IpAddress address_of(std::size_t i) {
  return IpAddress::v4((10u << 24) + (77u << 16) + static_cast<std::uint32_t>(i + 16));
}

std::uint32_t index_of(std::size_t number) { return static_cast<std::uint32_t>(number + 1); }

net::UdpSocket open_socket(std::uint16_t port) {
  net::UdpOptions options;
  options.bind.port = port;
  auto socket = net::UdpSocket::open(options);
  LR_CHECK(socket);
  return std::move(*socket);
}

// One socket, many addresses.
class Port {
 public:
  explicit Port(std::uint16_t port)
      : socket_(open_socket(port)), memory_(kSlots * 65536), poller_(*net::Poller::create()) {
    for (std::size_t i = 0; i < kSlots; ++i) slots_[i].buffer = MutableBytes(memory_).subspan(i * 65536, 65536);
    LR_CHECK(poller_.add(socket_.fd(), 1));
  }
  void send(const Endpoint& to, const IpAddress& from, ByteView bytes) {
    socket_.send({.destination = to, .bytes = bytes, .source = from});
  }
  net::SendReport send(std::span<const net::SendItem> items) { return socket_.send(items); }
  // Each datagram that came until then, with the address it came to. Ends early when `each` says true.
  template <class F>
  bool receive(Time until, F each) {
    for (;;) {
      const std::size_t count = socket_.receive(slots_);
      bool done = false;
      for (std::size_t i = 0; i < count; ++i) {
        net::for_each_datagram(slots_[i],
                               [&](ByteView datagram) { done = each(slots_[i].destination, datagram) || done; });
      }
      if (done) return true;
      const Time now = net::now().time;
      if (now >= until) return false;
      if (count == 0) poller_.wait(now, until);
    }
  }

 private:
  static constexpr std::size_t kSlots = 32;
  net::UdpSocket socket_;
  Bytes memory_;
  std::array<net::ReceiveSlot, kSlots> slots_;
  net::Poller poller_;
};

struct Member {
  IpAddress address;
  crypto::PrivateKey key;
  crypto::PublicKey name;
  wire::RelayMacKey mac;
  wire::GrantBytes grant{};
  std::uint32_t index = 0;
  bool registered = false;
};

Member member(std::size_t number, std::uint32_t party, const crypto::PublicKey& relay, Rng& rng) {
  static const crypto::SigningKey grants = grant_key();
  Member out;
  out.address = address_of(number);
  out.key = crypto::PrivateKey::generate(rng);
  out.name = crypto::public_key(out.key);
  out.mac = *wire::relay_mac_key(out.key, relay, out.name, relay);
  wire::RelayGrant grant;
  store_be(grant.party.data(), party + 1);
  grant.peer = out.name;
  grant.expires_unix = unix_seconds(net::now().wall) + 3600;
  out.grant = wire::sign_grant(grant, grants);
  out.index = index_of(number);
  return out;
}

// Registers all of them at the pace that a relay takes; how many are.
std::size_t enter(Port& port, const Endpoint& relay, std::vector<Member>& members) {
  std::map<IpAddress, Member*> by_address;
  for (Member& one : members) by_address[one.address] = &one;
  std::size_t registered = 0;
  const auto handle = [&](const IpAddress& to, ByteView datagram) {
    Member& one = *by_address.at(to);
    const std::uint32_t indices[] = {one.index};
    if (const auto challenge = wire::parse_relay_challenge(datagram))
      port.send(relay, to, wire::write_relay_register(7, challenge->cookie, one.grant, indices, one.mac));
    if (wire::parse_relay_registered(datagram) && !std::exchange(one.registered, true)) ++registered;
    return false;
  };
  for (int round = 0; round < 5 && registered < members.size(); ++round) {
    std::size_t asked = 0;
    for (Member& one : members) {
      if (one.registered) continue;
      const std::uint32_t indices[] = {one.index};
      port.send(relay, one.address, wire::write_relay_register(7, {}, one.grant, indices, one.mac));
      if (++asked % 8 == 0) port.receive(net::now().time + std::chrono::milliseconds(10), handle);  // 800 a second
    }
    port.receive(net::now().time + std::chrono::milliseconds(300), handle);
  }
  return registered;
}

// ---- TURN (RFC 8656) without authentication, just so much that one channel is open.

Bytes turn_request(std::uint16_t type, std::uint32_t transaction, ByteView attributes) {
  ByteWriter out;
  out.u16_be(type).u16_be(static_cast<std::uint16_t>(attributes.size())).u32_be(0x2112A442);
  out.u32_be(0).u32_be(0).u32_be(transaction).bytes(attributes);
  return out.take();
}

bool turn_ask(Port& port, const Endpoint& server, const IpAddress& from, const Bytes& request) {
  const std::uint16_t success = static_cast<std::uint16_t>(load_be<std::uint16_t>(request.data()) | 0x0100);
  for (int i = 0; i < 25; ++i) {
    port.send(server, from, request);
    if (port.receive(net::now().time + std::chrono::milliseconds(200), [&](const IpAddress& to, ByteView answer) {
          return to == from && answer.size() >= 20 && load_be<std::uint16_t>(answer.data()) == success;
        }))
      return true;
  }
  return false;
}

bool open_channel(Port& port, const Endpoint& server, const IpAddress& from, const Endpoint& peer) {
  ByteWriter allocate;
  allocate.u16_be(0x0019).u16_be(4).u8(17).u8(0).u16_be(0);  // REQUESTED-TRANSPORT: UDP
  if (!turn_ask(port, server, from, turn_request(0x0003, 1, allocate.view()))) return false;
  ByteWriter bind;
  bind.u16_be(0x000C).u16_be(4).u16_be(0x4000).u16_be(0);  // CHANNEL-NUMBER
  bind.u16_be(0x0012).u16_be(8).u8(0).u8(1).u16_be(static_cast<std::uint16_t>(peer.port ^ 0x2112));
  bind.u32_be(peer.address.v4_value() ^ 0x2112A442);  // XOR-PEER-ADDRESS
  return turn_ask(port, server, from, turn_request(0x0009, 2, bind.view()));
}

// ---- Load

struct Options {
  std::size_t pairs = 50, size = 112, run = 1, flood_size = 1400, flooders = 8;
  double pps = 20000, seconds = 5, flood = 0;
};

struct Counts {
  std::uint64_t sent = 0, received = 0;
  std::vector<std::uint32_t> delays_us{};
  Json json() {
    std::sort(delays_us.begin(), delays_us.end());
    const auto quantile = [&](double q) {
      return delays_us.empty()
                 ? Json()
                 : Json(delays_us[static_cast<std::size_t>(q * static_cast<double>(delays_us.size() - 1))]);
    };
    return Json::object(
        {{"sent", sent}, {"received", received}, {"p50_us", quantile(0.5)}, {"p99_us", quantile(0.99)}});
  }
};

std::uint64_t nanoseconds(Time t) { return static_cast<std::uint64_t>(t.time_since_epoch().count()); }

// `run` equal ones, one behind the other.
Bytes datagram_for(std::uint32_t index, std::uint32_t group, std::size_t size, bool channel, std::size_t run) {
  const std::size_t header = channel ? 4 : 0;
  Bytes out(run * (size + header));
  for (std::size_t i = 0; i < run; ++i) {
    std::uint8_t* at = out.data() + i * (size + header);
    if (channel) {
      store_be(at, std::uint16_t{0x4000});
      store_be(at + 2, static_cast<std::uint16_t>(size));
    }
    store_le(at + header, 4u);
    store_le(at + header + 4, index);
    store_le(at + header + 8, group);
  }
  return out;
}

// A share of the senders' work at its own pace: bursts of what is due, a look at the clock every half millisecond.
void send_load(Port& port, std::vector<net::SendItem>& items, std::vector<Bytes>& datagrams, std::size_t time_at,
               std::size_t run, double pps, Time until, Counts& counts) {
  const Time began = net::now().time;
  std::size_t next = 0;
  std::vector<net::SendItem> burst;
  for (Time now = began; now < until; now = net::now().time) {
    const auto due = static_cast<std::uint64_t>(std::chrono::duration<double>(now - began).count() * pps);
    burst.clear();
    for (; counts.sent < due && burst.size() < 64; counts.sent += run, next = (next + 1) % items.size()) {
      for (std::size_t at = time_at; at < datagrams[next].size(); at += datagrams[next].size() / run)
        store_le(datagrams[next].data() + at, nanoseconds(now));
      burst.push_back(items[next]);
    }
    if (!burst.empty()) port.send(burst);
    if (burst.size() < 64) std::this_thread::sleep_for(std::chrono::microseconds(500));
  }
}

enum class Kind { kLanrage, kTurn, kStraight };

int load(Kind kind, const Endpoint& relay, const crypto::PublicKey& key, const Options& options) {
  const bool turn = kind == Kind::kTurn;
  crypto::SystemRng rng;
  Port senders(kSenders), receivers(kReceivers), flooders(kSenders + 2);
  const std::size_t parties = options.pairs + (options.flood > 0 ? 1 : 0);
  std::vector<std::vector<net::SendItem>> items(2);
  std::vector<std::vector<Bytes>> datagrams(2);
  std::vector<Member> sending, receiving, flooding;
  std::vector<IpAddress> from[2];
  for (std::size_t i = 0; i < parties; ++i) {
    const std::size_t group = i == options.pairs ? 1 : 0;
    const std::size_t receiver = 2 * i;
    if (kind == Kind::kLanrage) receiving.push_back(member(receiver, static_cast<std::uint32_t>(i), key, rng));
    for (std::size_t k = 0; k < (group == 1 ? options.flooders : 1); ++k) {
      const std::size_t sender = receiver + 1 + k;
      from[group].push_back(address_of(sender));
      if (turn) {
        Port& port = group == 1 ? flooders : senders;
        LR_CHECK(open_channel(port, relay, from[group].back(), {address_of(receiver), kReceivers}));
      } else if (kind == Kind::kLanrage) {
        (group == 1 ? flooding : sending).push_back(member(sender, static_cast<std::uint32_t>(i), key, rng));
      }
      datagrams[group].push_back(datagram_for(index_of(receiver), static_cast<std::uint32_t>(group),
                                              group == 1 ? options.flood_size : options.size, turn, options.run));
    }
  }
  if (kind == Kind::kLanrage) {
    LR_CHECK(enter(senders, relay, sending) == sending.size());
    LR_CHECK(enter(receivers, relay, receiving) == receiving.size());
    LR_CHECK(enter(flooders, relay, flooding) == flooding.size());
  }
  for (std::size_t group = 0; group < 2; ++group) {
    for (std::size_t i = 0; i < datagrams[group].size(); ++i) {
      const Bytes& bytes = datagrams[group][i];
      items[group].push_back(
          {.destination =
               kind == Kind::kStraight ? Endpoint{address_of(2 * (group * options.pairs + i)), kReceivers} : relay,
           .bytes = bytes,
           .segment_size = static_cast<std::uint16_t>(options.run > 1 ? bytes.size() / options.run : 0),
           .source = from[group][i]});
    }
  }
  const Time until = net::now().time + Duration(static_cast<Duration::rep>(options.seconds * 1e9));
  Counts counts[2];
  const std::size_t time_at = 12 + (turn ? 4 : 0);
  std::thread pace(
      [&] { send_load(senders, items[0], datagrams[0], time_at, options.run, options.pps, until, counts[0]); });
  std::thread flood([&] {
    if (options.flood > 0)
      send_load(flooders, items[1], datagrams[1], time_at, options.run, options.flood, until, counts[1]);
  });
  receivers.receive(until + std::chrono::milliseconds(500), [&](const IpAddress&, ByteView datagram) {
    if (datagram.size() < kHeader || load_le<std::uint32_t>(datagram.data()) != 4) return false;
    Counts& of = counts[load_le<std::uint32_t>(datagram.data() + 8) & 1];
    ++of.received;
    const std::uint64_t sent = load_le<std::uint64_t>(datagram.data() + 12);
    of.delays_us.push_back(static_cast<std::uint32_t>((nanoseconds(net::now().time) - sent) / 1000));
    return false;
  });
  pace.join();
  flood.join();
  Json out = counts[0].json();
  if (options.flood > 0) out.set("flood", counts[1].json());
  std::printf("%s\n", out.text().c_str());
  return 0;
}

int sessions(const Endpoint& relay, const crypto::PublicKey& key, std::size_t count) {
  crypto::SystemRng rng;
  Port port(kSenders);
  std::vector<Member> members;
  for (std::size_t i = 0; i < count; ++i) members.push_back(member(i, static_cast<std::uint32_t>(i / 8), key, rng));
  std::printf("{\"sessions\":%zu}\n", enter(port, relay, members));
  std::fflush(stdout);
  (void)std::getchar();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  LR_CHECK(words.size() >= 2);
  if (words[0] == "keys") {
    std::printf("%s\n",
                Json::object({{"server", words[1]}, {"keys", Json::array({crypto::verify_key(grant_key()).base64()})}})
                    .text()
                    .c_str());
    return 0;
  }
  LR_CHECK(words.size() >= 3);
  const auto relay = Endpoint::parse(words[1]);
  const auto key = crypto::PublicKey::from_base64(words[2]);
  const Kind kind = words[0] == "turn" ? Kind::kTurn : words[0] == "straight" ? Kind::kStraight : Kind::kLanrage;
  LR_CHECK(relay && (key || kind != Kind::kLanrage));
  if (words[0] == "sessions") return sessions(*relay, *key, std::stoul(words.at(3)));
  Options options;
  for (std::size_t i = 3; i + 1 < words.size(); i += 2) {
    const double value = std::stod(words[i + 1]);
    if (words[i] == "--pairs") options.pairs = static_cast<std::size_t>(value);
    if (words[i] == "--size") options.size = static_cast<std::size_t>(value);
    if (words[i] == "--run") options.run = static_cast<std::size_t>(value);
    if (words[i] == "--flooders") options.flooders = static_cast<std::size_t>(value);
    if (words[i] == "--flood-size") options.flood_size = static_cast<std::size_t>(value);
    if (words[i] == "--pps") options.pps = value;
    if (words[i] == "--seconds") options.seconds = value;
    if (words[i] == "--flood") options.flood = value;
  }
  return load(kind, *relay, key.value_or(crypto::PublicKey()), options);
}
