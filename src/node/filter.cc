#include "node/filter.h"

#include <charconv>

#include "base/format.h"

namespace lanrage::node {
namespace {

using Protocol = FilterRule::Protocol;

constexpr ClosedService kClosed[] = {
    {Protocol::kTcp, 1433, 1434, "Microsoft SQL Server"},
    {Protocol::kUdp, 1434, 1434, "Microsoft SQL Server"},
    {Protocol::kTcp, 1521, 1521, "Oracle"},
    {Protocol::kTcp, 1723, 1723, "PPTP"},
    {Protocol::kUdp, 1900, 1900, "UPnP discovery"},
    {Protocol::kBoth, 2049, 2049, "NFS"},
    {Protocol::kTcp, 2375, 2380, "Docker, etcd"},
    {Protocol::kTcp, 2869, 2869, "UPnP"},
    {Protocol::kTcp, 3240, 3240, "USB/IP"},
    {Protocol::kTcp, 3260, 3260, "iSCSI"},
    {Protocol::kTcp, 3306, 3306, "MySQL"},
    {Protocol::kBoth, 3389, 3389, "Remote Desktop"},
    {Protocol::kBoth, 3702, 3702, "Web Services Discovery"},
    {Protocol::kTcp, 4369, 4369, "Erlang"},
    {Protocol::kTcp, 5005, 5005, "Java debugger"},
    {Protocol::kTcp, 5037, 5037, "Android debugger"},
    {Protocol::kTcp, 5357, 5358, "Web Services on Devices"},
    {Protocol::kTcp, 5432, 5432, "PostgreSQL"},
    {Protocol::kTcp, 5555, 5555, "Android debugger"},
    {Protocol::kTcp, 5601, 5601, "Kibana"},
    {Protocol::kTcp, 5672, 5672, "RabbitMQ"},
    {Protocol::kTcp, 5800, 5910, "VNC"},
    {Protocol::kTcp, 5938, 5938, "TeamViewer"},
    {Protocol::kTcp, 5984, 5986, "CouchDB, Windows Remote Management"},
    {Protocol::kTcp, 6000, 6063, "X11"},
    {Protocol::kTcp, 6379, 6379, "Redis"},
    {Protocol::kTcp, 6443, 6443, "Kubernetes"},
    {Protocol::kTcp, 7070, 7070, "AnyDesk"},
    {Protocol::kTcp, 8086, 8086, "InfluxDB"},
    {Protocol::kTcp, 8291, 8291, "router administration"},
    {Protocol::kTcp, 8384, 8384, "Syncthing"},
    {Protocol::kTcp, 8888, 8888, "Jupyter"},
    {Protocol::kTcp, 9100, 9100, "printers"},
    {Protocol::kTcp, 9200, 9200, "Elasticsearch"},
    {Protocol::kTcp, 9229, 9229, "Node.js debugger"},
    {Protocol::kTcp, 9300, 9300, "Elasticsearch"},
    {Protocol::kTcp, 10000, 10000, "Webmin"},
    {Protocol::kTcp, 10250, 10255, "Kubernetes"},
    {Protocol::kTcp, 11211, 11211, "memcached"},
    {Protocol::kUdp, 11211, 11211, "memcached"},
    {Protocol::kTcp, 15672, 15672, "RabbitMQ"},
    {Protocol::kTcp, 22000, 22000, "Syncthing"},
    {Protocol::kTcp, 27017, 27017, "MongoDB"},
};

struct Ports {
  std::uint16_t source;
  std::uint16_t destination;
};

bool has_ports(std::uint8_t protocol) { return protocol == wire::kProtocolTcp || protocol == wire::kProtocolUdp; }

// Nothing for a first fragment that is too short to tell.
std::optional<Ports> ports(ByteView packet, const wire::IpHeader& ip) {
  if (ip.payload_size() < 4) return std::nullopt;
  const std::uint8_t* at = packet.data() + ip.payload_offset;
  return Ports{load_be<std::uint16_t>(at), load_be<std::uint16_t>(at + 2)};
}

// Echo both ways, and the errors without which connections hang. Never a redirect, nor another network's neighbours.
bool admits_icmp(std::uint8_t protocol, std::uint8_t type) {
  if (protocol == wire::kProtocolIcmp) return type == 0 || type == 3 || type == 8 || type == 11 || type == 12;
  return (type >= 1 && type <= 4) || type == 128 || type == 129;
}

std::uint64_t mix(std::uint64_t state, std::uint64_t value) {
  state ^= value;
  state *= 0x9fb21c651e98df25;
  state ^= state >> 32;
  state *= 0xd6e8feb86659fd93;
  return state ^ (state >> 29);
}

std::uint64_t mix(std::uint64_t state, const IpAddress& address) {
  const ByteView bytes = address.bytes();
  if (address.is_v4()) return mix(state, load_le<std::uint32_t>(bytes.data()));
  return mix(mix(state, load_le<std::uint64_t>(bytes.data())), load_le<std::uint64_t>(bytes.data() + 8));
}

// Entries hold 40 bits of the hash and 24 bits of seconds.
constexpr std::uint64_t kSecondsMask = 0xffffff;
std::uint64_t seconds_of(Time now) {
  return static_cast<std::uint64_t>(std::chrono::floor<std::chrono::seconds>(now.time_since_epoch()).count()) &
         kSecondsMask;
}

}  // namespace

std::span<const ClosedService> closed_services() { return kClosed; }

Result<FilterRule> FilterRule::parse(Action action, std::string_view text) {
  FilterRule rule;
  rule.action = action;
  if (text == "all") return rule;
  const std::string given(text);
  if (text.starts_with("tcp/")) rule.protocol = Protocol::kTcp;
  if (text.starts_with("udp/")) rule.protocol = Protocol::kUdp;
  if (rule.protocol != Protocol::kBoth) text.remove_prefix(4);
  const auto number = [](std::string_view digits, std::uint16_t& out) {
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), out);
    return error == std::errc{} && end == digits.data() + digits.size();
  };
  const std::size_t dash = text.find('-');
  bool ok = number(text.substr(0, dash), rule.first);
  rule.last = rule.first;
  if (dash != std::string_view::npos) ok = ok && number(text.substr(dash + 1), rule.last);
  if (!ok || rule.first == 0 || rule.last < rule.first)
    return Error{Code::kInvalid, format("no such port: {}", given),
                 "a port, a range or all: 27015, udp/27015-27020, all"};
  return rule;
}

