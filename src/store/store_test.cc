#include "store/store.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <future>

#include "store/coalesce.h"
#include "store/test_postgres.h"
#include "store/test_store.h"

namespace lanrage::store {
namespace {

// The contract, for every implementation.
struct Memory {
  static std::unique_ptr<Store> open(const std::string&) { return std::make_unique<MemoryStore>(); }
};
struct Sqlite {
  static std::unique_ptr<Store> open(const std::string& folder) {
    return SqliteStore::open(folder + "/test.db", silent_logger(), Duration{}).value();
  }
};
struct Postgres {
  static std::unique_ptr<Store> open(const std::string& folder) {
    return PostgresStore::open(TestPostgres::shared().database(folder), silent_logger(), Duration{}).value();
  }
};
template <class T>
class StoreContract : public testing::Test {
 protected:
  ~StoreContract() override { std::filesystem::remove_all(folder_); }
  std::string folder_ = fresh_folder();
  std::unique_ptr<Store> store_ = T::open(folder_);
  Sample sample_;
};
using Stores = testing::Types<Memory, Sqlite, Postgres>;
TYPED_TEST_SUITE(StoreContract, Stores);

// And for those that servers share.
template <class T>
class SharedStoreContract : public StoreContract<T> {};
using SharedStores = testing::Types<Memory, Postgres>;
TYPED_TEST_SUITE(SharedStoreContract, SharedStores);

TYPED_TEST(StoreContract, KnowsNoPartyThatWasNotMade) {
  EXPECT_FALSE(load(*this->store_, this->sample_.id).value().has_value());
  EXPECT_EQ(this->store_->size().value().parties, 0u);
}

TYPED_TEST(StoreContract, GivesBackWhatEveryKindOfChangeMade) {
  Sample& s = this->sample_;
  std::vector<party::Change> changes = s.created;
  changes.insert(changes.end(), {party::MemberPut{s.member(2)}, party::MemberPut{s.member(3)},
                                 party::MemberRemoved{s.member(3).public_key}, party::InvitePut{s.invite(1)},
                                 party::InvitePut{s.invite(2)}, party::InviteRemoved{s.invite(1).id},
                                 party::StatementAdded{1, Bytes{7}}, party::StatementAdded{2, Bytes{8}},
                                 party::BundleReplaced{Bytes{6}}, party::VersionRaised{9}});
  party::PartyData expected;
  for (const auto& change : changes) party::apply_change(expected, change);
  ASSERT_TRUE(commit(*this->store_, s.id, changes));
  const auto loaded = load(*this->store_, s.id).value();
  ASSERT_TRUE(loaded);
  EXPECT_EQ(loaded->data, expected);
  EXPECT_EQ(this->store_->size().value().parties, 1u);
  EXPECT_EQ(this->store_->size().value().members, 2u);  // who hosted, and the second
}

TYPED_TEST(StoreContract, AppliesCommitsOfAPartyInOrder) {
  Sample& s = this->sample_;
  ASSERT_TRUE(commit(*this->store_, s.id, s.created));
  std::promise<void> last;
  for (std::uint64_t i = 2; i <= 300; ++i) {
    this->store_->commit({s.id, i - 1, {party::VersionRaised{i}}}, [&, i](Result<void> result) {
      EXPECT_TRUE(result);
      if (i == 300) last.set_value();
    });
  }
  last.get_future().wait();
  EXPECT_EQ(load(*this->store_, s.id).value()->data.version, 300u);
}

TYPED_TEST(SharedStoreContract, TakesOnlyWhatWasDecidedOnWhatItHas) {
  Sample& s = this->sample_;
  Store& store = *this->store_;
  EXPECT_EQ(commit(store, {s.id, 1, {party::VersionRaised{2}}}).error().code, Code::kConflict) << "it is not there";
  ASSERT_TRUE(load(store, s.id));
  ASSERT_TRUE(commit(store, {s.id, 0, s.created}));
  EXPECT_EQ(commit(store, {s.id, 0, s.created}).error().code, Code::kConflict) << "somebody else made it";
  ASSERT_EQ(load(store, s.id).value()->revision, 1u);
  EXPECT_TRUE(commit(store, {s.id, 1})) << "asks, and changes nothing";
  EXPECT_TRUE(commit(store, {s.id, 1, {party::VersionRaised{2}}}));
  EXPECT_EQ(commit(store, {s.id, 1}).error().code, Code::kConflict);
  EXPECT_EQ(commit(store, {s.id, 2, {party::VersionRaised{9}}}).error().code, Code::kConflict) << "not before a load";
  EXPECT_EQ(load(store, s.id).value()->data.version, 2u);
  EXPECT_TRUE(commit(store, {s.id, 2, {party::VersionRaised{3}}}));
}

TYPED_TEST(SharedStoreContract, KeepsTheLastEventsAndSaysWhatWasChanged) {
  Store& store = *this->store_;
  Sample& s = this->sample_;
  ASSERT_TRUE(commit(store, s.id, s.created));
  std::vector<party::PartyEvent> events;
  for (std::uint64_t number = 2; number <= 2 + party::kRecentEventsMax; ++number) {
    events.push_back({number, party::RecordPut{Bytes(3, static_cast<std::uint8_t>(number))}});
    if (number % 3 == 0) events.back().body = party::StatementPut{Bytes{1}, Bytes{2}};
    if (number % 5 == 0) events.back().body = party::InviteChanged{s.invite(1).id, from_unix_seconds(7), 4};
    ASSERT_TRUE(commit(store, s.id, {party::VersionRaised{number}}, {events.back()}));
  }
  const auto recent = load(store, s.id).value()->recent;
  ASSERT_EQ(recent.size(), party::kRecentEventsMax);
  for (std::size_t i = 0; i < recent.size(); ++i) {
    EXPECT_EQ(recent[i].number, events[i + 1].number);
    EXPECT_TRUE(recent[i].body == events[i + 1].body) << i;
  }
  std::promise<std::uint64_t> revision;
  store.changed([&](Result<std::vector<Revision>> changed) {
    std::uint64_t found = 0;
    for (const Revision& party : *changed) found = party.id == s.id ? party.revision : found;
    revision.set_value(found);
  });
  EXPECT_EQ(revision.get_future().get(), party::kRecentEventsMax + 2);
}

TYPED_TEST(StoreContract, ForgetsAPartyThatNobodyIsInOrCanJoin) {
  Sample& sample = this->sample_;
  const WallTime now = from_unix_seconds(1700000000);
  ASSERT_TRUE(commit(*this->store_, sample.id, sample.created));
  EXPECT_EQ(retire(*this->store_, now), 0u);
  party::MemberRow left = sample.member(1);
  left.state = party::MemberState::kLeft;
  ASSERT_TRUE(commit(*this->store_, sample.id, {party::InvitePut{sample.invite(1)}, party::MemberPut{left}}));
  EXPECT_EQ(retire(*this->store_, now), 0u) << "its invite still lets somebody in";
  EXPECT_EQ(retire(*this->store_, from_unix_seconds(1800000001), {sample.id}), 0u) << "in use";
  EXPECT_EQ(retire(*this->store_, from_unix_seconds(1800000001)), 1u);
  const auto loaded = load(*this->store_, sample.id);
  ASSERT_TRUE(loaded);
  EXPECT_FALSE(*loaded);
  ASSERT_TRUE(commit(*this->store_, sample.id, {party::PartyCreated{Bytes{1}}})) << "nothing of it is left behind";
  EXPECT_TRUE((*load(*this->store_, sample.id))->data.members.empty());
}

TYPED_TEST(StoreContract, ForgetsAPartyThatIsNotInUseForLongWhateverTheCalendarDoes) {
  Sample& sample = this->sample_;
  WallTime now = from_unix_seconds(1700000000);
  ASSERT_TRUE(commit(*this->store_, sample.id, sample.created));
  for (const std::int64_t jump : {3650, -7300, 3650}) {
    now += jump * kDay;
    EXPECT_EQ(retire(*this->store_, now), 0u);
  }
  EXPECT_EQ(retire(*this->store_, now, {sample.id}), 0u);
  for (std::int64_t day = 0; day < kIdleDaysMax; ++day) {
    for (int hour = 0; hour < 24; hour += 6) EXPECT_EQ(retire(*this->store_, now += kDay / 4), 0u) << day;
  }
  EXPECT_EQ(retire(*this->store_, now += kDay), 1u);
  EXPECT_EQ(this->store_->size()->parties, 0u);
}

// In virtual time: what is asked at `asked`, and how many writes begin for it; none waits longer than a window.
int writes_for(CommitWindow& window, const std::vector<Time>& asked) {
  int writes = 0;
  for (std::size_t next = 0; next < asked.size();) {
    const Time first = asked[next], begins = window.due(first);
    EXPECT_LE(begins - first, kCommitWindow);
    const std::size_t before = next;
    while (next < asked.size() && asked[next] <= begins) ++next;
    begins > first ? window.begun_after_waiting(begins, next - before) : window.begun(begins);
    ++writes;
  }
  return writes;
}

TEST(CommitWindow, AStormSharesTenWritesASecondAndAnIdleStoreWaitsForNothing) {
  using namespace std::chrono_literals;
  for (const int per_second : {50, 500, 5000}) {
    CommitWindow window(kCommitWindow);
    std::vector<Time> asked;
    SeededRng rng(1);
    for (int i = 0; i < 10 * per_second; ++i)
      asked.push_back(Time{1h} + std::chrono::microseconds(rng.below(10'000'000)));
    std::sort(asked.begin(), asked.end());
    EXPECT_LE(writes_for(window, asked), 100 + 2 * CommitWindow::kAtOnce) << per_second;
  }
  CommitWindow idle(kCommitWindow);
  for (Time now{1h}; now < Time{1h + 1min}; now += 150ms) {
    EXPECT_EQ(idle.due(now), now);
    idle.begun(now);
  }
}

TEST(CommitWindow, WritesThatDidNotWaitForItMakeNobodyWaitLonger) {
  using namespace std::chrono_literals;
  CommitWindow window(kCommitWindow);
  const Time now{1h};
  for (int i = 0; i < 1000; ++i) window.begun(now);
  EXPECT_LE(window.due(now), now + kCommitWindow);
}

TEST(CommitWindow, WhoAsksForOneThingAfterTheOtherRarelyWaits) {
  using namespace std::chrono_literals;
  CommitWindow window(kCommitWindow);
  Time now{1h};
  for (int i = 0; i < 100; ++i) {
    const Time begins = window.due(now);
    begins > now ? window.begun_after_waiting(begins, 1) : window.begun(begins);
    now = begins + 1ms;
  }
  EXPECT_LT(now - Time{1h}, 100 * kCommitWindow / (CommitWindow::kAtOnce - 1));
}

TEST(Coalesce, LeavesEveryPartyAsAllChangesDo) {
  Sample s;
  std::size_t superseded = 0;
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    SeededRng rng(seed);
    const party::PartyId ids[] = {s.id, party::PartyId(rng.array<16>())};
    std::vector<std::pair<int, party::Change>> changes;
    std::uint32_t statements[] = {0, 0};
    for (int i = 0; i < 60; ++i) {
      const int which = static_cast<int>(rng.below(2));
      const auto number = static_cast<std::uint8_t>(1 + rng.below(4));
      auto member = s.member(number);
      member.record_version = rng.below(100);
      auto invite = s.invite(number);
      invite.uses_left = static_cast<std::uint32_t>(rng.below(100));
      const party::Change all[] = {party::VersionRaised{rng.below(1000)},
                                   party::BundleReplaced{Bytes{number}},
                                   party::MemberPut{member},
                                   party::MemberRemoved{member.public_key},
                                   party::InvitePut{invite},
                                   party::InviteRemoved{invite.id},
                                   party::StatementAdded{statements[which] + 1, Bytes{number}}};
      const party::Change& change = all[rng.below(std::size(all))];
      if (std::holds_alternative<party::StatementAdded>(change)) ++statements[which];
      changes.emplace_back(which, change);
    }
    std::vector<Step> steps;
    std::map<party::PartyId, party::PartyData> expected, found;
    for (const auto& [which, change] : changes) {
      steps.push_back({&ids[which], &change});
      party::apply_change(expected[ids[which]], change);
    }
    const std::vector<Step> written = coalesce(steps);
    for (const Step& step : written) party::apply_change(found[*step.party], *step.change);
    EXPECT_EQ(found, expected) << seed;
    superseded += steps.size() - written.size();
  }
  EXPECT_GT(superseded, 300u * 20);
}

// A thousand changes as fast as they can be asked for, and the store's own word on what they cost.
TEST(SqliteStore, AStormSharesTransactionsAndCountsWhatItDid) {
  const std::string folder = fresh_folder();
  Sample s;
  const auto store = SqliteStore::open(folder + "/test.db", silent_logger()).value();
  ASSERT_TRUE(commit(*store, s.id, s.created));
  std::promise<void> last;
  constexpr std::uint64_t kChanges = 1000;
  for (std::uint64_t i = 2; i <= kChanges; ++i) {
    auto row = s.member(static_cast<std::uint8_t>(i % 50));
    row.record_version = i;
    store->commit({s.id, i - 1, {party::VersionRaised{i}, party::MemberPut{row}}}, [&, i](Result<void> result) {
      EXPECT_TRUE(result);
      if (i == kChanges) last.set_value();
    });
  }
  last.get_future().wait();
  EXPECT_EQ(load(*store, s.id).value()->data.version, kChanges);
  const StoreStats stats = store->stats();
  EXPECT_EQ(stats.requests, kChanges);
  EXPECT_EQ(stats.changes, 3 + 2 * (kChanges - 1));
  EXPECT_LE(stats.transactions, 8u);
  EXPECT_GE(stats.superseded, stats.changes - stats.transactions * 60);
  EXPECT_GE(stats.syncs, stats.transactions);
  EXPECT_GT(stats.bytes, 0u);
  EXPECT_EQ(stats.refused, 0u);
  std::filesystem::remove_all(folder);
}

// What waits for others waits no longer when somebody waits for it, or when the store closes.
TEST(SqliteStore, ReadingAPartyAndClosingWriteWhatWaits) {
  const std::string folder = fresh_folder();
  Sample s;
  const party::PartyId other = party::PartyId(s.rng.array<16>());
  {
    const auto store = SqliteStore::open(folder + "/test.db", silent_logger(), std::chrono::hours(1)).value();
    for (std::uint64_t i = 1; i <= CommitWindow::kAtOnce; ++i)
      ASSERT_TRUE(commit(*store, s.id, i == 1 ? s.created : std::vector<party::Change>{party::VersionRaised{i}}));
    store->commit({s.id, 1, {party::VersionRaised{70}}}, [](Result<void> result) { EXPECT_TRUE(result); });
    EXPECT_FALSE(load(*store, other).value());  // waits for nobody
    EXPECT_EQ(load(*store, s.id).value()->data.version, 70u);
    store->commit({s.id, 1, {party::VersionRaised{71}}}, [](Result<void> result) { EXPECT_TRUE(result); });
  }
  EXPECT_EQ(load(*Sqlite::open(folder), s.id).value()->data.version, 71u);
  std::filesystem::remove_all(folder);
}

TEST(SqliteStore, KeepsItsPartiesAcrossARestart) {
  const std::string folder = fresh_folder();
  Sample s;
  ASSERT_TRUE(commit(*Sqlite::open(folder), s.id, s.created));
  EXPECT_EQ(load(*Sqlite::open(folder), s.id).value()->data.members.size(), 1u);
  std::filesystem::remove_all(folder);
}

TEST(SqliteStore, RefusesADatabaseOfANewerVersionAndAFolderThatIsNotThere) {
  const std::string folder = fresh_folder();
  { auto made = Sqlite::open(folder); }
  ASSERT_EQ(std::system(("python3 -c \"import sqlite3; c=sqlite3.connect('" + folder +
                         "/test.db'); c.execute('PRAGMA user_version=999'); c.commit()\"")
                            .c_str()),
            0);
  EXPECT_EQ(SqliteStore::open(folder + "/test.db", silent_logger()).error().code, Code::kInvalid);
  EXPECT_EQ(SqliteStore::open(folder + "/none/test.db", silent_logger()).error().code, Code::kIo);
  std::filesystem::remove_all(folder);
}

TEST(SqliteStore, SaysOfADamagedDatabaseThatItIs) {
  const std::string folder = fresh_folder();
  std::ofstream(folder + "/test.db") << std::string(4096, 'x');
  const auto opened = SqliteStore::open(folder + "/test.db", silent_logger());
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().message.find("damaged"), std::string::npos) << opened.error().message;
  EXPECT_EQ(opened.error().hint, "restore it from a backup");
  std::filesystem::remove_all(folder);
}

