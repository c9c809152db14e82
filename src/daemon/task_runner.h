// The node's work as tasks: makes the scheduler's calls, logs and tells its events, and shows it all as JSON.
//
// One thread, the node's control thread.
#pragma once

#include <functional>
#include <map>
#include <set>

#include "base/log.h"
#include "base/rng.h"
#include "tasks/scheduler.h"
#include "wire/json.h"

namespace lanrage::daemon {

inline constexpr std::size_t kTaskSlots = 8;

class TaskRunner {
 public:
  // `publish` takes each event for who watches.
  TaskRunner(Rng& rng, const Logger& log, std::function<void(const wire::Json&)> publish)
      : scheduler_(kTaskSlots, rng), log_(log), publish_(std::move(publish)) {}

  // In the log's context of now, which its tasks keep.
  Result<tasks::GraphId> submit(Time now, tasks::GraphSpec spec);
  // A graph whose tasks do nothing for a while, and fail as often as they are told: `tasks`, as docs/tasks.md has it.
  // Their operations touch resources of their own, never the node's.
  Result<tasks::GraphId> submit_trial(Time now, const wire::Json& body);
  // Of trials, and of entering a party. kRefused: another; kNotFound.
  Result<void> cancel(Time now, tasks::GraphId id);
  bool is_under_way(std::string_view graph) const;  // one of that name
  void finish(Time now, tasks::Attempt attempt, Result<std::string> result) {
    scheduler_.finish(now, attempt, std::move(result));
  }
  void handle_timeout(Time now);
  Time next_timeout() const;
  bool make_calls();  // all that are due, and what comes of them at once; whether there were any

  wire::Json graphs() const;
  Result<wire::Json> graph(tasks::GraphId id) const;

 private:
  struct TrialEnd {
    tasks::Attempt attempt;
    bool fails = false;
  };
  void end_trial(tasks::TaskId id);
  void tell(const tasks::Event& event);

  tasks::Scheduler scheduler_;
  const Logger log_;
  std::function<void(const wire::Json&)> publish_;
  std::multimap<Time, TrialEnd> trials_;
  std::set<tasks::GraphId> trial_graphs_;  // under way
  Time now_{};
  Time load_due_{};
};

// The conflicts and what becomes of them, as `lanrage operations --json` prints them.
wire::Json operations_json();

}  // namespace lanrage::daemon
