#include "paths/netcheck.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lanrage::paths {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::Not;

const Endpoint kSeen = *Endpoint::parse("203.0.113.9:1234");

FamilyReport behind(Dependence mapping, Dependence filtering) {
  FamilyReport report;
  report.answered = report.translated = true;
  report.seen = kSeen;
  report.mapping = mapping;
  report.filtering = filtering;
  report.hairpin = false;
  return report;
}

NetworkView view_of(const FamilyReport& v4) {
  NetworkView view;
  view.discovery.v4 = v4;
  view.own = {IpAddress::v4(192, 168, 1, 2)};
  view.port = 777;
  return view;
}

TEST(Netcheck, NamesTheTypeAndTheMapping) {
  using enum Dependence;
  const struct {
    Dependence mapping, filtering;
    const char *type, *name;
  } cases[] = {
      {kEndpointIndependent, kEndpointIndependent, "full_cone", "endpoint_independent"},
      {kEndpointIndependent, kAddress, "address_restricted", "endpoint_independent"},
      {kEndpointIndependent, kAddressAndPort, "port_restricted", "endpoint_independent"},
      {kNotPort, kNotPort, "cone", "endpoint_independent"},
      {kNotPort, kUnknown, "cone", "endpoint_independent"},
      {kNotPort, kAddressAndPort, "port_restricted", "endpoint_independent"},
      {kAddress, kAddress, "symmetric", "address_dependent"},
      {kAddressAndPort, kEndpointIndependent, "symmetric", "address_and_port_dependent"},
      {kUnknown, kUnknown, "", ""},
  };
  for (const auto& c : cases) {
    const NetworkView view = view_of(behind(c.mapping, c.filtering));
    EXPECT_EQ(nat_type(view), c.type);
    EXPECT_EQ(mapping_name_of(view), c.name);
  }
  EXPECT_EQ(nat_type({}), "");
  NetworkView blocked;
  blocked.udp_blocked = true;
  EXPECT_EQ(nat_type(blocked), "udp_blocked");
  EXPECT_EQ(mapping_name_of(blocked), "");
}

TEST(Netcheck, TellsAFirewallFromAnOpenAddressAndUsesIpv6WhereThereIsNoIpv4) {
  FamilyReport own = behind(Dependence::kNotPort, Dependence::kAddressAndPort);
  own.translated = false;
  NetworkView view;
  view.discovery.v6 = own;
  EXPECT_EQ(nat_type(view), "firewall");
  EXPECT_EQ(mapping_name_of(view), "endpoint_independent");
  EXPECT_THAT(describe(view), Contains(HasSubstr("IPv6: an address of its own, no translation, behind a firewall")));
  view.discovery.v6->filtering = Dependence::kNotPort;
  EXPECT_EQ(nat_type(view), "none");
  EXPECT_THAT(describe(view), Contains(HasSubstr("no firewall")));
  view.discovery.v4 = behind(Dependence::kAddressAndPort, Dependence::kAddressAndPort);
  EXPECT_EQ(nat_type(view), "symmetric");
  view.discovery.v4->answered = false;
  EXPECT_EQ(nat_type(view), "none");
  EXPECT_THAT(describe(view), Contains("IPv4: no answer over UDP."));
}

TEST(Netcheck, SeesWhatStandsBehindTheRouter) {
  NetworkView view = view_of(behind(Dependence::kNotPort, Dependence::kAddressAndPort));
  EXPECT_EQ(upstream_of(view), Upstream::kUnknown);
  view.router.address = kSeen.address;
  EXPECT_EQ(upstream_of(view), Upstream::kNothing);
  view.router.address = IpAddress::v4(203, 0, 113, 10);
  EXPECT_EQ(upstream_of(view), Upstream::kNat);
  view.router.address = IpAddress::v4(192, 168, 0, 5);
  EXPECT_EQ(upstream_of(view), Upstream::kSecondRouter);
  view.router.address = IpAddress::v4(100, 64, 0, 5);
  EXPECT_EQ(upstream_of(view), Upstream::kCarrier);
  view.router = {.asked = true, .speaks = false};
  view.discovery.v4->beyond = IpAddress::v4(10, 0, 0, 1);
  EXPECT_EQ(upstream_of(view), Upstream::kSecondRouter);
  view.discovery.v4->beyond = IpAddress::v4(100, 64, 0, 1);
  EXPECT_EQ(upstream_of(view), Upstream::kCarrier);
  view.router.address = kSeen.address;
  EXPECT_EQ(upstream_of(view), Upstream::kNothing) << "the router knows better";
  view.discovery.v4->beyond.reset();
  view.router = {.asked = true, .speaks = true, .is_offline = true};
  EXPECT_EQ(upstream_of(view), Upstream::kNat);
  view.own = {IpAddress::v4(100, 127, 0, 5)};  // a phone's hotspot passes it on
  EXPECT_EQ(upstream_of(view), Upstream::kCarrier);
  view.own = {IpAddress::v4(100, 128, 0, 5)};
  view.discovery.v4->answered = false;
  EXPECT_EQ(upstream_of(view), Upstream::kUnknown);
}

