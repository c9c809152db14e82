// Any text as a rule and any bytes as a packet: a rule that parses opens what it says and has one text form, and the
// answer to what this machine sent passes even where everything is closed.
#include "base/check.h"
#include "node/filter.h"

using namespace lanrage;

namespace {

using node::FilterRule;

void check_rule(std::string_view text) {
  const auto rule = FilterRule::parse(FilterRule::Action::kAllow, text);
  if (!rule) return;
  LR_CHECK(*FilterRule::parse(rule->action, rule->text()) == *rule);
  const node::PortFilter filter(true, std::array{*rule});
  const std::uint8_t protocol = rule->protocol == FilterRule::Protocol::kUdp ? wire::kProtocolUdp : wire::kProtocolTcp;
  LR_CHECK(filter.is_open(protocol, rule->first) && filter.is_open(protocol, rule->last));
  LR_CHECK(rule->first == 0 || !filter.is_open(protocol, static_cast<std::uint16_t>(rule->first - 1)));
}

void check_packet(ByteView packet) {
  static const node::PortFilter closed(true, {});
  static node::Flows flows(1);
  const auto ip = wire::parse_ip(packet);
  if (!ip) return;
  const Time now{std::chrono::seconds(1000)};
  closed.note_sent(now, packet, *ip, flows);
  const bool has_ports = ip->protocol == wire::kProtocolTcp || ip->protocol == wire::kProtocolUdp;
  if (!has_ports || ip->fragment || ip->payload_size() < 4) return (void)closed.admits(now, packet, *ip, flows);
  Bytes answer = to_bytes(packet);
  wire::IpHeader there = *ip;
  std::swap(there.source, there.destination);
  std::uint8_t* const ports = answer.data() + ip->payload_offset;
  std::swap_ranges(ports, ports + 2, ports + 2);
  LR_CHECK(closed.admits(now, answer, there, flows));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  check_rule(as_text({data, size}));
  check_packet({data, size});
  return 0;
}
