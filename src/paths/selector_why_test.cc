#include <gmock/gmock.h>

#include "paths/test_peer.h"

namespace lanrage::paths {
namespace {

using testing::HasSubstr;

struct WhyCase {
  Mapping here, there;
  const char* says;
};

TEST_F(SelectorTest, SaysWhyAPathIsRelayedAndWhatToDo) {
  const WhyCase cases[] = {
      {Mapping::kDependent, Mapping::kDependent, "both networks use a random port"},
      {Mapping::kDependent, Mapping::kEndpointIndependent, "this network uses a random port"},
      {Mapping::kEndpointIndependent, Mapping::kDependent, "the other side's network uses a random port"},
      {Mapping::kEndpointIndependent, Mapping::kEndpointIndependent, "firewall"},
  };
  start_with({kRelay}, {kPublicCandidate});
  EXPECT_THAT(selector.why(now), HasSubstr("still trying"));
  alive = {{kRelay, 20ms}};
  run(6s);
  for (const WhyCase& c : cases) {
    selector.set_local({.mapping = c.here}, {kLanCandidate});
    auto message = signal({kPublicCandidate});
    message.mapping = c.there;
    selector.handle_signal(now, message);
    EXPECT_THAT(selector.why(now), HasSubstr(c.says));
    EXPECT_THAT(selector.why(now), HasSubstr("5555"));
  }
}

TEST_F(SelectorTest, SaysWhenTheFamiliesDiffer) {
  start_with({kRelay}, {{CandidateKind::kHost, *Endpoint::parse("[2001:db8::1]:5")}});
  selector.set_local({}, {kLanCandidate});
  alive = {{kRelay, 20ms}};
  run(6s);
  EXPECT_THAT(selector.why(now), HasSubstr("only IPv4"));
}

TEST_F(SelectorTest, SaysWhyNobodyAnswers) {
  start_with({}, {kPublicCandidate});
  run(6s);
  EXPECT_EQ(selector.state(), PeerState::kUnreachable);
  EXPECT_THAT(selector.why(now), HasSubstr("no relay"));
  selector.set_relays(now, {kRelay});
  EXPECT_THAT(selector.why(now), HasSubstr("neither"));
  selector.handle_relay_absent(now, kRelay);
  EXPECT_THAT(selector.why(now), HasSubstr("not connected to the relay"));
  auto message = signal({});
  message.udp_blocked = true;
  selector.handle_signal(now, message);
  EXPECT_THAT(selector.why(now), HasSubstr("the other side's network blocks UDP"));
  selector.set_local({.udp_blocked = true}, {});
  EXPECT_THAT(selector.why(now), HasSubstr("this network blocks UDP"));
}

}  // namespace
}  // namespace lanrage::paths
