// Tasks: named pieces of work with priorities and dependencies, submitted together as a graph.
//
// Pure: it decides what is to begin, to be cancelled or to be taken back, and hands that out as calls; the driver makes
// them and says with `finish` how each attempt ended, at once or later. So it does no work of its own, reads no clock,
// and a test drives a thousand graphs in virtual time.
//
// What begins next, while a slot is free: the task of the highest priority, then the one that has been ready longest. A
// task lends its priority to those that it waits for (also to the holder of a lock that it waits for), and rises by one
// level for every `kAging` that it has been ready; so one of LOW is served after 3 x kAging before all that came later.
// DEFERRED waits until the machine is idle: nothing above LOW is waiting or running and the load is below
// `kIdleLoad`; after `kDeferredMost` it is as LOW.
//
// Operations (operations.h) of different graphs that conflict are settled when the newcomer is submitted. A task holds
// its operation's lock from when it begins until its graph is over. An atomic graph takes all of its locks at once, or
// waits with none; others take them step by step, and a ring of graphs that wait for one another is broken at once: the
// one of the lowest priority, the youngest of these, fails, and what its tasks did is taken back.
//
// One thread.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/rng.h"
#include "base/time.h"
#include "tasks/operations.h"

namespace lanrage::tasks {

inline constexpr Duration kAging = std::chrono::seconds{5};
inline constexpr Duration kDeferredMost = std::chrono::minutes{10};
inline constexpr double kIdleLoad = 0.5;  // of all processors
inline constexpr Duration kCancelPatience = std::chrono::seconds{5};
inline constexpr std::size_t kTasksMax = 4096;  // that are not over
inline constexpr std::size_t kGraphsKept = 64;  // that are over

struct Retry {
  int attempts = 3;
  Duration first = std::chrono::milliseconds{100};
  double factor = 2;
  Duration most = std::chrono::seconds{5};  // +- 20 % at random, as all of them
};
// Worth another attempt: the other side was not there, was late, or the system or a limit was in the way just now.
bool is_transient(Code code);

using TaskId = std::uint64_t;
using GraphId = std::uint64_t;

struct Attempt {
  TaskId task = 0;
  int number = 0;  // from 1; 0: taking back what it did
};

struct TaskSpec {
  std::string name;
  Priority priority = Priority::kNormal;
  std::vector<std::string> after{};  // names of others of its graph, which must have succeeded
  std::optional<Operation> operation{};
  Retry retry{};
  Duration timeout = std::chrono::seconds{30};  // of one attempt
  std::function<void(Attempt)> run;             // begins it
  std::function<void()> cancel{};               // makes a running one end soon; without, it is waited for
  // Takes back what it did; `finish` of this attempt, whose number is 0, says that it is. Locks are held until then.
  std::function<void(Attempt)> undo{};
};

enum class State : std::uint8_t { kWaiting, kReady, kRunning, kBackoff, kDone, kFailed, kSkipped, kCancelled };
const char* state_name(State state);
constexpr bool is_over(State state) { return state >= State::kDone; }

struct TaskStatus {
  std::string name;
  Priority priority = Priority::kNormal;
  State state = State::kWaiting;
  std::vector<std::string> after;
  std::optional<Operation> operation;
  int attempts = 0;
  std::string result;              // of one that is done
  std::optional<Error> error{};    // of its last attempt, or why it was cancelled
  std::string because{};           // skipped: the task that failed
  std::optional<Duration> waited;  // from ready to begun
  std::optional<Duration> took;    // of its last attempt
  bool taken_back = false;         // done, and undone again
};
struct GraphStatus {
  GraphId id = 0;
  std::string name;
  bool atomic = false;
  State state = State::kWaiting;  // kRunning until all are over; kDone where every task is
  std::vector<TaskStatus> tasks;  // as submitted
  GraphId merged_into = 0;        // it ends, or ended, as that one does
  std::optional<Error> why{};     // it was given up
  Result<void> outcome() const;   // why it did not succeed: of the first task that failed, else was cancelled
};

struct GraphSpec {
  std::string name;
  bool atomic = false;  // all or nothing: what was done is taken back when a task fails
  std::vector<TaskSpec> tasks;
  std::function<void(const GraphStatus&)> over{};  // called once
};

struct LockStatus {
  Operation operation;
  GraphId graph = 0;
  std::string task;
  Priority priority = Priority::kNormal;
  std::vector<GraphId> waiting;  // for it
};

struct Event {
  enum class Kind : std::uint8_t { kStarted, kRetry, kDone, kFailed, kSkipped, kCancelled, kConflict, kDeadlock };
  Kind kind = Kind::kStarted;
  GraphId graph = 0;
  std::string graph_name;
  std::string task;
  Priority priority = Priority::kNormal;
  Duration took{};        // of an attempt that ended
  std::string message{};  // why
  // kConflict
  std::optional<Operation> operation{}, other{};
  Strategy strategy = Strategy::kQueue;
};
const char* event_name(Event::Kind kind);

class Scheduler {
 public:
  // `slots` tasks run at a time. `rng`, for jitter, outlives it.
  Scheduler(std::size_t slots, Rng& rng) : slots_(slots), rng_(rng) {}

