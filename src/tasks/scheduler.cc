#include "tasks/scheduler.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "base/format.h"

namespace lanrage::tasks {
namespace {

constexpr std::size_t kNameMax = 64;

// The names of a ring among the tasks that wait for one another, "a -> b -> a"; nothing: there is none.
std::optional<std::string> ring_of(const std::vector<std::vector<std::size_t>>& after, const GraphSpec& spec) {
  std::vector<std::size_t> missing(after.size());
  std::vector<std::vector<std::size_t>> dependents(after.size());
  for (std::size_t i = 0; i < after.size(); ++i) {
    missing[i] = after[i].size();
    for (std::size_t before : after[i]) dependents[before].push_back(i);
  }
  std::vector<std::size_t> free;
  for (std::size_t i = 0; i < after.size(); ++i)
    if (missing[i] == 0) free.push_back(i);
  std::size_t ordered = 0;
  for (; ordered < free.size(); ++ordered) {
    for (std::size_t next : dependents[free[ordered]])
      if (--missing[next] == 0) free.push_back(next);
  }
  if (ordered == after.size()) return std::nullopt;
  // Each that is left waits for one that is left: following these comes round.
  std::size_t at = static_cast<std::size_t>(
      std::find_if(missing.begin(), missing.end(), [](std::size_t n) { return n > 0; }) - missing.begin());
  std::vector<std::size_t> way;
  for (auto seen = way.end(); (seen = std::find(way.begin(), way.end(), at)) == way.end();) {
    way.push_back(at);
    at = *std::find_if(after[at].begin(), after[at].end(), [&](std::size_t before) { return missing[before] > 0; });
  }
  std::string out;
  for (auto i = std::find(way.begin(), way.end(), at); i != way.end(); ++i) out += spec.tasks[*i].name + " -> ";
  return out + spec.tasks[at].name;
}

std::string of(const Operation& operation) { return format("{} of {}", type_name(operation.type), operation.resource); }

}  // namespace

bool is_transient(Code code) {
  return code == Code::kUnavailable || code == Code::kTimedOut || code == Code::kIo || code == Code::kExhausted;
}

const char* state_name(State state) {
  constexpr std::array<const char*, 8> kNames = {"waiting", "ready",  "running", "retrying",
                                                 "done",    "failed", "skipped", "cancelled"};
  return kNames.at(static_cast<std::size_t>(state));
}

const char* event_name(Event::Kind kind) {
  constexpr std::array<const char*, 8> kNames = {"started", "retry",     "done",     "failed",
                                                 "skipped", "cancelled", "conflict", "deadlock"};
  return kNames.at(static_cast<std::size_t>(kind));
}

Result<void> GraphStatus::outcome() const {
  if (state == State::kDone) return {};
  for (const State worst : {State::kFailed, State::kCancelled}) {
    for (const TaskStatus& task : tasks)
      if (task.state == worst && task.error) return *task.error;
  }
  return why.value_or(Error{Code::kFailed, format("{} did not end well", name), {}});
}

// --- submitting ----------------------------------------------------------------------------------------------------

Result<GraphId> Scheduler::submit(Time now, GraphSpec spec) {
  if (spec.tasks.empty()) return Error{Code::kInvalid, "there is no task in it", "name at least one"};
  if (waiting() + running_ + spec.tasks.size() > kTasksMax) {
    return Error{Code::kExhausted, format("more than {} tasks would wait", kTasksMax), "try again in a moment"};
  }
  std::map<std::string, std::size_t> index;
  for (const TaskSpec& task : spec.tasks) {
    if (task.name.empty() || task.name.size() > kNameMax)
      return Error{Code::kInvalid, format("a task's name has 1 to {} characters", kNameMax), {}};
    if (!index.emplace(task.name, index.size()).second)
      return Error{Code::kInvalid, format("two tasks are called {}", task.name), "each needs a name of its own"};
  }
  std::vector<std::vector<std::size_t>> after(spec.tasks.size());
  for (std::size_t i = 0; i < spec.tasks.size(); ++i) {
    for (const std::string& name : std::set(spec.tasks[i].after.begin(), spec.tasks[i].after.end())) {
      const auto before = index.find(name);
      if (before == index.end())
        return Error{Code::kInvalid, format("{} waits for {}, which is no task of its", spec.tasks[i].name, name),
                     "submit both together"};
      after[i].push_back(before->second);
    }
  }
  if (const auto ring = ring_of(after, spec))
    return Error{Code::kInvalid, format("tasks wait for one another: {}", *ring), "take one dependency away"};

  const GraphId id = last_graph_ + 1;
  GraphId into = 0;
  LR_TRY(settle_conflicts(now, spec, id, into));
  last_graph_ = id;
  Graph& graph = graphs_[id];
  graph.into = into;
  graph.open = spec.tasks.size();
  const TaskId first = last_task_ + 1;
  for (std::size_t i = 0; i < spec.tasks.size(); ++i) {
    Task& task = tasks_[++last_task_];
    graph.tasks.push_back(last_task_);
    task.graph = id;
    task.spec = std::move(spec.tasks[i]);
    task.status.name = task.spec.name;
    task.status.priority = task.base = task.spec.priority;
    task.status.after = task.spec.after;
    task.status.operation = task.spec.operation;
    task.missing = after[i].size();
    task.ready_since = now;
    if (task.missing == 0) task.status.state = State::kReady;
  }
  spec.tasks.clear();
  graph.spec = std::move(spec);
  for (std::size_t i = 0; i < after.size(); ++i) {
    for (std::size_t before : after[i]) tasks_.at(first + before).dependents.push_back(first + i);
  }
  // Up the graph, each as urgent as the most urgent that waits for it. A ring is no more possible.
  std::vector<TaskId> risen(graph.tasks.begin(), graph.tasks.end());
  while (!risen.empty()) {
    const std::size_t i = risen.back() - first;
    risen.pop_back();
    for (std::size_t before : after[i]) {
      Task& earlier = tasks_.at(first + before);
      if (earlier.base >= tasks_.at(first + i).base) continue;
      earlier.base = tasks_.at(first + i).base;
      risen.push_back(first + before);
    }
  }
  pump(now);
  return id;
}

// Whether the newcomer's whole graph is the other's, and that one in time for it.
bool Scheduler::merges(const GraphSpec& spec, const TaskSpec& task, const Task& other) const {
  const Graph& graph = graphs_.at(other.graph);
  const bool begun = other.status.attempts > 0;
  if (graph.into != 0 || graph.failed || !task.after.empty() || (begun && !serves_when_begun(task.operation->type)))
    return false;
  if (graph.spec.name != spec.name || graph.spec.atomic != spec.atomic || graph.tasks.size() != spec.tasks.size())
    return false;
  return std::equal(graph.tasks.begin(), graph.tasks.end(), spec.tasks.begin(), [&](TaskId id, const TaskSpec& mine) {
    const TaskSpec& theirs = tasks_.at(id).spec;
    return theirs.name == mine.name && theirs.after == mine.after && theirs.operation == mine.operation;
  });
}

// What `strategy` says of the newcomer and each that is there. The strictest is settled first, so that a newcomer that
// is refused has changed nothing.
Result<void> Scheduler::settle_conflicts(Time now, const GraphSpec& spec, GraphId id, GraphId& into) {
  struct Found {
    const TaskSpec* task;
    TaskId other;
    Strategy strategy;
  };
  std::vector<Found> found;
  for (const TaskSpec& task : spec.tasks) {
    if (!task.operation) continue;
    for (const auto& [other_id, other] : tasks_) {
      if (!other.spec.operation || other.spec.operation->resource != task.operation->resource) continue;
      if (is_over(other.status.state) && !other.holds_lock) continue;
      const auto how =
          strategy(task.operation->type, other.spec.operation->type, order_of(task.priority, other.spec.priority));
      if (!how) continue;
      const bool one = *how == Strategy::kMerge && merges(spec, task, other);
      found.push_back({&task, other_id, *how == Strategy::kMerge && !one ? Strategy::kQueue : *how});
    }
  }
  auto say = [&](const Found& one) {
    const Task& other = tasks_.at(one.other);
    Event out;
    out.kind = Event::Kind::kConflict;
    out.graph = id;
    out.graph_name = spec.name;
    out.task = one.task->name;
    out.priority = one.task->priority;
    out.operation = one.task->operation;
    out.other = other.spec.operation;
    out.strategy = one.strategy;
    out.message = format("with {} of {} {}", other.spec.name, graphs_.at(other.graph).spec.name, other.graph);
    events_.push_back(std::move(out));
  };
  for (const Strategy how : {Strategy::kAbort, Strategy::kPrioritize, Strategy::kMerge, Strategy::kQueue}) {
    for (const Found& one : found) {
      if (one.strategy != how) continue;
      const Operation& operation = *one.task->operation;
      if (how == Strategy::kPrioritize) {
        const GraphId other = tasks_.at(one.other).graph;
        if (graphs_.at(other).failed) continue;
        say(one);
        fail_graph(now, other, {Code::kConflict, format("given up for {}", of(operation)), {}}, true);
        continue;
      }
      say(one);
      if (how == Strategy::kAbort) {
        return Error{
            Code::kConflict,
            format("{} cannot begin while {} is under way", of(operation), of(*tasks_.at(one.other).spec.operation)),
            "try again when `lanrage tasks` shows no more of it"};
      }
      if (how == Strategy::kMerge) into = tasks_.at(one.other).graph;
      return {};  // one is enough to be told of: the locks hold for all
    }
  }
  return {};
}

// --- ending --------------------------------------------------------------------------------------------------------

Result<void> Scheduler::cancel(Time now, GraphId id, const Error& why) {
  const auto graph = graphs_.find(id);
  if (graph == graphs_.end() || graph->second.failed)
    return Error{Code::kNotFound, format("there is no graph {} under way", id), "`lanrage tasks` lists them"};
  fail_graph(now, id, why, graph->second.spec.atomic);
  pump(now);
  return {};
}

void Scheduler::fail_graph(Time now, GraphId id, const Error& why, bool take_back) {
  Graph& graph = graphs_.at(id);
  if (graph.failed) return;
  graph.failed = why;
  graph.take_back = take_back;
  graph.into = 0;
  for (TaskId task_id : graph.tasks) {
    Task& task = tasks_.at(task_id);
    if (is_over(task.status.state)) continue;
    if (task.status.state != State::kRunning) {
      end(now, task_id, State::kCancelled, why);
      continue;
    }
    task.status.error = why;
    task.cancelling = true;
    if (!task.spec.cancel) continue;
    calls_.push_back(task.spec.cancel);
    task.due = std::min(task.due, now + kCancelPatience);
  }
}

void Scheduler::finish(Time now, Attempt attempt, Result<std::string> result) {
  const auto found = tasks_.find(attempt.task);
  if (found == tasks_.end()) return;
  Task& task = found->second;
  if (Graph& graph = graphs_.at(task.graph); attempt.number == 0 && graph.undoing == attempt.task) {
    graph.undoing = 0;
    task.status.taken_back = true;
    task.due = kNever;
    return pump(now);
  }
  if (task.status.state != State::kRunning || task.status.attempts != attempt.number) return;
  task.status.took = now - task.begun;
  if (result) {
    task.status.result = std::move(*result);
    task.finished = ++finished_;
    end(now, attempt.task, State::kDone, {});
  } else if (task.cancelling) {
    end(now, attempt.task, State::kCancelled, task.status.error);
  } else if (const Retry& retry = task.spec.retry;
             is_transient(result.error().code) && attempt.number < retry.attempts) {
    --running_;
    task.status.state = State::kBackoff;
    task.status.error = result.error();
    const double wait =
        std::min<double>(static_cast<double>(retry.most.count()),
                         static_cast<double>(retry.first.count()) * std::pow(retry.factor, attempt.number - 1));
    task.due = now + Duration(static_cast<Duration::rep>(wait * (0.8 + 0.4 * rng_.unit())));
    event(Event::Kind::kRetry, task, result.error().message);
  } else {
    end(now, attempt.task, State::kFailed, std::move(result).error());
  }
  pump(now);
}

// The task is over, and with it those that waited for it where it did not succeed.
void Scheduler::end(Time now, TaskId id, State state, std::optional<Error> error) {
  std::vector<TaskId> over = {id};
  Task& first = tasks_.at(id);
  if (first.status.state == State::kRunning) --running_;
  first.status.state = state;
  first.status.error = std::move(error);
  for (std::size_t i = 0; i < over.size(); ++i) {
    Task& task = tasks_.at(over[i]);
    task.due = kNever;
    --graphs_.at(task.graph).open;
    const std::string why = task.status.error ? task.status.error->message : "";
    switch (task.status.state) {
      case State::kDone:
        event(Event::Kind::kDone, task);
        break;
      case State::kFailed:
        event(Event::Kind::kFailed, task, why);
        break;
      case State::kSkipped:
        event(Event::Kind::kSkipped, task, task.status.because);
        break;
      default:
        event(Event::Kind::kCancelled, task, why);
        break;
    }
    for (TaskId next_id : task.dependents) {
      Task& next = tasks_.at(next_id);
      if (next.status.state != State::kWaiting) continue;
      if (task.status.state != State::kDone) {
        next.status.state = State::kSkipped;
        next.status.because = task.status.because.empty() ? task.spec.name : task.status.because;
        over.push_back(next_id);
      } else if (--next.missing == 0) {
        next.status.state = State::kReady;
        next.ready_since = now;
      }
    }
  }
  const Graph& graph = graphs_.at(first.graph);
  if (state == State::kFailed && graph.spec.atomic)
    fail_graph(now, first.graph, {Code::kFailed, format("{} failed", first.spec.name), {}}, true);
}

// All tasks are over, and it begins to take back the last that was done; false: there is nothing left to be taken back.
bool Scheduler::undo_next(Time now, Graph& graph) {
  if (graph.undoing != 0) return true;
  if (graph.take_back && graph.to_undo.empty()) {
    for (TaskId id : graph.tasks) {
      const Task& task = tasks_.at(id);
      if (task.status.state == State::kDone && task.finished > 0 && task.spec.undo) graph.to_undo.push_back(id);
    }
    std::sort(graph.to_undo.begin(), graph.to_undo.end(),
              [this](TaskId a, TaskId b) { return tasks_.at(a).finished < tasks_.at(b).finished; });
    graph.take_back = false;
  }
  if (graph.to_undo.empty()) return false;
  graph.undoing = graph.to_undo.back();
  graph.to_undo.pop_back();
  Task& task = tasks_.at(graph.undoing);
  task.due = now + task.spec.timeout;
  calls_.push_back([undo = std::move(task.spec.undo), id = graph.undoing] { undo({id, 0}); });
  return true;
}

// All is over, and taken back where it had to be: its locks are free.
void Scheduler::close(Time now, GraphId id) {
  auto node = graphs_.extract(id);
  Graph& graph = node.mapped();
  GraphStatus status = status_of(id, graph);
  for (TaskId task_id : graph.tasks) {
    const Task& task = tasks_.at(task_id);
    if (task.holds_lock)
      std::erase_if(held_[task.spec.operation->resource], [&](const Lock& lock) { return lock.graph == id; });
    tasks_.erase(task_id);
  }
  std::erase_if(held_, [](const auto& resource) { return resource.second.empty(); });
  // Who was merged into it is as it is; unless it was given up: then the next of them does the work itself.
  for (auto& [other_id, other] : graphs_) {
    if (other.into != id) continue;
    other.into = 0;
    if (status.state == State::kCancelled) continue;
    other.followed = id;
    other.spec.atomic = false;  // there is nothing of its own to take back
    for (std::size_t i = 0; i < other.tasks.size(); ++i) {
      Task& task = tasks_.at(other.tasks[i]);
      const State state = status.tasks[i].state;
      task.status = status.tasks[i];
      task.status.state = State::kWaiting;
      task.dependents.clear();
      end(now, other.tasks[i], state, task.status.error);
    }
  }
  if (graph.spec.over) calls_.push_back([over = std::move(graph.spec.over), status] { over(status); });
  past_.push_front(std::move(status));
  if (past_.size() > kGraphsKept) past_.pop_back();
}

// --- choosing ------------------------------------------------------------------------------------------------------

Priority Scheduler::rank(Time now, const Task& task) const {
  const Priority base = std::max(task.base, graphs_.at(task.graph).lent);
  Duration waited = now - task.ready_since;
  int level = static_cast<int>(base);
  if (base == Priority::kDeferred) {
    if (waited < kDeferredMost) return base;
    waited -= kDeferredMost;
    level = static_cast<int>(Priority::kLow);
  }
  level += static_cast<int>(std::min<Duration::rep>(waited / kAging, kPriorities));
  return static_cast<Priority>(std::min(level, static_cast<int>(Priority::kCritical)));
}

bool Scheduler::idle() const {
  return load_ < kIdleLoad && std::none_of(tasks_.begin(), tasks_.end(), [this](const auto& one) {
           return !is_over(one.second.status.state) && one.second.base > Priority::kLow &&
                  graphs_.at(one.second.graph).into == 0;
         });
}

bool Scheduler::wants_load() const {
  return std::any_of(tasks_.begin(), tasks_.end(), [this](const auto& one) {
    return one.second.status.state == State::kReady && one.second.base == Priority::kDeferred &&
           graphs_.at(one.second.graph).into == 0;
  });
}

std::size_t Scheduler::waiting() const {
  return static_cast<std::size_t>(std::count_if(tasks_.begin(), tasks_.end(), [](const auto& one) {
    return !is_over(one.second.status.state) && one.second.status.state != State::kRunning;
  }));
}

// Graphs other than this that have a lock which `wanted` conflicts with.
std::vector<GraphId> Scheduler::in_the_way(const Locks& locks, GraphId graph, const Operation& wanted) {
  std::vector<GraphId> out;
  const auto found = locks.find(wanted.resource);
  if (found == locks.end()) return out;
  for (const Lock& lock : found->second)
    if (lock.graph != graph && conflict(wanted.type, lock.type)) out.push_back(lock.graph);
  return out;
}

// Of an atomic graph all at once.
std::vector<Scheduler::Task*> Scheduler::locks_needed(Task& task) {
  std::vector<Task*> out;
  const Graph& graph = graphs_.at(task.graph);
  if (!graph.spec.atomic) {
    if (task.spec.operation && !task.holds_lock) out.push_back(&task);
  } else if (!graph.holds_locks) {
    for (TaskId id : graph.tasks)
      if (Task& one = tasks_.at(id); one.spec.operation) out.push_back(&one);
  }
  return out;
}

// Of every graph that something ready of waits for a lock.
Scheduler::Waits Scheduler::lock_waits() {
  Waits out;
  for (auto& [id, task] : tasks_) {
    const Graph& graph = graphs_.at(task.graph);
    if (task.status.state != State::kReady || graph.into != 0 || graph.failed) continue;
    if (graph.spec.atomic && out.contains(task.graph)) continue;
    for (const Task* one : locks_needed(task)) {
      for (GraphId holder : in_the_way(held_, task.graph, *one->spec.operation)) out[task.graph].push_back(holder);
    }
  }
  return out;
}

// Who is waited for, by its locks or by one that was merged into it, is as urgent as the most urgent that waits.
void Scheduler::lend(const Waits& waits) {
  std::map<GraphId, Priority> own;
  for (auto& [id, graph] : graphs_) graph.lent = Priority::kDeferred;
  for (const auto& [id, task] : tasks_)
    if (!is_over(task.status.state)) own[task.graph] = std::max(own[task.graph], task.base);
  for (bool rose = true; rose;) {
    rose = false;
    const auto to = [&](GraphId from, GraphId holder) {
      Graph& other = graphs_.at(holder);
      const Priority priority = std::max(own[from], graphs_.at(from).lent);
      rose = rose || priority > other.lent;
      other.lent = std::max(other.lent, priority);
    };
    for (const auto& [id, holders] : waits)
      for (GraphId holder : holders) to(id, holder);
    for (const auto& [id, graph] : graphs_)
      if (graph.into != 0) to(id, graph.into);
  }
}

// The locks that the task needs, all or none. Where it must wait they are reserved before those that come after it;
// but who holds locks already is not kept waiting by one who merely waits, or both would wait for ever.
bool Scheduler::take_locks(Task& task, Locks& reserved) {
  Graph& graph = graphs_.at(task.graph);
  const std::vector<Task*> wanted = locks_needed(task);
  const bool free = std::all_of(wanted.begin(), wanted.end(), [&](const Task* one) {
    const Operation& operation = *one->spec.operation;
    return in_the_way(held_, task.graph, operation).empty() &&
           (graph.holds_locks || in_the_way(reserved, task.graph, operation).empty());
  });
  for (Task* one : wanted) {
    const Operation& operation = *one->spec.operation;
    (free ? held_ : reserved)[operation.resource].push_back({task.graph, operation.type});
    if (free) one->holds_lock = graph.holds_locks = true;
  }
  return free;
}

void Scheduler::begin(Time now, TaskId id, Task& task) {
  ++running_;
  task.status.state = State::kRunning;
  task.status.error.reset();
  if (++task.status.attempts == 1) task.status.waited = now - task.ready_since;
  task.begun = now;
  task.due = now + task.spec.timeout;
  event(Event::Kind::kStarted, task);
  calls_.push_back([run = task.spec.run, attempt = Attempt{id, task.status.attempts}] { run(attempt); });
}

void Scheduler::begin_ready(Time now) {
  struct Candidate {
    Priority rank;
    TaskId id;
    Task* task;
  };
  if (running_ >= slots_) return;
  std::vector<Candidate> candidates;
  const bool is_idle = idle();
  for (auto& [id, task] : tasks_) {
    const Graph& graph = graphs_.at(task.graph);
    if (task.status.state != State::kReady || graph.into != 0 || graph.failed) continue;
    const Priority ranked = rank(now, task);
    if (ranked > Priority::kDeferred || is_idle) candidates.push_back({ranked, id, &task});
  }
  std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
    return std::tuple(b.rank, a.task->ready_since, a.id) < std::tuple(a.rank, b.task->ready_since, b.id);
  });
  Locks reserved;
  std::set<GraphId> waiting;  // atomic ones, which were looked at already
  for (const Candidate& one : candidates) {
    if (running_ >= slots_) return;
    if (waiting.contains(one.task->graph)) continue;
    if (take_locks(*one.task, reserved)) {
      begin(now, one.id, *one.task);
    } else if (graphs_.at(one.task->graph).spec.atomic) {
      waiting.insert(one.task->graph);
    }
  }
}

