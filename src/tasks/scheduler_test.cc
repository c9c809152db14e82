#include "tasks/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/format.h"

namespace lanrage::tasks {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using enum OperationType;

struct Script {
  Duration takes{};
  int fails = 0;  // attempts
  Code how = Code::kUnavailable;
};

// Drives a scheduler in virtual time: a task takes as long as it is told and fails as often as it is told.
struct World {
  explicit World(std::size_t slots = 4, std::uint64_t seed = 1) : rng(seed), scheduler(slots, rng) {}

  TaskSpec task(const std::string& name, std::vector<std::string> after = {}, Script script = {}) {
    TaskSpec out;
    out.name = name;
    out.after = std::move(after);
    out.run = [this, name, script](Attempt attempt) {
      started.push_back(name);
      begun_at[name].push_back(now);
      most_running = std::max(most_running, scheduler.running());
      pending.emplace(now + script.takes, std::pair(attempt, script));
    };
    out.undo = [this, name](Attempt attempt) {
      undone.push_back(name);
      undoing.emplace(now + undo_takes, attempt);
    };
    return out;
  }
  TaskSpec task(const std::string& name, Priority priority, Script script = {}) {
    TaskSpec out = task(name, std::vector<std::string>(), script);
    out.priority = priority;
    return out;
  }
  TaskSpec operation(const std::string& name, OperationType type, const std::string& resource, Script script = {},
                     Priority priority = Priority::kNormal) {
    TaskSpec out = task(name, priority, script);
    out.operation = Operation{type, resource, ""};
    return out;
  }
  Result<GraphId> submit(std::vector<TaskSpec> tasks, bool atomic = false, const std::string& name = "graph") {
    GraphSpec spec{name, atomic, std::move(tasks), [this](const GraphStatus& status) { over[status.id] = status; }};
    auto id = scheduler.submit(now, std::move(spec));
    make_calls();
    return id;
  }
  void make_calls() {
    while (auto call = scheduler.poll_call()) (*call)();
    while (auto event = scheduler.poll_event()) events.push_back(*event);
  }
  // Until nothing is due any more, or `limit` from now.
  void run(Duration limit = 24h) {
    const Time end = now + limit;
    make_calls();
    for (;;) {
      const Time next =
          std::min({pending.empty() ? kNever : pending.begin()->first,
                    undoing.empty() ? kNever : undoing.begin()->first, scheduler.next_timeout().value_or(kNever)});
      if (next > end || next == kNever) break;
      now = std::max(now, next);
      if (!pending.empty() && pending.begin()->first <= now) {
        const auto [attempt, script] = pending.begin()->second;
        pending.erase(pending.begin());
        const bool fails = attempt.number <= script.fails;
        scheduler.finish(now, attempt,
                         fails ? Result<std::string>(Error{script.how, "not now", {}}) : Result<std::string>("fine"));
      } else if (!undoing.empty() && undoing.begin()->first <= now) {
        const Attempt attempt = undoing.begin()->second;
        undoing.erase(undoing.begin());
        scheduler.finish(now, attempt, std::string());
      } else {
        scheduler.handle_timeout(now);
      }
      make_calls();
    }
    if (limit < 24h) now = end;
  }
  State state_of(GraphId id, const std::string& name) const {
    const auto graph = scheduler.graph(id);
    for (const TaskStatus& task : graph->tasks)
      if (task.name == name) return task.state;
    return State::kWaiting;
  }
  std::vector<Event> events_of(Event::Kind kind) const {
    std::vector<Event> out;
    std::copy_if(events.begin(), events.end(), std::back_inserter(out), [&](const Event& e) { return e.kind == kind; });
    return out;
  }

