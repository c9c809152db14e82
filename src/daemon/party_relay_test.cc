#include "daemon/party_relay.h"

#include <gtest/gtest.h>

#include "crypto/random.h"

namespace lanrage::daemon {
namespace {

using namespace std::chrono_literals;

struct PartyRelayTest : testing::Test {
  crypto::SystemRng rng;
  const party::Identity identity = party::Identity::generate(rng);
  const party::PartyId party{rng.array<16>()};
  const Time now{1000s};

  std::unique_ptr<PartyRelay> start(std::uint16_t port = 0) {
    auto relay = PartyRelay::start(identity, party, {}, port, now, silent_logger());
    EXPECT_TRUE(relay) << relay.error().message;
    return relay ? std::move(*relay) : nullptr;
  }
};

TEST_F(PartyRelayTest, TakesAnotherPortWhereTheWantedOneIsInUse) {
  const auto first = start(), second = start(first->port());
  EXPECT_NE(first->port(), 0);
  EXPECT_NE(second->port(), 0);
  EXPECT_NE(second->port(), first->port());
}

TEST_F(PartyRelayTest, SaysHowItIsEveryFewSeconds) {
  const auto relay = start();
  EXPECT_EQ(relay->look(now).health, 100);
  EXPECT_EQ(relay->look(now).memory_bytes, 0u) << "nothing was measured yet";
  EXPECT_GT(relay->look(now + control::kRelayReportInterval).memory_bytes, 0u);
}

TEST_F(PartyRelayTest, EndsInAMomentWhenNobodyUsesIt) {
  const auto relay = start();
  EXPECT_FALSE(relay->is_stopping());
  EXPECT_FALSE(relay->is_gone(now + 1h));
  relay->stop(now, 30s);
  EXPECT_TRUE(relay->is_stopping());
  EXPECT_TRUE(relay->is_gone(now + 100ms));
  relay->stop(now + 90ms, 30s);
  EXPECT_TRUE(relay->is_gone(now + 100ms)) << "no later than was said first";
}

}  // namespace
}  // namespace lanrage::daemon