// Fails one graph of a ring of graphs that wait for one another; false: there is no ring.
bool Scheduler::break_ring(Time now, const Waits& waits) {
  std::map<GraphId, int> state;  // 1 on the way, 2 done
  std::vector<GraphId> way;
  std::vector<GraphId> ring;
  std::function<bool(GraphId)> visit = [&](GraphId id) {
    state[id] = 1;
    way.push_back(id);
    if (const auto next = waits.find(id); next != waits.end()) {
      for (GraphId holder : next->second) {
        if (state[holder] == 1) {
          ring.assign(std::find(way.begin(), way.end(), holder), way.end());
          return true;
        }
        if (state[holder] == 0 && visit(holder)) return true;
      }
    }
    state[id] = 2;
    way.pop_back();
    return false;
  };
  bool found = false;
  for (const auto& [id, holders_of] : waits) found = found || (state[id] == 0 && visit(id));
  if (!found) return false;
  auto urgency = [&](GraphId id) {
    Priority most = Priority::kDeferred;
    for (TaskId task : graphs_.at(id).tasks) most = std::max(most, tasks_.at(task).spec.priority);
    return most;
  };
  const GraphId victim = *std::min_element(ring.begin(), ring.end(), [&](GraphId a, GraphId b) {
    return std::pair(urgency(a), b) < std::pair(urgency(b), a);
  });
  std::string names;
  for (GraphId id : ring) names += format("{}{} {}", names.empty() ? "" : ", ", graphs_.at(id).spec.name, id);
  const std::string message = format("waited for one another: {}", names);
  for (TaskId id : graphs_.at(victim).tasks) {
    if (tasks_.at(id).status.state != State::kReady) continue;
    event(Event::Kind::kDeadlock, tasks_.at(id), message);
    break;
  }
  fail_graph(now, victim, {Code::kConflict, message, "try again"}, true);
  return true;
}

