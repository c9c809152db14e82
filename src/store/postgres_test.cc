// What PostgreSQL alone can do to a store: go away, come back, be somebody else's. The contract is in store_test.cc.
#include <gtest/gtest.h>

#include <csignal>

#include "store/test_postgres.h"
#include "store/test_store.h"

namespace lanrage::store {
namespace {

Result<std::unique_ptr<Store>> open(const std::string& url) {
  return PostgresStore::open(url, silent_logger(), Duration{});
}

// 0: it could not be read, which is said.
std::uint64_t version_of(Store& store, const party::PartyId& id) {
  const auto loaded = store.load(id);
  EXPECT_TRUE(loaded) << loaded.error().message;
  return loaded && *loaded ? (*loaded)->version : 0;
}

struct PostgresStoreTest : testing::Test {
  TestPostgres& server = TestPostgres::shared();
  const std::string folder = fresh_folder();
  const std::string url = server.database(folder);
  Sample s;
  ~PostgresStoreTest() override { std::filesystem::remove_all(folder); }
};

TEST_F(PostgresStoreTest, ServesOneServerAtATime) {
  auto first = open(url);
  ASSERT_TRUE(first);
  ASSERT_TRUE(commit(**first, s.id, s.created));
  const auto second = open(url);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::kConflict);
  EXPECT_NE(second.error().message.find("another lanrage server"), std::string::npos);
  first->reset();
  EXPECT_EQ(open(url).value()->load(s.id).value()->members.size(), 1u);
}

TEST_F(PostgresStoreTest, SaysThatItIsNotThereAndThatItIsNewer) {
  const auto nowhere = open("postgresql:///none?host=" + folder);
  ASSERT_FALSE(nowhere);
  EXPECT_EQ(nowhere.error().code, Code::kUnavailable);
  EXPECT_EQ(nowhere.error().message.find('\n'), std::string::npos);
  { auto made = open(url); }
  ASSERT_EQ(server.sql(url, "UPDATE lanrage SET version=999"), 0);
  EXPECT_EQ(open(url).error().code, Code::kInvalid);
}

TEST_F(PostgresStoreTest, GoesOnAfterARestartOfTheDatabase) {
  const auto store = open(url).value();
  ASSERT_TRUE(commit(*store, s.id, s.created));
  server.stop(SIGQUIT);
  EXPECT_FALSE(commit(*store, s.id, {party::VersionRaised{2}}));
  EXPECT_NE(store->stats().problem, "");
  EXPECT_FALSE(store->load(s.id));
  server.run();
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));  // until it tries again
  EXPECT_EQ(version_of(*store, s.id), 1u);
  EXPECT_TRUE(commit(*store, s.id, {party::VersionRaised{3}}));
  EXPECT_EQ(version_of(*store, s.id), 3u);
  EXPECT_EQ(store->stats().problem, "");
  // While nothing is asked: neither a read nor a write notices.
  server.stop(SIGQUIT);
  server.run();
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));
  EXPECT_EQ(version_of(*store, s.id), 3u);
  EXPECT_TRUE(commit(*store, s.id, {party::VersionRaised{4}}));
}

TEST_F(PostgresStoreTest, WritesNothingOnceAnotherServerWasThere) {
  const auto first = open(url).value();
  ASSERT_TRUE(commit(*first, s.id, s.created));
  ASSERT_EQ(server.sql(url, "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype='advisory'"), 0);
  {
    const auto second = open(url).value();
    ASSERT_TRUE(commit(*second, s.id, {party::VersionRaised{7}}));
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));
  const auto late = commit(*first, s.id, {party::VersionRaised{2}});
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Code::kConflict);
  EXPECT_EQ(open(url).value()->load(s.id).value()->version, 7u);
}

// Whatever became of the lock, as behind a pooler.
TEST_F(PostgresStoreTest, WritesNothingOnceAnotherServerWasThereThoughItsConnectionStands) {
  const auto store = open(url).value();
  ASSERT_TRUE(commit(*store, s.id, s.created));
  ASSERT_EQ(server.sql(url, "UPDATE lanrage SET epoch=epoch+1"), 0);
  const auto late = commit(*store, s.id, {party::VersionRaised{2}});
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Code::kConflict);
  EXPECT_EQ(version_of(*store, s.id), 1u);
}

