#include "paths/why.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace lanrage::paths {
namespace {

using testing::HasSubstr;
using enum Reason;

constexpr NetworkEnd kOpen{.v4 = true};
constexpr NetworkEnd kSix{.v6 = true};
constexpr NetworkEnd kBlocked{.v4 = true, .udp_blocked = true};
constexpr NetworkEnd kSymmetric{.v4 = true, .symmetric = true};
constexpr NetworkEnd kDouble{.v4 = true, .is_behind_nat = true};
constexpr NetworkEnd kRefused{.v4 = true, .is_mapping_refused = true};
constexpr NetworkEnd kSymmetricDouble{.v4 = true, .symmetric = true, .is_behind_nat = true};
constexpr NetworkEnd kSymmetricRefused{.v4 = true, .symmetric = true, .is_mapping_refused = true};

struct Cell {
  NetworkEnd here, there;
  Reason reason;
  const char* cause;
  const char* remedy;
};

const Cell kTable[] = {
    {kBlocked, kOpen, kBlockedHere, "this network blocks UDP", "have outgoing UDP allowed"},
    {kBlocked, kBlocked, kBlockedHere, "this network blocks UDP", "have outgoing UDP allowed"},
    {kOpen, kBlocked, kBlockedThere, "the other side's network blocks UDP", "one rule for UDP"},
    {kSymmetric, kBlocked, kBlockedThere, "the other side's network blocks UDP", "one rule for UDP"},
    {kOpen, kSix, kFamilies, "only IPv4 and the other only IPv6", "enable IPv6"},
    {kSix, kSymmetric, kFamilies, "only IPv4 and the other only IPv6", "enable IPv6"},
    {kSymmetric, kSymmetric, kSymmetricBoth, "both networks use a random port",
     "forward UDP port 777 on the router here"},
    {kSymmetricDouble, kSymmetric, kSymmetricBoth, "both networks", "enable UPnP on the other side's router"},
    {kSymmetric, kSymmetricDouble, kSymmetricBoth, "both networks", "forward UDP port 777 on the router here"},
    {kSymmetricDouble, kSymmetricDouble, kSymmetricBoth, "both networks", "enable IPv6 on both sides"},
    {kSymmetricRefused, kSymmetric, kSymmetricBoth, "both networks", "777 to this machine by hand"},
    {kSymmetric, kOpen, kSymmetricHere, "this network uses a random port", "forward UDP port 777 on the router here"},
    {kSymmetricDouble, kOpen, kSymmetricHere, "this network uses", "enable UPnP on the other side's router"},
    {kSymmetricDouble, kDouble, kSymmetricHere, "this network uses", "enable IPv6 on both sides"},
    {kSymmetricRefused, kRefused, kSymmetricHere, "this network uses", "777 to this machine by hand"},
    {kOpen, kSymmetric, kSymmetricThere, "the other side's network uses a random port", "forward UDP port 777"},
    {kDouble, kSymmetric, kSymmetricThere, "the other side's network uses", "enable UPnP on the other side's router"},
    {kRefused, kSymmetric, kSymmetricThere, "the other side's network uses", "777 to this machine by hand"},
    {kDouble, kDouble, kDoubleNatBoth, "both routers are themselves behind another NAT", "enable IPv6 on both sides"},
    {kDouble, kOpen, kDoubleNatHere, "the router here is itself behind", "enable UPnP on the other side's router"},
    {kDouble, kRefused, kDoubleNatHere, "the router here is itself behind", "enable UPnP on the other side's router"},
    {kOpen, kDouble, kDoubleNatThere, "the other side's router is itself behind", "forward UDP port 777"},
    {kRefused, kDouble, kDoubleNatThere, "the other side's router is itself", "777 to this machine by hand"},
    {kRefused, kOpen, kMappingRefused, "asked to open a port does not", "forward UDP port 777 to this machine by hand"},
    {kOpen, kRefused, kMappingRefused, "asked to open a port does not", "have the other side forward"},
    {kOpen, kOpen, kFiltered, "a firewall on one side drops them", "allow UDP port 777 here"},
    {{}, {}, kFiltered, "a firewall on one side drops them", "allow UDP port 777 here"},
    {kOpen, {}, kFiltered, "a firewall on one side drops them", "allow UDP port 777 here"},
};

TEST(Why, SaysTheReasonAndWhatHelpsInEveryCell) {
  for (const Cell& cell : kTable) {
    const Reason reason = why_not_direct(cell.here, cell.there);
    EXPECT_EQ(reason, cell.reason) << cell.cause << " / " << cell.remedy;
    const std::string text = explain(reason, cell.here, cell.there, 777);
    EXPECT_THAT(text, HasSubstr(cell.cause));
    EXPECT_THAT(text, HasSubstr(cell.remedy));
    EXPECT_THAT(text, HasSubstr("; "));
    EXPECT_NE(text.back(), '.');
  }
}

TEST(Why, HoldsACellForEveryReason) {
  std::set<Reason> covered;
  for (const Cell& cell : kTable) covered.insert(cell.reason);
  EXPECT_EQ(covered.size(), static_cast<std::size_t>(kFiltered) + 1);
}

TEST(Why, SeesTheSameFromBothSides) {
  const Reason mirrored[] = {kBlockedThere,   kBlockedHere,    kFamilies,      kSymmetricBoth,
                             kSymmetricThere, kSymmetricHere,  kDoubleNatBoth, kDoubleNatThere,
                             kDoubleNatHere,  kMappingRefused, kFiltered};
  for (const Cell& cell : kTable) {
    if (cell.here.udp_blocked && cell.there.udp_blocked) continue;
    EXPECT_EQ(why_not_direct(cell.there, cell.here), mirrored[static_cast<std::size_t>(cell.reason)]);
  }
}

}  // namespace
}  // namespace lanrage::paths