void Scheduler::pump(Time now) {
  pumped_ = now;
  do {
    for (bool closed = true; closed;) {
      closed = false;
      for (auto& [id, graph] : graphs_) {
        if (graph.open > 0 || undo_next(now, graph)) continue;
        close(now, id);
        closed = true;
        break;
      }
    }
    lend(lock_waits());
    begin_ready(now);
  } while (break_ring(now, lock_waits()));
}

// --- time ----------------------------------------------------------------------------------------------------------

void Scheduler::set_load(Time now, double load) {
  load_ = load;
  pump(now);
}

void Scheduler::handle_timeout(Time now) {
  std::vector<TaskId> due;
  for (const auto& [id, task] : tasks_)
    if (task.due <= now) due.push_back(id);
  for (TaskId id : due) {
    const auto found = tasks_.find(id);
    if (found == tasks_.end() || found->second.due > now) continue;
    Task& task = found->second;
    if (is_over(task.status.state)) {  // taking it back takes too long
      finish(now, {id, 0}, std::string());
      continue;
    }
    if (task.status.state == State::kBackoff) {
      task.status.state = State::kReady;
      task.ready_since = now;
      task.due = kNever;
      continue;
    }
    if (!task.cancelling && task.spec.cancel) calls_.push_back(task.spec.cancel);
    finish(now, {id, task.status.attempts},
           Error{Code::kTimedOut,
                 format("{} took more than {:.1f} s", task.spec.name, milliseconds(task.spec.timeout) / 1000),
                 {}});
  }
  pump(now);
}

