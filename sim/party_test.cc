// A party from its first member to its last: what people do, and what they see of it.
#include "sim/world.h"

namespace lanrage::sim {
namespace {

using namespace std::chrono_literals;

TEST(Party, AMemberReachesTheHostWithinASecondOfJoining) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    World w(seed);
    SimNode& ada = w.add("ada", Place::kEasy);
    SimNode& bo = w.add("bo", Place::kEasy);
    const auto invite = w.host(ada);
    ASSERT_TRUE(invite) << invite.error().message;
    w.run(5s);
    const Time began = w.now();
    const auto joined = w.join(bo, invite->text);
    ASSERT_TRUE(joined) << joined.error().message;
    const auto answer = w.ping(bo, ada);
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_LE(milliseconds(w.now() - began), 1000);
    EXPECT_TRUE(w.run_until([&] { return bo.peer(ada)->path && !bo.peer(ada)->path->relayed; }, 10s));
    EXPECT_LE(milliseconds(w.now() - began), 3000);
    EXPECT_TRUE(w.reaches(ada, bo));
    EXPECT_TRUE(w.reaches(bo, ada));
  }
}

}  // namespace
}  // namespace lanrage::sim