std::string FilterRule::text() const {
  if (*this == FilterRule{action}) return "all";
  const char* prefix = protocol == Protocol::kTcp ? "tcp/" : protocol == Protocol::kUdp ? "udp/" : "";
  return first == last ? format("{}{}", prefix, first) : format("{}{}-{}", prefix, first, last);
}

std::uint64_t Flows::hash(ByteView packet, const wire::IpHeader& ip, bool outgoing) const {
  const auto both = ports(packet, ip);
  if (!both) return 0;
  const IpAddress& here = outgoing ? ip.source : ip.destination;
  const IpAddress& there = outgoing ? ip.destination : ip.source;
  const std::uint64_t here_port = outgoing ? both->source : both->destination;
  const std::uint64_t there_port = outgoing ? both->destination : both->source;
  std::uint64_t state = mix(key_, (here_port << 32) | (there_port << 16) | ip.protocol);
  return mix(mix(state, here), there) | 1;
}

void Flows::note(Time now, ByteView packet, const wire::IpHeader& ip) {
  const std::uint64_t value = hash(packet, ip, true);
  if (value == 0) return;
  const std::uint64_t entry = (value & ~kSecondsMask) | seconds_of(now);
  std::atomic<std::uint64_t>* set = &entries_[(value >> 1) % (kEntries / 4) * 4];
  // Four places per set: its own, a free one, else the oldest.
  std::size_t place = 0;
  std::uint64_t age_max = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    const std::uint64_t held = set[i].load(std::memory_order_relaxed);
    if (held == 0 || ((held ^ entry) & ~kSecondsMask) == 0) {
      place = i;
      break;
    }
    const std::uint64_t age = (seconds_of(now) - held) & kSecondsMask;
    if (age >= age_max) age_max = age, place = i;
  }
  if (set[place].load(std::memory_order_relaxed) != entry) set[place].store(entry, std::memory_order_relaxed);
}

bool Flows::is_answer(Time now, ByteView packet, const wire::IpHeader& ip) const {
  const std::uint64_t value = hash(packet, ip, false);
  if (value == 0) return false;
  const std::atomic<std::uint64_t>* set = &entries_[(value >> 1) % (kEntries / 4) * 4];
  for (std::size_t i = 0; i < 4; ++i) {
    const std::uint64_t held = set[i].load(std::memory_order_relaxed);
    if (held == 0 || ((held ^ value) & ~kSecondsMask) != 0) continue;
    const std::uint64_t age = (seconds_of(now) - held) & kSecondsMask;
    // A moment ahead: the sending thread read its clock a little later.
    return age <= static_cast<std::uint64_t>(kIdle / std::chrono::seconds(1)) || age >= kSecondsMask - 1;
  }
  return false;
}

PortFilter::PortFilter(bool strict, std::span<const FilterRule> rules) {
  const auto set = [this](Protocol protocol, std::uint32_t first, std::uint32_t last, bool open) {
    for (std::uint32_t port = first; port <= last; ++port) {
      if (protocol != Protocol::kUdp) tcp_[port] = open;
      if (protocol != Protocol::kTcp) udp_[port] = open;
    }
  };
  if (!strict) {
    set(Protocol::kBoth, 1024, 65535, true);
    for (const ClosedService& service : kClosed) set(service.protocol, service.first, service.last, false);
  }
  for (const FilterRule& rule : rules)
    set(rule.protocol, rule.first, rule.last, rule.action == FilterRule::Action::kAllow);
}

bool PortFilter::admits(Time now, ByteView packet, const wire::IpHeader& ip, const Flows& flows) const {
  // Without its first part, which is judged below, a datagram is never put together.
  if (ip.fragment && ip.fragment_offset != 0) return true;
  if (ip.protocol == wire::kProtocolIcmp || ip.protocol == wire::kProtocolIcmpv6)
    return ip.payload_size() > 0 && admits_icmp(ip.protocol, packet[ip.payload_offset]);
  if (!has_ports(ip.protocol)) return false;
  const auto both = ports(packet, ip);
  if (!both) return false;
  return is_open(ip.protocol, both->destination) || flows.is_answer(now, packet, ip);
}

void PortFilter::note_sent(Time now, ByteView packet, const wire::IpHeader& ip, Flows& flows) const {
  if (!has_ports(ip.protocol) || (ip.fragment && ip.fragment_offset != 0)) return;
  const auto both = ports(packet, ip);
  if (both && !is_open(ip.protocol, both->source)) flows.note(now, packet, ip);
}

}  // namespace lanrage::node