std::optional<Time> Scheduler::next_timeout() const {
  Time next = kNever;
  for (const auto& [id, task] : tasks_) {
    next = std::min(next, task.due);
    const Time aged = task.ready_since + kDeferredMost;
    if (task.status.state == State::kReady && task.base == Priority::kDeferred && aged > pumped_)
      next = std::min(next, aged);
  }
  return next == kNever ? std::nullopt : std::optional(next);
}

// --- what comes of it ----------------------------------------------------------------------------------------------

std::optional<std::function<void()>> Scheduler::poll_call() {
  if (calls_.empty()) return std::nullopt;
  auto call = std::move(calls_.front());
  calls_.pop_front();
  return call;
}

std::optional<Event> Scheduler::poll_event() {
  if (events_.empty()) return std::nullopt;
  Event out = std::move(events_.front());
  events_.pop_front();
  return out;
}

void Scheduler::event(Event::Kind kind, const Task& task, std::string message) {
  Event out;
  out.kind = kind;
  out.graph = task.graph;
  out.graph_name = graphs_.at(task.graph).spec.name;
  out.task = task.spec.name;
  out.priority = task.spec.priority;
  out.took = task.status.took.value_or(Duration{});
  out.message = std::move(message);
  events_.push_back(std::move(out));
}

GraphStatus Scheduler::status_of(GraphId id, const Graph& graph) const {
  GraphStatus out;
  out.id = id;
  out.name = graph.spec.name;
  out.atomic = graph.spec.atomic;
  out.merged_into = graph.into != 0 ? graph.into : graph.followed;
  for (TaskId task : graph.tasks) out.tasks.push_back(tasks_.at(task).status);
  auto any = [&](State state) {
    return std::any_of(out.tasks.begin(), out.tasks.end(), [&](const TaskStatus& t) { return t.state == state; });
  };
  out.why = graph.failed;
  const bool taken_back =
      std::any_of(out.tasks.begin(), out.tasks.end(), [](const TaskStatus& t) { return t.taken_back; });
  const bool goes_on = graph.open > 0 || graph.take_back || graph.undoing != 0 || !graph.to_undo.empty();
  out.state = goes_on                                ? State::kRunning
              : any(State::kFailed)                  ? State::kFailed
              : any(State::kCancelled) || taken_back ? State::kCancelled
                                                     : State::kDone;
  return out;
}

