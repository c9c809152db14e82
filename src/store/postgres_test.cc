// What PostgreSQL alone can do to a store: go away, come back, be somebody else's. The contract is in store_test.cc.
#include <gtest/gtest.h>

#include <atomic>
#include <csignal>
#include <future>
#include <map>

#include "store/test_postgres.h"
#include "store/test_store.h"

namespace lanrage::store {
namespace {

Result<std::unique_ptr<Store>> open(const std::string& url) {
  return PostgresStore::open(url, silent_logger(), Duration{});
}

// 0: it could not be read, which is said.
std::uint64_t version_of(Store& store, const party::PartyId& id) {
  const auto loaded = load(store, id);
  EXPECT_TRUE(loaded) << loaded.error().message;
  return loaded && *loaded ? (*loaded)->data.version : 0;
}

struct PostgresStoreTest : testing::Test {
  TestPostgres& server = TestPostgres::shared();
  const std::string folder = fresh_folder();
  const std::string url = server.database(folder);
  Sample s;
  ~PostgresStoreTest() override { std::filesystem::remove_all(folder); }
};

TEST_F(PostgresStoreTest, ServersShareItAndOneOfTwoThatDecideAtOnceIsTold) {
  const auto first = open(url).value(), second = open(url).value();
  ASSERT_TRUE(commit(*first, s.id, s.created));
  EXPECT_EQ(version_of(*second, s.id), 1u);
  EXPECT_TRUE(commit(*second, {s.id, 1, {party::VersionRaised{2}}}));
  EXPECT_EQ(commit(*first, {s.id, 1, {party::VersionRaised{2}}}).error().code, Code::kConflict);
  EXPECT_EQ(first->stats().problem, "") << "that is nobody's fault";
  EXPECT_EQ(version_of(*first, s.id), 2u);
}

TEST_F(PostgresStoreTest, TakesThePartiesThatWereInAFolder) {
  const std::string file = folder + "/server.db";
  std::map<party::PartyId, party::PartyData> before;
  {
    const auto old = SqliteStore::open(file, silent_logger(), Duration{}).value();
    for (int i = 0; i < 20; ++i) {
      const party::PartyId id(s.rng.array<16>());
      std::vector<party::Change> changes = s.created;
      changes.insert(changes.end(),
                     {party::MemberPut{s.member(2)}, party::InvitePut{s.invite(1)}, party::StatementAdded{1, Bytes{7}},
                      party::StatementAdded{2, Bytes{8}}, party::BundleReplaced{Bytes{6}}, party::VersionRaised{9}});
      ASSERT_TRUE(commit(*old, id, changes));
      before[id] = load(*old, id).value()->data;
    }
  }
  const auto store = open(url).value();
  // Stopped after one of them, which changed since.
  const party::PartyId known = before.begin()->first;
  ASSERT_TRUE(commit(*store, known, s.created));
  EXPECT_EQ(SqliteStore::move_parties(file, *store, silent_logger()).value(), 19u);
  EXPECT_EQ(version_of(*store, known), 1u) << "what the database has stays";
  before.erase(known);
  for (const auto& [id, data] : before) EXPECT_EQ(load(*store, id).value()->data, data);
  EXPECT_TRUE(std::filesystem::exists(file + ".moved"));
  EXPECT_EQ(SqliteStore::move_parties(file, *store, silent_logger()).value(), 0u) << "once";
}

// Two servers raise the versions of ten parties, many at once in each transaction: every one that was acknowledged
// counts, and they never wait for each other for ever.
TEST_F(PostgresStoreTest, TransactionsOfTwoServersOverManyPartiesLoseNothing) {
  const auto setup = open(url).value();
  std::vector<party::PartyId> ids;
  for (int i = 0; i < 10; ++i) {
    ids.push_back(party::PartyId(s.rng.array<16>()));
    ASSERT_TRUE(commit(*setup, ids.back(), s.created));
  }
  std::atomic<std::uint64_t> raised{0}, refused{0};
  const auto run = [&](std::uint64_t seed) {
    const auto store = PostgresStore::open(url, silent_logger(), kCommitWindow).value();
    SeededRng rng(seed);
    for (int round = 0; round < 40; ++round) {
      std::vector<std::future<void>> all;
      for (std::size_t i = 0; i < ids.size(); ++i) {
        const auto& id = ids[(i + rng.below(ids.size())) % ids.size()];
        const auto found = load(*store, id).value();
        const auto done = std::make_shared<std::promise<void>>();
        all.push_back(done->get_future());
        store->commit({id, found->revision, {party::VersionRaised{found->data.version + 1}}},
                      [&, done](Result<void> result) {
                        EXPECT_TRUE(result || result.error().code == Code::kConflict) << result.error().message;
                        ++(result ? raised : refused);
                        done->set_value();
                      });
      }
      for (auto& one : all) one.get();
    }
  };
  std::thread other([&] { run(2); });
  run(1);
  other.join();
  std::uint64_t sum = 0;
  for (const auto& id : ids) sum += version_of(*setup, id) - 1;
  EXPECT_EQ(sum, raised);
  EXPECT_GT(refused, 0u) << "they did not meet";
  EXPECT_GT(raised, 100u);
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
  EXPECT_FALSE(commit(*store, {s.id, 1, {party::VersionRaised{2}}}));
  EXPECT_NE(store->stats().problem, "");
  EXPECT_FALSE(load(*store, s.id));
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

// One of before servers could share it holds the lock for as long as it runs, and looks at the epoch.
TEST_F(PostgresStoreTest, AnOlderServerIsNotServedBeside) {
  { auto made = open(url); }
  ASSERT_EQ(server.sql(url,
                       "UPDATE lanrage SET version=1, epoch=7; DROP TABLE event, news; ALTER TABLE party DROP COLUMN "
                       "revision, DROP COLUMN written_by, DROP COLUMN changed; ALTER TABLE member DROP CONSTRAINT "
                       "one_address_each; ALTER TABLE invite DROP CONSTRAINT uses_are_counted"),
            0);
  {
    std::thread older([&] { server.sql(url, "SELECT pg_advisory_lock(7809632219779131237), pg_sleep(7)"); });
    while (server.sql(url, "SELECT 1/count(*) FROM pg_locks WHERE locktype='advisory' AND granted") != 0) continue;
    const auto refused = open(url);
    older.join();
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::kConflict);
    EXPECT_NE(refused.error().message.find("an older lanrage server"), std::string::npos);
  }
  const auto store = open(url);
  ASSERT_TRUE(store) << store.error().message;
  EXPECT_TRUE(commit(**store, s.id, s.created)) << "its tables are of today";
  EXPECT_EQ(server.sql(url, "SELECT 1/count(*) FROM lanrage WHERE epoch=8"), 0) << "the older one writes no more";
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
  const auto loaded = load(*store, s.id);
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
      const auto loaded = load(*store, s.id).value();
      std::uint64_t version = loaded ? loaded->data.version : 0;
      if (!loaded) {
        ASSERT_TRUE(commit(*store, s.id, s.created));
      }
      std::thread killer([&, wait = rng.below(200)] {
        std::this_thread::sleep_for(std::chrono::milliseconds(50 + wait));
        server.stop(SIGKILL);
      });
      std::uint64_t revision = load(*store, s.id).value()->revision;
      for (bool alive = true; alive;) {
        const std::uint64_t next = ++version;
        auto row = s.member(1);
        row.record_version = next;  // a half commit would show
        alive = commit(*store, {s.id, revision++, {party::VersionRaised{next}, party::MemberPut{row}}}).has_value();
        if (alive) acknowledged = next;
      }
      killer.join();
    }
    server.run();
    const auto loaded = load(*open(url).value(), s.id).value();
    ASSERT_TRUE(loaded);
    const party::PartyData& data = loaded->data;
    EXPECT_GE(data.version, acknowledged);
    ASSERT_EQ(data.members.size(), 1u);
    EXPECT_EQ(data.members.begin()->second.record_version, data.version);
  }
  EXPECT_GT(acknowledged, 20u);
}

}  // namespace
}  // namespace lanrage::store
