// Both buses against the real thing: Debian's PostgreSQL and nats-server, started by the test.
#include "bus/bus.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>

#include "bus/test_nats.h"
#include "store/test_postgres.h"

namespace lanrage::bus {
namespace {

using namespace std::chrono_literals;

// A server's end of a bus, and what it was given.
class End {
 public:
  using Open = Result<std::unique_ptr<Bus>> (*)(const std::string&, Handlers, const Logger&);
  End(Open open, const std::string& url)
      : End([&](Handlers handlers) { return open(url, std::move(handlers), silent_logger()); }) {}
  explicit End(const Opener& open) {
    Handlers handlers;
    handlers.on_message = [this](std::string message) { note(std::move(message)); };
    handlers.on_gap = [this] { note("gap"); };
    auto opened = open(std::move(handlers));
    EXPECT_TRUE(opened) << opened.error().message;
    if (opened) bus_ = *std::move(opened);
  }
  Bus& operator*() { return *bus_; }
  Bus* operator->() { return bus_.get(); }

  bool got(const std::string& message, std::chrono::seconds patience = 15s) {
    std::unique_lock lock(mutex_);
    return came_.wait_for(lock, patience, [&] { return count(message) > 0; });
  }
  std::size_t count(const std::string& message) const {
    return static_cast<std::size_t>(std::count(messages_.begin(), messages_.end(), message));
  }
  std::vector<std::string> messages() {
    const std::lock_guard lock(mutex_);
    return messages_;
  }
  void forget() {
    const std::lock_guard lock(mutex_);
    messages_.clear();
  }
  // Until `other` hears what is for all: what was subscribed before is, too.
  bool reaches(End& other) {
    for (int i = 0; i < 100; ++i) {
      const std::string word = "hello " + std::to_string(i);
      bus_->broadcast(word);
      if (other.got(word, 1s)) return true;
    }
    return false;
  }