std::vector<GraphStatus> Scheduler::graphs() const {
  std::vector<GraphStatus> out;
  for (auto graph = graphs_.rbegin(); graph != graphs_.rend(); ++graph)
    out.push_back(status_of(graph->first, graph->second));
  out.insert(out.end(), past_.begin(), past_.end());
  return out;
}

std::optional<GraphStatus> Scheduler::graph(GraphId id) const {
  if (const auto graph = graphs_.find(id); graph != graphs_.end()) return status_of(id, graph->second);
  const auto past = std::find_if(past_.begin(), past_.end(), [&](const GraphStatus& g) { return g.id == id; });
  return past == past_.end() ? std::nullopt : std::optional(*past);
}

std::vector<LockStatus> Scheduler::locks() const {
  std::vector<LockStatus> out;
  for (const auto& [id, task] : tasks_) {
    if (!task.holds_lock) continue;
    LockStatus& lock =
        out.emplace_back(LockStatus{*task.spec.operation, task.graph, task.spec.name, task.spec.priority, {}});
    for (const auto& [other_id, other] : tasks_) {
      if (other.graph == task.graph || other.status.state != State::kReady || !other.spec.operation) continue;
      if (other.spec.operation->resource == lock.operation.resource &&
          conflict(other.spec.operation->type, lock.operation.type))
        lock.waiting.push_back(other.graph);
    }
  }
  return out;
}

}  // namespace lanrage::tasks