TEST(MemoryStore, AFailedCommitFailsThoseAfterItUntilThePartyIsLoadedAgain) {
  MemoryStore store;
  Sample s;
  ASSERT_TRUE(commit(store, s.id, s.created));
  store.fail_next({Code::kIo, "disk full", ""});
  EXPECT_EQ(commit(store, {s.id, 1, {party::VersionRaised{2}}}).error().code, Code::kIo);
  EXPECT_EQ(commit(store, {s.id, 2, {party::VersionRaised{3}}}).error().code, Code::kConflict);
  EXPECT_EQ(load(store, s.id).value()->data.version, 1u);
  EXPECT_TRUE(commit(store, s.id, {party::VersionRaised{2}}));
}

// A small tmpfs in a mount namespace of a child process: the disk is full for a while.
TEST(SqliteStore, AFullDiskFailsCommitsAndLosesNothing) {
  const pid_t child = fork();
  if (child == 0) {
    const std::string folder = fresh_folder();
    if (unshare(CLONE_NEWNS) != 0 || mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        mount("tmpfs", folder.c_str(), "tmpfs", 0, "size=1m") != 0) {
      _exit(10);
    }
    Sample s;
    auto store = Sqlite::open(folder);
    if (!commit(*store, s.id, s.created)) _exit(11);
    const std::string ballast = folder + "/ballast";
    FILE* file = fopen(ballast.c_str(), "w");
    const std::vector<char> block(4096);
    while (fwrite(block.data(), 1, block.size(), file) == block.size() && fflush(file) == 0) {
    }
    fclose(file);
    bool failed = false;
    std::uint64_t version = 1;
    for (std::uint64_t i = 2; i < 200 && !failed; ++i) {
      auto big = s.member(4);
      big.record = Bytes(4000, static_cast<std::uint8_t>(i));
      failed = !commit(*store, s.id, {party::VersionRaised{i}, party::MemberPut{big}});
      if (!failed) version = i;
    }
    if (!failed) _exit(12);
    if (load(*store, s.id).value()->data.version != version) _exit(13);
    unlink(ballast.c_str());
    if (!commit(*store, s.id, {party::VersionRaised{500}})) _exit(14);
    _exit(load(*store, s.id).value()->data.version == 500 ? 0 : 15);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(SqliteStore, KilledAtAnyMomentItLosesNothingAcknowledged) {
  const std::string folder = fresh_folder();
  Sample s;
  SeededRng rng(5);
  std::uint64_t acknowledged = 0;
  for (int round = 0; round < 20; ++round) {
    int fds[2];
    ASSERT_EQ(pipe(fds), 0);
    const pid_t child = fork();
    if (child == 0) {
      close(fds[0]);
      auto store = Sqlite::open(folder);
      const auto loaded = load(*store, s.id).value();
      std::uint64_t version = loaded ? loaded->data.version : 0;
      if (!loaded) store->commit({s.id, 0, {party::PartyCreated{Bytes{1}}}}, [](Result<void>) {});
      for (;;) {
        const std::uint64_t next = ++version;
        // The member's record carries the version too: a half commit would show.
        auto row = s.member(1);
        row.record_version = next;
        if (commit(*store, s.id, {party::VersionRaised{next}, party::MemberPut{row}}) &&
            write(fds[1], &next, sizeof next) < 0)
          _exit(1);
      }
    }
    close(fds[1]);
    std::uint64_t wanted = 1 + rng.below(60);
    std::uint64_t version = 0;
    while (wanted-- > 0 && read(fds[0], &version, sizeof version) == sizeof version) acknowledged = version;
    kill(child, SIGKILL);
    while (read(fds[0], &version, sizeof version) == sizeof version) acknowledged = version;
    close(fds[0]);
    waitpid(child, nullptr, 0);
    const auto loaded = load(*Sqlite::open(folder), s.id).value();
    ASSERT_TRUE(loaded);
    const party::PartyData& data = loaded->data;
    EXPECT_GE(data.version, acknowledged);
    ASSERT_EQ(data.members.size(), 1u);
    EXPECT_EQ(data.members.begin()->second.record_version, data.version);
  }
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace lanrage::store