  // kInvalid: no tasks, a name twice, an unknown one in `after`, a ring (all by name); kConflict: an operation that the
  // strategy refuses; kExhausted: kTasksMax. Nothing has begun then.
  Result<GraphId> submit(Time now, GraphSpec spec);
  // What does not run yet is cancelled, what runs is asked to end. kNotFound: no such graph, or it is over.
  Result<void> cancel(Time now, GraphId id, const Error& why);
  // How an attempt ended; of one that timed out or was given up, nothing.
  void finish(Time now, Attempt attempt, Result<std::string> result);
  void set_load(Time now, double load);  // of the machine, 0 to 1
  bool wants_load() const;               // a task of DEFERRED is ready
  void handle_timeout(Time now);
  std::optional<Time> next_timeout() const;

  // To be made in this order. Each may call back into the scheduler.
  std::optional<std::function<void()>> poll_call();
  std::optional<Event> poll_event();

  std::vector<GraphStatus> graphs() const;  // those under way, then those that are over; the youngest first
  std::optional<GraphStatus> graph(GraphId id) const;
  std::vector<LockStatus> locks() const;
  std::size_t waiting() const;                        // tasks that are not over and do not run
  std::size_t kept() const { return tasks_.size(); }  // of graphs that are not over
  std::size_t running() const { return running_; }

 private:
  struct Task {
    TaskSpec spec;
    GraphId graph = 0;
    TaskStatus status;
    Priority base = Priority::kDeferred;  // its own, or of one that waits for it
    std::vector<TaskId> dependents{};
    std::size_t missing = 0;  // dependencies that are not done
    Time ready_since{};
    Time begun{};
    Time due = kNever;  // the attempt's end, or the next one's beginning
    bool cancelling = false;
    bool holds_lock = false;
    std::uint64_t finished = 0;  // the how-manieth to be done
  };
  struct Graph {
    GraphSpec spec;  // without its tasks
    std::vector<TaskId> tasks{};
    std::size_t open = 0;           // tasks that are not over
    std::optional<Error> failed{};  // why nothing of it begins any more
    bool take_back = false;
    std::vector<TaskId> to_undo{};  // once all are over; the next one last
    TaskId undoing = 0;
    bool holds_locks = false;
    GraphId into = 0;                     // merged into that one
    GraphId followed = 0;                 // likewise, and ended with it
    Priority lent = Priority::kDeferred;  // by graphs that wait for its locks
  };
  using Waits = std::map<GraphId, std::vector<GraphId>>;  // who waits for whose locks
  struct Lock {
    GraphId graph;
    OperationType type;
  };
  using Locks = std::map<std::string, std::vector<Lock>>;  // by resource

  Result<void> settle_conflicts(Time now, const GraphSpec& spec, GraphId id, GraphId& into);
  Priority rank(Time now, const Task& task) const;
  bool idle() const;
  static std::vector<GraphId> in_the_way(const Locks& locks, GraphId graph, const Operation& wanted);
  std::vector<Task*> locks_needed(Task& task);
  Waits lock_waits();
  void lend(const Waits& waits);
  bool take_locks(Task& task, Locks& reserved);
  void begin(Time now, TaskId id, Task& task);
  void pump(Time now);
  void begin_ready(Time now);
  bool merges(const GraphSpec& spec, const TaskSpec& task, const Task& other) const;
  bool undo_next(Time now, Graph& graph);
  bool break_ring(Time now, const Waits& waits);
  void end(Time now, TaskId id, State state, std::optional<Error> error);
  void fail_graph(Time now, GraphId id, const Error& why, bool take_back);
  void close(Time now, GraphId id);
  void event(Event::Kind kind, const Task& task, std::string message = {});
  GraphStatus status_of(GraphId id, const Graph& graph) const;

  const std::size_t slots_;
  Rng& rng_;
  std::map<TaskId, Task> tasks_;
  std::map<GraphId, Graph> graphs_;
  Locks held_;
  std::deque<GraphStatus> past_;  // the youngest first
  std::deque<std::function<void()>> calls_;
  std::deque<Event> events_;
  TaskId last_task_ = 0;
  GraphId last_graph_ = 0;
  std::size_t running_ = 0;
  std::uint64_t finished_ = 0;
  double load_ = 0;
  Time pumped_{};  // when it was last chosen what begins
};

}  // namespace lanrage::tasks