TEST(Netcheck, AdvisesWhatHelpsAndNothingElse) {
  using enum Dependence;
  NetworkView symmetric = view_of(behind(kAddressAndPort, kAddressAndPort));
  EXPECT_THAT(advice(symmetric), HasSubstr("forward UDP port 777"));
  symmetric.router = {.asked = true, .speaks = true, .outside = kSeen};
  EXPECT_EQ(advice(symmetric), "Nothing needs to be done.");
  symmetric.router = {.asked = true, .speaks = true, .is_offline = true};
  EXPECT_THAT(advice(symmetric), HasSubstr("Ask the provider"));
  symmetric.router = {.asked = true, .speaks = true, .address = IpAddress::v4(192, 168, 0, 5)};
  EXPECT_THAT(advice(symmetric), HasSubstr("On both routers"));
  NetworkView easy = view_of(behind(kEndpointIndependent, kAddressAndPort));
  EXPECT_THAT(advice(easy), HasSubstr("Nothing needs to be done. On the router"));
  easy.own = {IpAddress::v4(100, 64, 0, 9)};
  EXPECT_THAT(advice(easy), Not(HasSubstr("On the router")));
  EXPECT_EQ(advice(view_of(behind(kEndpointIndependent, kEndpointIndependent))), "Nothing needs to be done.");
  NetworkView blocked;
  blocked.udp_blocked = true;
  EXPECT_THAT(advice(blocked), HasSubstr("Allow outgoing UDP"));
  EXPECT_THAT(advice({}), HasSubstr("before a server answers"));
}

TEST(Netcheck, SaysWhatTheRouterDidAndWhatHelps) {
  NetworkView view = view_of(behind(Dependence::kEndpointIndependent, Dependence::kAddressAndPort));
  EXPECT_EQ(port_mapping_in_words(view), "");
  view.router = {.asked = true, .speaks = true, .outside = kSeen, .by = PortMethod::kNatPmp};
  EXPECT_EQ(port_mapping_in_words(view), "the router leads 203.0.113.9:1234 to this machine (NAT-PMP)");
  view.router = {.asked = true, .problem = "it is silent"};
  EXPECT_THAT(port_mapping_in_words(view), HasSubstr("it is silent; switch one of them on"));
  view.router.speaks = true;
  EXPECT_EQ(port_mapping_in_words(view), "it is silent; forward UDP port 777 to this machine on the router");
  view.router.is_offline = true;
  EXPECT_THAT(port_mapping_in_words(view), HasSubstr("ask the provider"));
  view.router.address = IpAddress::v4(192, 168, 0, 5);
  EXPECT_THAT(port_mapping_in_words(view), HasSubstr("on both routers"));
}

TEST(Netcheck, DescribesWhatWasMeasured) {
  NetworkView view = view_of(behind(Dependence::kEndpointIndependent, Dependence::kAddress));
  view.discovery.v4->hairpin = true;
  view.router = {.asked = true, .problem = "the router does not answer"};
  const auto lines = describe(view);
  EXPECT_THAT(lines, Contains("IPv4: behind a NAT, one public port for every destination."));
  EXPECT_THAT(lines, Contains("IPv4: packets get in from addresses written to before, whatever their port."));
  EXPECT_THAT(lines, Contains(HasSubstr("changes port numbers and lets machines behind it reach each other")));
  EXPECT_THAT(lines, Contains("IPv6: not here, or not at the server."));
  EXPECT_THAT(lines, Contains("No port of the router is open: the router does not answer."));
}

}  // namespace
}  // namespace lanrage::paths
