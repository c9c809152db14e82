#include "paths/candidates.h"

#include <gtest/gtest.h>

namespace lanrage::paths {
namespace {

IpPrefix prefix(const char* text) { return *IpPrefix::parse(text); }
Endpoint endpoint(const char* text) { return *Endpoint::parse(text); }

TEST(Candidates, ComeInTheOrderInWhichToTryThem) {
  CandidateSources sources;
  sources.port = 5;
  sources.interfaces = {{prefix("192.168.1.2/24")}, {prefix("2001:db8::2/64")}};
  sources.server_reflexive = {endpoint("203.0.113.1:7")};
  sources.mapped = {endpoint("203.0.113.1:8")};
  const std::vector<Candidate> expected = {{CandidateKind::kHost, endpoint("[2001:db8::2]:5")},
                                           {CandidateKind::kHost, endpoint("192.168.1.2:5")},
                                           {CandidateKind::kMapped, endpoint("203.0.113.1:8")},
                                           {CandidateKind::kServerReflexive, endpoint("203.0.113.1:7")}};
  EXPECT_EQ(gather_candidates(sources), expected);
}

TEST(Candidates, LeaveOutOurOwnAdaptersAndThePartysAddresses) {
  CandidateSources sources;
  sources.port = 5;
  sources.interfaces = {{prefix("10.9.0.2/24"), true}, {prefix("10.66.7.2/24")}, {prefix("192.168.1.2/24")}};
  sources.party_prefixes = {prefix("10.66.7.0/24")};
  sources.server_reflexive = {endpoint("10.66.7.3:9")};
  const std::vector<Candidate> expected = {{CandidateKind::kHost, endpoint("192.168.1.2:5")}};
  EXPECT_EQ(gather_candidates(sources), expected);
}

TEST(Candidates, LeaveOutWhatNobodyElseCanReach) {
  CandidateSources sources;
  sources.port = 5;
  for (const char* text : {"127.0.0.1/8", "::1/128", "fe80::1/64", "0.0.0.0/0", "224.0.0.1/4"}) {
    sources.interfaces.push_back({prefix(text)});
  }
  sources.interfaces.push_back({prefix("169.254.1.1/16")});
  const std::vector<Candidate> expected = {{CandidateKind::kHost, endpoint("169.254.1.1:5")}};
  EXPECT_EQ(gather_candidates(sources), expected);
  sources.allow_loopback = true;
  EXPECT_EQ(gather_candidates(sources).size(), 3u);
}

TEST(Candidates, NameAnEndpointOnceUnderItsBestKind) {
  CandidateSources sources;
  sources.port = 5;
  sources.interfaces = {{prefix("203.0.113.1/24")}};
  sources.server_reflexive = {endpoint("203.0.113.1:5")};
  const std::vector<Candidate> expected = {{CandidateKind::kHost, endpoint("203.0.113.1:5")}};
  EXPECT_EQ(gather_candidates(sources), expected);
}

TEST(Candidates, KeepTheReflexiveOnesOfAMachineWithManyAddresses) {
  CandidateSources sources;
  sources.port = 5;
  for (std::uint8_t i = 1; i < 100; ++i) sources.interfaces.push_back({IpPrefix{IpAddress::v4(192, 168, 1, i), 24}});
  sources.server_reflexive = {endpoint("203.0.113.1:7")};
  const auto found = gather_candidates(sources);
  EXPECT_EQ(found.size(), wire::kCandidatesMax);
  EXPECT_EQ(found.front().endpoint, endpoint("192.168.1.1:5"));
  EXPECT_EQ(found.back().kind, CandidateKind::kServerReflexive);
}

}  // namespace
}  // namespace lanrage::paths