 private:
  void note(std::string message) {
    message.erase(0, message.find_first_not_of(' '));  // as who reads JSON
    const std::lock_guard lock(mutex_);
    messages_.push_back(std::move(message));
    came_.notify_all();
  }
  std::mutex mutex_;
  std::condition_variable came_;
  std::vector<std::string> messages_;
  std::unique_ptr<Bus> bus_;  // the last: it calls the others
};

struct Postgres {
  const std::string folder = store::fresh_folder();
  const std::string url = [this] {
    const std::string made = store::TestPostgres::shared().database(folder);
    store::PostgresStore::open(made, silent_logger()).value();  // makes the tables
    return made;
  }();
  ~Postgres() { std::filesystem::remove_all(folder); }
  static constexpr End::Open kOpen = open_postgres_bus;
  static void stop() { store::TestPostgres::shared().stop(SIGKILL); }
  static void run() { store::TestPostgres::shared().run(); }
};
struct Nats {
  TestNats server;
  const std::string url = server.url();
  static constexpr End::Open kOpen = open_nats_bus;
  void stop() { server.stop(); }
  void run() { server.run(); }
};

template <class T>
class BusContract : public testing::Test {
 protected:
  T kind_;
  SeededRng rng_{1};
  const party::PartyId party_{rng_.array<16>()}, other_{rng_.array<16>()};
};
using Buses = testing::Types<Postgres, Nats>;
TYPED_TEST_SUITE(BusContract, Buses);

TYPED_TEST(BusContract, BringsWhatIsForAllAndWhatWasSubscribedToInOrderAndNotOnesOwn) {
  End a(TypeParam::kOpen, this->kind_.url), b(TypeParam::kOpen, this->kind_.url);
  b->subscribe(this->party_);
  ASSERT_TRUE(a.reaches(b));
  ASSERT_TRUE(b.reaches(a));
  a.forget();
  b.forget();
  for (int i = 0; i < 300; ++i) a->publish(i % 3 == 0 ? this->other_ : this->party_, std::to_string(i));
  a->broadcast("end");
  ASSERT_TRUE(b.got("end"));
  ASSERT_TRUE(b.got("299"));
  std::vector<std::string> expected;
  for (int i = 0; i < 300; ++i)
    if (i % 3 != 0) expected.push_back(std::to_string(i));
  auto messages = b.messages();
  std::erase(messages, "end");
  std::erase_if(messages, [](const std::string& message) { return message.starts_with("hello") || message == "gap"; });
  EXPECT_EQ(messages, expected);
  EXPECT_EQ(a.count("end"), 0u);
  b.forget();
  b->unsubscribe(this->party_);
  ASSERT_TRUE(a.reaches(b));
  b.forget();
  a->publish(this->party_, "nobody's");
  ASSERT_TRUE(a.reaches(b));
  EXPECT_EQ(b.count("nobody's"), 0u);
}

TYPED_TEST(BusContract, SaysThatItIsAwayAndThatSomethingWasMissedAndGoesOn) {
  End a(TypeParam::kOpen, this->kind_.url), b(TypeParam::kOpen, this->kind_.url);
  b->subscribe(this->party_);
  ASSERT_TRUE(a.reaches(b));
  EXPECT_EQ(a->problem(), "");
  a.forget();
  b.forget();
  this->kind_.stop();
  ASSERT_TRUE(a.got("gap"));
  ASSERT_TRUE(b.got("gap"));
  EXPECT_NE(a->problem(), "");
  a->broadcast("lost");
  b.forget();
  this->kind_.run();
  EXPECT_TRUE(b.got("gap", 30s));
  ASSERT_TRUE(a.reaches(b));
  a->publish(this->party_, "again");
  EXPECT_TRUE(b.got("again"));
  EXPECT_EQ(a->problem(), "");
}

// One that has lost NATS alone is heard by the others, and hears them.
TEST(BusWithReserve, CarriesOnWithWhomNatsIsGoneFor) {
  const Postgres database;
  Nats here, there;  // two that do not know of each other: a network that fell apart
  const auto by = [&](const std::string& url) -> Opener {
    return [&, url](Handlers handlers) {
      return open_bus_with_reserve(
          [&](Handlers to) { return open_nats_bus(url, std::move(to), silent_logger()); },
          [&](Handlers to) { return open_postgres_bus(database.url, std::move(to), silent_logger()); },
          std::move(handlers));
    };
  };
  End a(by(here.url)), b(by(there.url)), c(by(here.url));
  const party::PartyId party;
  for (End* end : {&a, &b, &c}) (*end)->subscribe(party);
  ASSERT_TRUE(a.reaches(c));
  b.forget();
  there.stop();
  ASSERT_TRUE(b.got("gap"));
  ASSERT_NE(b->problem(), "");
  ASSERT_TRUE(b.reaches(a));
  ASSERT_TRUE(a.reaches(b));
  b->publish(party, "from b");
  EXPECT_TRUE(a.got("from b"));
  a->publish(party, "from a");
  EXPECT_TRUE(b.got("from a"));
  EXPECT_TRUE(c.got("from a"));
  // Once NATS is back for all, the database is left alone, though all say every second that they are there.
  End database_alone(open_postgres_bus, database.url);
  there.run();
  bool is_left_alone = false;
  const auto until = std::chrono::steady_clock::now() + 30s;
  for (int round = 0; !is_left_alone && std::chrono::steady_clock::now() < until; ++round) {
    const std::string word = "alive " + std::to_string(round);
    for (End* end : {&a, &b, &c}) (*end)->broadcast(word);
    is_left_alone = !database_alone.got(word, 1s);
  }
  EXPECT_TRUE(is_left_alone);
}

TEST(NatsBus, WaitsForAServerThatIsNotThereYetAndRefusesWhatIsNoUrl) {
  TestNats server;
  server.stop();
  End a(open_nats_bus, server.url()), b(open_nats_bus, server.url());
  EXPECT_NE(a->problem(), "");
  b->subscribe(party::PartyId());
  server.run();
  ASSERT_TRUE(a.reaches(b));
  a->publish(party::PartyId(), "late");
  EXPECT_TRUE(b.got("late"));
  for (const char* wrong : {"", "nats://", "http://host", "nats://host:port", "nats://a,,b"}) {
    const auto opened = open_nats_bus(wrong, {[](std::string) {}, [] {}}, silent_logger());
    EXPECT_FALSE(opened) << wrong;
  }
}

}  // namespace
}  // namespace lanrage::bus