  Time now{};
  SeededRng rng;
  Scheduler scheduler;
  std::multimap<Time, std::pair<Attempt, Script>> pending;
  std::multimap<Time, Attempt> undoing;
  Duration undo_takes{};
  std::vector<std::string> started, undone;
  std::map<std::string, std::vector<Time>> begun_at;
  std::map<GraphId, GraphStatus> over;
  std::vector<Event> events;
  std::size_t most_running = 0;
};

TEST(Scheduler, RunsTheMostUrgentFirst) {
  World w(1);
  ASSERT_TRUE(w.submit({w.task("blocker", Priority::kNormal, {1s})}));
  ASSERT_TRUE(w.submit({w.task("deferred", Priority::kDeferred), w.task("low", Priority::kLow),
                        w.task("normal", Priority::kNormal), w.task("high", Priority::kHigh),
                        w.task("critical", Priority::kCritical)}));
  w.run();
  EXPECT_THAT(w.started, ElementsAre("blocker", "critical", "high", "normal", "low", "deferred"));
}

TEST(Scheduler, BeginsATaskOnceAllItWaitsForIsDone) {
  World w;
  const auto id =
      w.submit({w.task("start_game", {"configure_network", "sync_game_state"}),
                w.task("configure_network", {"allocate_ip"}, {1s}), w.task("sync_game_state", Priority::kNormal, {3s}),
                w.task("allocate_ip", {"validate_peer"}, {1s}), w.task("validate_peer", Priority::kNormal, {1s})});
  ASSERT_TRUE(id);
  w.run();
  EXPECT_EQ(w.over.at(*id).state, State::kDone);
  EXPECT_EQ(w.begun_at["start_game"].front() - Time{}, 3s) << "the two ways ran side by side";
  EXPECT_THAT(w.started,
              ElementsAre("sync_game_state", "validate_peer", "allocate_ip", "configure_network", "start_game"));
}

TEST(Scheduler, SkipsWhatWaitedForAFailureAndNamesIt) {
  World w;
  const auto id = w.submit({w.task("a", Priority::kNormal, {1ms, 9, Code::kRefused}), w.task("b", {"a"}),
                            w.task("c", {"b"}), w.task("other", Priority::kNormal, {5ms})});
  w.run();
  const GraphStatus& graph = w.over.at(*id);
  EXPECT_EQ(graph.state, State::kFailed);
  EXPECT_EQ(graph.outcome().error().code, Code::kRefused);
  EXPECT_EQ(graph.tasks[1].state, State::kSkipped);
  EXPECT_EQ(graph.tasks[2].because, "a");
  EXPECT_EQ(graph.tasks[3].state, State::kDone);
  EXPECT_EQ(graph.tasks[3].result, "fine");
  EXPECT_EQ(graph.tasks[0].attempts, 1) << "a refusal is no better the second time";
}

TEST(Scheduler, RetriesWithGrowingGaps) {
  World w;
  const auto id = w.submit({w.task("flaky", Priority::kNormal, {0ms, 2})});
  w.run();
  EXPECT_EQ(w.over.at(*id).tasks[0].attempts, 3);
  EXPECT_EQ(w.over.at(*id).state, State::kDone);
  const auto& at = w.begun_at["flaky"];
  EXPECT_GE(at[1] - at[0], 80ms);
  EXPECT_LE(at[1] - at[0], 120ms);
  EXPECT_GE(at[2] - at[1], 160ms);
  EXPECT_LE(at[2] - at[1], 240ms);
}

TEST(Scheduler, ATaskThatTakesTooLongFailsAndItsLateEndMeansNothing) {
  World w;
  TaskSpec slow = w.task("slow", Priority::kNormal, {90s});
  slow.retry.attempts = 1;
  const auto id = w.submit({slow});
  w.run();
  EXPECT_EQ(w.over.at(*id).tasks[0].error->code, Code::kTimedOut);
  EXPECT_EQ(w.now - Time{}, 90s) << "its end came and changed nothing";
}

TEST(Scheduler, RefusesRingsAndUnknownNamesByName) {
  World w;
  const auto ring = w.submit({w.task("x"), w.task("a", {"c", "x"}), w.task("b", {"a"}), w.task("c", {"b"})});
  ASSERT_FALSE(ring);
  EXPECT_EQ(ring.error().code, Code::kInvalid);
  EXPECT_EQ(ring.error().message, "tasks wait for one another: a -> c -> b -> a");
  EXPECT_THAT(w.submit({w.task("a", {"a"})}).error().message, HasSubstr("a -> a"));
  EXPECT_THAT(w.submit({w.task("a", {"ghost"})}).error().message, HasSubstr("a waits for ghost"));
  EXPECT_THAT(w.submit({w.task("a"), w.task("a")}).error().message, HasSubstr("two tasks are called a"));
  EXPECT_FALSE(w.submit({}));
  EXPECT_TRUE(w.started.empty());
}

TEST(Scheduler, LendsPriorityToWhatIsWaitedFor) {
  World w(1);
  ASSERT_TRUE(w.submit({w.task("blocker", Priority::kCritical, {1s})}));
  ASSERT_TRUE(w.submit({w.task("normal", Priority::kNormal)}));
  TaskSpec urgent = w.task("urgent", Priority::kCritical);
  urgent.after = {"base"};
  ASSERT_TRUE(w.submit({w.task("base", Priority::kDeferred), urgent}));
  w.run();
  EXPECT_THAT(w.started, ElementsAre("blocker", "base", "urgent", "normal"));
}

// A stream of urgent tasks fills the only slot for ever; one of LOW has its turn after three levels.
TEST(Scheduler, OneOfLowPriorityWaitsNoLongerThanTheBound) {
  World w(1);
  ASSERT_TRUE(w.submit({w.task("blocker", Priority::kCritical, {1s})}));
  ASSERT_TRUE(w.submit({w.task("low", Priority::kLow)}));
  for (int i = 0; i < 60; ++i) {
    ASSERT_TRUE(w.submit({w.task("urgent", Priority::kCritical, {1s})}));
    w.run(1s - 1ns);
    w.now += 1ns;
  }
  w.run();
  EXPECT_LE(w.begun_at["low"].front() - Time{}, 3 * kAging + 2s);
  EXPECT_GE(w.begun_at["low"].front() - Time{}, 2s);
}

TEST(Scheduler, DeferredWaitsUntilTheMachineIsIdle) {
  World w;
  w.scheduler.set_load(w.now, 0.9);
  const auto busy = w.submit({w.task("cleanup", Priority::kDeferred)});
  w.run(1min);
  EXPECT_TRUE(w.scheduler.wants_load());
  EXPECT_TRUE(w.started.empty());
  w.scheduler.set_load(w.now, 0.1);
  w.run();
  EXPECT_TRUE(w.over.contains(*busy));
  ASSERT_TRUE(w.submit({w.task("work", Priority::kNormal, {1min})}));
  ASSERT_TRUE(w.submit({w.task("later", Priority::kDeferred)}));
  w.run(30s);
  EXPECT_EQ(w.started.back(), "work") << "something above LOW runs";
  w.run();
  EXPECT_EQ(w.started.back(), "later");
  // And not for ever.
  w.scheduler.set_load(w.now, 1);
  const Time since = w.now;
  ASSERT_TRUE(w.submit({w.task("at last", Priority::kDeferred)}));
  w.run();
  EXPECT_EQ(w.begun_at["at last"].front() - since, kDeferredMost);
}

TEST(Scheduler, QueuesWhatConflictsAndRunsTheRestSideBySide) {
  World w;
  ASSERT_TRUE(w.submit({w.operation("first", kAllocateIp, "party", {1s})}));
  ASSERT_TRUE(w.submit({w.operation("second", kAllocateIp, "party", {1s})}));
  ASSERT_TRUE(w.submit({w.operation("elsewhere", kAllocateIp, "another", {1s})}));
  ASSERT_TRUE(w.submit({w.operation("network", kConfigureNetwork, "party", {1s})}));
  ASSERT_EQ(w.scheduler.locks().size(), 3u);
  EXPECT_THAT(w.scheduler.locks().front().waiting, ElementsAre(2));
  w.run();
  EXPECT_EQ(w.begun_at["second"].front() - Time{}, 1s);
  EXPECT_EQ(w.begun_at["elsewhere"].front(), Time{});
  EXPECT_EQ(w.begun_at["network"].front(), Time{});
  const auto conflicts = w.events_of(Event::Kind::kConflict);
  ASSERT_EQ(conflicts.size(), 1u);
  EXPECT_EQ(conflicts[0].operation->type, kAllocateIp);
  EXPECT_EQ(conflicts[0].other->type, kAllocateIp);
  EXPECT_EQ(conflicts[0].strategy, Strategy::kQueue);
}

// Every cell of the table: the newcomer meets one that runs, and what happens is what the table says.
TEST(Scheduler, DoesWhatTheTableSaysInEveryCell) {
  int cells = 0;
  for (std::size_t a = 0; a < kOperationTypes; ++a) {
    for (std::size_t b = 0; b < kOperationTypes; ++b) {
      for (const auto& [newcomer, order] :
           {std::pair(Priority::kLow, Order::kLower), std::pair(Priority::kNormal, Order::kEqual),
            std::pair(Priority::kHigh, Order::kHigher)}) {
        const auto type = static_cast<OperationType>(a), present = static_cast<OperationType>(b);
        const auto how = strategy(type, present, order);
        SCOPED_TRACE(format("{} meets {}, {}", type_name(type), type_name(present), order_name(order)));
        World w;
        const auto first = w.submit({w.operation("op", present, "thing", {1s})});
        const auto second = w.submit({w.operation("op", type, "thing", {1s}, newcomer)});
        ++cells;
        if (how == Strategy::kAbort) {
          ASSERT_FALSE(second);
          EXPECT_EQ(second.error().code, Code::kConflict);
          EXPECT_THAT(second.error().message, HasSubstr(type_name(present)));
        } else {
          ASSERT_TRUE(second);
        }
        w.run();
        const bool pushed_aside = how == Strategy::kPrioritize;
        EXPECT_EQ(w.over.at(*first).state, pushed_aside ? State::kCancelled : State::kDone)
            << "one that cannot be stopped is waited for";
        EXPECT_EQ(w.undone, pushed_aside ? std::vector<std::string>{"op"} : std::vector<std::string>{});
        if (how == Strategy::kAbort) continue;
        EXPECT_EQ(w.over.at(*second).state, State::kDone);
        const bool merged = how == Strategy::kMerge && serves_when_begun(type);
        ASSERT_EQ(w.started.size(), merged ? 1u : 2u);
        if (!merged) {
          EXPECT_EQ(w.begun_at["op"].back() - Time{}, how ? 1s : 0s);
        }
        ASSERT_EQ(w.events_of(Event::Kind::kConflict).size(), how ? 1u : 0u);
      }
    }
  }
  EXPECT_EQ(cells, 9 * 9 * 3);
}

TEST(Scheduler, MergesWithOneThatHasNotBegun) {
  World w;
  ASSERT_TRUE(w.submit({w.operation("running", kConfigureNetwork, "network", {1s})}));
  const auto second = w.submit({w.operation("set", kConfigureNetwork, "network", {1s})});
  const auto third = w.submit({w.operation("set", kConfigureNetwork, "network", {1s})});
  EXPECT_EQ(w.scheduler.graph(*third)->merged_into, *second);
  w.run();
  EXPECT_THAT(w.started, ElementsAre("running", "set"));
  EXPECT_EQ(w.over.at(*third).state, State::kDone);
  EXPECT_EQ(w.now - Time{}, 2s);
}

TEST(Scheduler, OneThatWasMergedDoesTheWorkWhenTheOtherIsGivenUp) {
  World w;
  ASSERT_TRUE(w.submit({w.operation("running", kConfigureNetwork, "network", {1s})}));
  const auto second = w.submit({w.operation("set", kConfigureNetwork, "network", {1s})});
  const auto third = w.submit({w.operation("set", kConfigureNetwork, "network", {1s})});
  ASSERT_TRUE(w.scheduler.cancel(w.now, *second, {Code::kFailed, "gone", {}}));
  w.run();
  EXPECT_THAT(w.started, ElementsAre("running", "set"));
  EXPECT_EQ(w.over.at(*third).state, State::kDone);
  EXPECT_EQ(w.over.at(*second).state, State::kCancelled);
}

TEST(Scheduler, WhoLeavesGivesUpAJoinThatCanBeStopped) {
  World w;
  TaskSpec join = w.operation("validate_peer", kJoinParty, "party", {20s}, Priority::kCritical);
  Attempt running;
  join.run = [&](Attempt attempt) { running = attempt; };
  join.cancel = [&] { w.scheduler.finish(w.now, running, Error{Code::kFailed, "stopped", {}}); };
  const auto joining = w.submit({join, w.task("allocate_ip", {"validate_peer"})});
  w.now += 1s;
  const auto leaving = w.submit({w.operation("leave", kLeaveParty, "party", {1s}, Priority::kCritical)});
  w.run();
  EXPECT_EQ(w.over.at(*joining).state, State::kCancelled);
  EXPECT_THAT(w.over.at(*joining).outcome().error().message, HasSubstr("given up for leave_party"));
  EXPECT_EQ(w.over.at(*leaving).state, State::kDone);
  EXPECT_EQ(w.begun_at["leave"].front() - Time{}, 1s);
}

TEST(Scheduler, TakesBackInReverseWhenOneOfAnAtomicGroupFails) {
  World w;
  const auto id = w.submit({w.task("one"), w.task("two", {"one"}, {1s}),
                            w.task("three", {"two"}, {1s, 9, Code::kRefused}), w.task("four", {"three"})},
                           true);
  w.run();
  EXPECT_THAT(w.undone, ElementsAre("two", "one"));
  EXPECT_EQ(w.over.at(*id).state, State::kFailed);
  EXPECT_TRUE(w.over.at(*id).tasks[0].taken_back);
  EXPECT_EQ(w.state_of(*id, "four"), State::kSkipped);
}

TEST(Scheduler, AnAtomicGroupHoldsAllItsLocksOrNone) {
  World w;
  TaskSpec second = w.operation("b", kAllocateIp, "y", {1s});
  second.after = {"a"};
  ASSERT_TRUE(w.submit({w.operation("other", kAllocateIp, "y", {5s})}));
  const auto group = w.submit({w.operation("a", kAllocateIp, "x", {1s}), second}, true);
  w.run(1s);
  EXPECT_EQ(w.state_of(*group, "a"), State::kReady) << "x is free, and of no use alone";
  EXPECT_EQ(w.scheduler.locks().size(), 1u);
  w.run();
  EXPECT_EQ(w.begun_at["a"].front() - Time{}, 5s);
  EXPECT_EQ(w.over.at(*group).state, State::kDone);
}

TEST(Scheduler, LocksAreFreeWhenWhoAskedIsGone) {
  World w;
  const auto holder = w.submit({w.operation("holder", kAllocateIp, "x", {100s})});
  const auto next = w.submit({w.operation("next", kAllocateIp, "x", {1s})});
  w.run(1s);
  ASSERT_TRUE(w.scheduler.cancel(w.now, *holder, {Code::kFailed, "the requester is gone", {}}));
  EXPECT_FALSE(w.scheduler.cancel(w.now, *holder, {Code::kFailed, "again", {}}));
  w.run();
  EXPECT_EQ(w.over.at(*next).state, State::kDone);
  EXPECT_EQ(w.begun_at["next"].front() - Time{}, 30s) << "one that cannot be stopped ends by its timeout";
  EXPECT_TRUE(w.scheduler.locks().empty());
  EXPECT_FALSE(w.scheduler.cancel(w.now, 77, {Code::kFailed, "who", {}}));
}

TEST(Scheduler, LocksAreHeldUntilAllIsTakenBack) {
  World w;
  w.undo_takes = 3s;
  TaskSpec last = w.task("last", {"first"}, {1s, 9, Code::kRefused});
  const auto group = w.submit({w.operation("first", kAllocateIp, "x"), last}, true);
  const auto next = w.submit({w.operation("next", kAllocateIp, "x")});
  w.run(2s);
  EXPECT_EQ(w.scheduler.graph(*group)->state, State::kRunning);
  EXPECT_FALSE(w.over.contains(*group)) << "answered only when it is so";
  w.run();
  EXPECT_EQ(w.begun_at["next"].front() - Time{}, 4s);
  EXPECT_EQ(w.over.at(*next).state, State::kDone);
  // And one that never ends is not waited for any longer than its task.
  w.undo_takes = 10h;
  const Time since = w.now;
  ASSERT_TRUE(w.submit({w.operation("first", kAllocateIp, "x"), last}, true));
  ASSERT_TRUE(w.submit({w.operation("later", kAllocateIp, "x")}));
  w.run(1h);
  EXPECT_EQ(w.begun_at["later"].front() - since, 31s);
}

TEST(Scheduler, WhatWasGivenUpAndTakenBackIsNotDone) {
  World w;
  const auto id = w.submit({w.task("slow", Priority::kNormal, {1s})}, true);
  ASSERT_TRUE(w.scheduler.cancel(w.now, *id, {Code::kFailed, "not wanted", {}}));
  w.run();
  EXPECT_THAT(w.undone, ElementsAre("slow"));
  EXPECT_EQ(w.over.at(*id).state, State::kCancelled);
  EXPECT_EQ(w.over.at(*id).outcome().error().message, "not wanted");
}

TEST(Scheduler, OnlyGraphsThatAreTheSameMerge) {
  World w;
  ASSERT_TRUE(w.submit({w.operation("running", kConfigureNetwork, "network", {1s})}));
  ASSERT_TRUE(w.submit({w.operation("set", kConfigureNetwork, "network", {1s}), w.task("one")}));
  const auto other = w.submit({w.operation("set", kConfigureNetwork, "network", {1s}), w.task("another")});
  EXPECT_EQ(w.scheduler.graph(*other)->merged_into, 0u);
  w.run();
  EXPECT_EQ(w.begun_at["another"].size(), 1u);
}

TEST(Scheduler, OneThatWasMergedLendsItsPriority) {
  World w;
  w.scheduler.set_load(w.now, 1);
  const auto leader = w.submit({w.operation("set", kConfigureNetwork, "network", {}, Priority::kDeferred)});
  const auto urgent = w.submit({w.operation("set", kConfigureNetwork, "network", {}, Priority::kCritical)});
  w.run();
  EXPECT_EQ(w.scheduler.graph(*urgent)->merged_into, *leader);
  EXPECT_EQ(w.begun_at["set"].front(), Time{});
}

TEST(Scheduler, ARingThatWouldWaitForAnIdleMachineIsBroken) {
  World w;
  auto crossed = [&](const std::string& a, const std::string& b, Priority first, Priority then) {
    TaskSpec second = w.operation("second", kAllocateIp, b, {1s}, then);
    second.after = {"first"};
    return w.submit({w.operation("first", kAllocateIp, a, {1s}, first), second});
  };
  const auto deferred = crossed("x", "y", Priority::kNormal, Priority::kDeferred);
  const auto normal = crossed("y", "x", Priority::kNormal, Priority::kNormal);
  w.run(5s);
  EXPECT_TRUE(w.over.contains(*deferred) && w.over.contains(*normal));
}

TEST(Scheduler, LendsToWhoHoldsALockThoughNoSlotIsFree) {
  World w(1);
  TaskSpec low = w.operation("l0", kAllocateIp, "x", {1s}, Priority::kLow);
  TaskSpec low_then = w.task("l1", Priority::kLow);
  low_then.after = {"l0"};
  ASSERT_TRUE(w.submit({low, low_then}));
  ASSERT_TRUE(w.submit({w.task("normal", Priority::kNormal)}));
  TaskSpec urgent = w.operation("h1", kAllocateIp, "x", {}, Priority::kCritical);
  urgent.after = {"h0"};
  ASSERT_TRUE(w.submit({w.task("h0", Priority::kCritical), urgent}, true));
  w.run();
  EXPECT_THAT(w.started, ElementsAre("l0", "l1", "h0", "h1", "normal"));
}

TEST(Scheduler, TasksThatAreOverTakeNoRoom) {
  World w;
  std::vector<TaskSpec> many = {w.task("long", Priority::kNormal, {20s})};
  for (std::size_t i = 1; i < kTasksMax; ++i) many.push_back(w.task(format("t{}", i)));
  ASSERT_TRUE(w.submit(std::move(many)));
  w.run(1s);
  EXPECT_TRUE(w.submit({w.task("leave", Priority::kCritical)}));
}

// Graphs that take locks step by step in crossed order: every ring is broken, with one victim each, and all end.
TEST(Scheduler, BreaksEveryDeadlockWithOneVictim) {
  int deadlocks = 0;
  for (std::uint64_t seed = 1; seed <= 1000; ++seed) {
    World w(16, seed);
    SeededRng random(seed);
    const std::size_t size = 2 + random.below(4);
    std::vector<GraphId> ids;
    for (std::size_t i = 0; i < size; ++i) {
      const auto first = format("r{}", i), then = format("r{}", (i + 1) % size);
      TaskSpec second = w.operation("second", kAllocateIp, then, {1s});
      second.after = {"first"};
      const auto id = w.submit(
          {w.operation("first", kAllocateIp, first, {std::chrono::milliseconds(100 + random.below(800))}), second});
      ASSERT_TRUE(id);
      ids.push_back(*id);
    }
    w.run();
    ASSERT_EQ(w.over.size(), size) << "seed " << seed;
    const auto victims = w.events_of(Event::Kind::kDeadlock);
    ASSERT_EQ(victims.size(), 1u) << "seed " << seed;
    ++deadlocks;
    EXPECT_EQ(victims[0].graph, ids.back()) << "of equals the youngest";
    for (GraphId id : ids)
      EXPECT_EQ(w.over.at(id).state, id == ids.back() ? State::kCancelled : State::kDone) << "seed " << seed;
    EXPECT_THAT(w.undone, ElementsAre("first"));
    EXPECT_EQ(w.over.at(ids.back()).outcome().error().code, Code::kConflict);
  }
  EXPECT_EQ(deadlocks, 1000);
}

TEST(Scheduler, TheVictimIsTheLeastUrgent) {
  World w;
  auto crossed = [&](const std::string& a, const std::string& b, Priority priority) {
    TaskSpec second = w.operation("second", kAllocateIp, b, {1s}, priority);
    second.after = {"first"};
    return w.submit({w.operation("first", kAllocateIp, a, {1s}, priority), second});
  };
  const auto low = crossed("x", "y", Priority::kLow);
  const auto high = crossed("y", "x", Priority::kHigh);
  w.run();
  EXPECT_EQ(w.over.at(*low).state, State::kCancelled);
  EXPECT_EQ(w.over.at(*high).state, State::kDone);
}

// A reference that knows nothing of the scheduler: each task began after all it waits for had ended, all ended, and
// exactly those behind a failure were skipped.
TEST(Scheduler, RandomGraphsKeepTheirOrder) {
  for (std::uint64_t seed = 1; seed <= 1000; ++seed) {
    World w(1 + seed % 7, seed);
    SeededRng random(seed);
    const std::size_t size = 1 + random.below(40);
    std::vector<TaskSpec> specs;
    std::vector<std::vector<std::size_t>> after(size);
    std::vector<bool> fails(size), reached(size, true);
    for (std::size_t i = 0; i < size; ++i) {
      fails[i] = random.below(12) == 0;
      std::vector<std::string> names;
      for (std::size_t before = 0; before < i; ++before) {
        if (random.below(i) > 1) continue;
        after[i].push_back(before);
        names.push_back(format("t{}", before));
        if (fails[before] || !reached[before]) reached[i] = false;
      }
      TaskSpec spec = w.task(format("t{}", i), names,
                             {std::chrono::milliseconds(random.below(50)), fails[i] ? 9 : 0, Code::kRefused});
      spec.priority = static_cast<Priority>(random.below(5));
      specs.push_back(std::move(spec));
    }
    const auto id = w.submit(std::move(specs));
    ASSERT_TRUE(id);
    w.run();
    ASSERT_TRUE(w.over.contains(*id)) << "seed " << seed;
    const GraphStatus& graph = w.over.at(*id);
    for (std::size_t i = 0; i < size; ++i) {
      const State expected = !reached[i] ? State::kSkipped : fails[i] ? State::kFailed : State::kDone;
      ASSERT_EQ(graph.tasks[i].state, expected) << "seed " << seed << " task " << i;
      if (!reached[i]) {
        ASSERT_FALSE(w.begun_at.contains(graph.tasks[i].name));
        continue;
      }
      for (std::size_t before : after[i]) {
        const Time ended = w.begun_at[graph.tasks[before].name].front() + *graph.tasks[before].took;
        ASSERT_GE(w.begun_at[graph.tasks[i].name].front(), ended) << "seed " << seed;
      }
    }
    EXPECT_LE(w.most_running, 1 + seed % 7);
  }
}

TEST(Scheduler, KeepsThousandsInOrderAndForgetsOldOnes) {
  World w;
  std::vector<TaskSpec> many;
  for (int i = 0; i < 1000; ++i) many.push_back(w.task(format("t{}", i)));
  ASSERT_TRUE(w.submit(std::move(many)));
  w.run();
  EXPECT_EQ(w.started.size(), 1000u);
  EXPECT_TRUE(std::is_sorted(w.started.begin(), w.started.end(), [](const auto& a, const auto& b) {
    return std::stoi(a.substr(1)) < std::stoi(b.substr(1));
  }));
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(w.submit({w.task("small")}));
  w.run();
  EXPECT_EQ(w.scheduler.graphs().size(), kGraphsKept);
  std::vector<TaskSpec> too_many;
  for (std::size_t i = 0; i <= kTasksMax; ++i) too_many.push_back(w.task(format("t{}", i)));
  EXPECT_EQ(w.submit(std::move(too_many)).error().code, Code::kExhausted);
}

}  // namespace
}  // namespace lanrage::tasks