// A commit whose answer was lost is repeated, and may have happened.
TEST_F(PostgresStoreTest, AChangeMayBeRepeatedAndNotContradicted) {
  const auto store = open(url).value();
  const std::vector<party::Change> statement = {party::StatementAdded{1, Bytes{1, 2}}};
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(commit(*store, s.id, s.created));
    EXPECT_TRUE(commit(*store, s.id, statement));
  }
  EXPECT_FALSE(commit(*store, s.id, {party::StatementAdded{1, Bytes{3}}}));
  EXPECT_EQ(store->load(s.id).value()->statements, std::vector<Bytes>({{1, 2}}));
}

// A database that takes questions and does not answer holds nobody for long.
TEST_F(PostgresStoreTest, WaitsNoLongerThanItsPatience) {
  const auto store = open(url).value();
  ASSERT_TRUE(commit(*store, s.id, s.created));
  std::thread blocks([&] { server.sql(url, "BEGIN; LOCK TABLE party; SELECT pg_sleep(8)"); });
  const std::string is_locked =
      "SELECT 1/count(*) FROM pg_locks WHERE relation='party'::regclass AND mode='AccessExclusiveLock' AND granted";
  while (server.sql(url, is_locked) != 0) continue;
  const auto begun = std::chrono::steady_clock::now();
  const auto loaded = store->load(s.id);
  const auto took = std::chrono::steady_clock::now() - begun;
  blocks.join();
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().code, Code::kTimedOut);
  EXPECT_LT(took, std::chrono::seconds(7));
  EXPECT_EQ(version_of(*store, s.id), 1u) << "and is asked again";
}

TEST_F(PostgresStoreTest, AUrlThatMeansNothingIsNotRepeated) {
  const auto wrong = open("postgresql://player:se%cret@host/games");
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().code, Code::kInvalid);
  EXPECT_EQ(wrong.error().message.find("cret"), std::string::npos);
}

TEST_F(PostgresStoreTest, NeedsNoRightToMakeTablesWhereTheyAre) {
  { auto made = open(url); }
  ASSERT_EQ(
      server.sql(
          url, "DROP ROLE IF EXISTS plain; CREATE ROLE plain LOGIN; GRANT ALL ON ALL TABLES IN SCHEMA public TO plain"),
      0);
  const std::string as_plain = url + "&user=plain";
  const auto plain = open(as_plain);
  EXPECT_TRUE(plain) << plain.error().message;
  ASSERT_EQ(server.sql(url, "DROP OWNED BY plain; DROP ROLE plain"), 0);
}

TEST_F(PostgresStoreTest, AMigrationKilledInTheMiddleIsDoneAgain) {
  // The connection is cut inside the first step's transaction, when its second table is made.
  ASSERT_EQ(server.sql(url,
                       "CREATE FUNCTION cut() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM "
                       "pg_terminate_backend(pg_backend_pid()) FROM pg_class WHERE relname='statement'; END $$; "
                       "CREATE EVENT TRIGGER cut ON ddl_command_end EXECUTE FUNCTION cut()"),
            0);
  EXPECT_FALSE(open(url));
  ASSERT_EQ(server.sql(url, "DROP EVENT TRIGGER cut"), 0);
  const auto store = open(url);
  ASSERT_TRUE(store) << store.error().message;
  EXPECT_TRUE(commit(**store, s.id, s.created));
}

// The database is killed while commits are under way; what was acknowledged is there, whole.
TEST_F(PostgresStoreTest, KilledAtAnyMomentItLosesNothingAcknowledged) {
  SeededRng rng(5);
  std::uint64_t acknowledged = 0;
  for (int round = 0; round < 5; ++round) {
    {
      const auto store = open(url).value();
      const auto loaded = store->load(s.id).value();
      std::uint64_t version = loaded ? loaded->version : 0;
      if (!loaded) {
        ASSERT_TRUE(commit(*store, s.id, s.created));
      }
      std::thread killer([&, wait = rng.below(200)] {
        std::this_thread::sleep_for(std::chrono::milliseconds(50 + wait));
        server.stop(SIGKILL);
      });
      for (bool alive = true; alive;) {
        const std::uint64_t next = ++version;
        auto row = s.member(1);
        row.record_version = next;  // a half commit would show
        alive = commit(*store, s.id, {party::VersionRaised{next}, party::MemberPut{row}}).has_value();
        if (alive) acknowledged = next;
      }
      killer.join();
    }
    server.run();
    const auto loaded = open(url).value()->load(s.id).value();
    ASSERT_TRUE(loaded);
    EXPECT_GE(loaded->version, acknowledged);
    ASSERT_EQ(loaded->members.size(), 1u);
    EXPECT_EQ(loaded->members.begin()->second.record_version, loaded->version);
  }
  EXPECT_GT(acknowledged, 20u);
}

}  // namespace
}  // namespace lanrage::store
