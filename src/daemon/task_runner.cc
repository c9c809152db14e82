#include "daemon/task_runner.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <thread>

#include "base/format.h"

namespace lanrage::daemon {
namespace {

using wire::Json;

constexpr Duration kLoadInterval = std::chrono::seconds{1};
constexpr std::int64_t kTrialMs = 10 * 60 * 1000;  // at most
constexpr std::size_t kNameMax = 64;
constexpr std::size_t kTrialTasksMax = tasks::kTasksMax / 2;  // so that the node's own always find room

double load_of_machine() {
  double average = 0;
  if (::getloadavg(&average, 1) != 1) return 0;
  return average / std::max(1U, std::thread::hardware_concurrency());
}

Json operation_json(const std::optional<tasks::Operation>& operation) {
  if (!operation) return nullptr;
  return Json::object({{"type", tasks::type_name(operation->type)}, {"resource", operation->resource}});
}

Json milliseconds_or_null(const std::optional<Duration>& duration) {
  return duration ? Json(milliseconds(*duration)) : Json();
}

Json text_or_null(const std::string& text) { return text.empty() ? Json() : Json(text); }

Json task_json(const tasks::TaskStatus& task) {
  return Json::object(
      {{"name", task.name},
       {"priority", static_cast<int>(task.priority)},
       {"priority_name", tasks::priority_name(task.priority)},
       {"state", tasks::state_name(task.state)},
       {"after", Json::list(task.after, [](const std::string& name) { return Json(name); })},
       {"operation", operation_json(task.operation)},
       {"attempts", task.attempts},
       {"waited_ms", milliseconds_or_null(task.waited)},
       {"took_ms", milliseconds_or_null(task.took)},
       {"result", task.state == tasks::State::kDone ? Json(task.result) : Json()},
       {"error",
        task.error ? Json::object({{"code", code_name(task.error->code)}, {"message", task.error->message}}) : Json()},
       {"because", text_or_null(task.because)},
       {"taken_back", task.taken_back}});
}

Json graph_json(const tasks::GraphStatus& graph) {
  return Json::object({{"id", graph.id},
                       {"name", graph.name},
                       {"state", tasks::state_name(graph.state)},
                       {"atomic", graph.atomic},
                       {"merged_into", graph.merged_into == 0 ? Json() : Json(graph.merged_into)},
                       {"tasks", Json::list(graph.tasks, task_json)}});
}

// The number, or the name, or what it is without either.
tasks::Priority priority_in(wire::JsonReader& reader, const Json& item) {
  if (!reader.has("priority")) return tasks::Priority::kNormal;
  const std::string* name = item.find("priority")->if_string();
  if (name == nullptr) return static_cast<tasks::Priority>(reader.integer("priority", 0, tasks::kPriorities - 1));
  const auto parsed = tasks::parse_priority(*name);
  if (!parsed) reader.fail("priority", "is 0 to 4, or deferred, low, normal, high or critical");
  return parsed.value_or(tasks::Priority::kNormal);
}

std::optional<tasks::Operation> operation_in(wire::JsonReader& reader) {
  if (!reader.has("operation")) return std::nullopt;
  const auto type = tasks::parse_type(reader.string("operation", kNameMax));
  if (!type) {
    reader.fail("operation", "is one that `lanrage operations` lists");
    return std::nullopt;
  }
  return tasks::Operation{*type, "trial/" + reader.string("resource", kNameMax, 1),
                          reader.has("subject") ? reader.string("subject", kNameMax) : ""};
}

}  // namespace

Result<tasks::GraphId> TaskRunner::submit(Time now, tasks::GraphSpec spec) {
  now_ = now;
  for (tasks::TaskSpec& task : spec.tasks) {
    task.run =
        [run = std::move(task.run),
         context =
             Context::current().with("task_name", task.name).with("task_priority", static_cast<int>(task.priority))](
            tasks::Attempt attempt) {
          const ContextScope scope(context);
          run(attempt);
        };
  }
  const Timed timed(log_, op::kResolveConflicts);
  return scheduler_.submit(now, std::move(spec));
}

Result<tasks::GraphId> TaskRunner::submit_trial(Time now, const Json& body) {
  tasks::GraphSpec spec;
  wire::JsonReader whole(body);
  spec.name = whole.has("name") ? whole.string("name", kNameMax, 1) : "trial";
  spec.atomic = whole.has("atomic") && whole.flag("atomic");
  for (const Json& item : whole.items("tasks", tasks::kTasksMax)) {
    wire::JsonReader reader(item);
    auto integer = [&reader](std::string_view key, std::int64_t otherwise, std::int64_t most) {
      return reader.has(key) ? reader.integer(key, 0, most) : otherwise;
    };
    tasks::TaskSpec& task = spec.tasks.emplace_back();
    task.name = reader.string("name", kNameMax, 1);
    task.priority = priority_in(reader, item);
    task.operation = operation_in(reader);
    if (reader.has("after")) {
      for (const Json& name : reader.items("after", tasks::kTasksMax)) {
        if (name.if_string() == nullptr)
          reader.fail("after", "is a list of names");
        else
          task.after.push_back(*name.if_string());
      }
    }
    const std::chrono::milliseconds takes{integer("takes_ms", 0, kTrialMs)};
    const std::int64_t fails = integer("fails", 0, 1000);
    task.timeout = std::chrono::milliseconds{integer("timeout_ms", kTrialMs, kTrialMs)};
    task.retry.attempts = static_cast<int>(integer("attempts", task.retry.attempts, 1000));
    LR_TRY(reader.result());
    const auto id = std::make_shared<tasks::TaskId>(0);
    task.run = [this, takes, fails, id](tasks::Attempt attempt) {
      *id = attempt.task;
      trials_.emplace(now_ + takes, TrialEnd{attempt, attempt.number <= fails});
    };
    task.cancel = [this, id] { end_trial(*id); };
    task.undo = [this](tasks::Attempt attempt) { finish(now_, attempt, std::string()); };
  }
  LR_TRY(whole.result());
  if (spec.tasks.size() + scheduler_.kept() > kTrialTasksMax)
    return Error{Code::kExhausted, format("more than {} tasks would wait", kTrialTasksMax), "try again in a moment"};
  spec.over = [this](const tasks::GraphStatus& graph) { trial_graphs_.erase(graph.id); };
  auto id = submit(now, std::move(spec));
  if (id) trial_graphs_.insert(*id);
  return id;
}

void TaskRunner::end_trial(tasks::TaskId id) {
  const auto found =
      std::find_if(trials_.begin(), trials_.end(), [id](const auto& one) { return one.second.attempt.task == id; });
  if (found == trials_.end()) return;
  const tasks::Attempt attempt = found->second.attempt;
  trials_.erase(found);
  finish(now_, attempt, Error{Code::kFailed, "stopped", {}});
}

Result<void> TaskRunner::cancel(Time now, tasks::GraphId id) {
  now_ = now;
  const auto graph = scheduler_.graph(id);
  const bool enters = graph && (graph->name == "join_party" || graph->name == "host_party");
  if (graph && graph->state == tasks::State::kRunning && !enters && !trial_graphs_.contains(id))
    return Error{Code::kRefused, format("{} is the node's own affair", graph->name), "it is over in a moment"};
  return scheduler_.cancel(now, id, {Code::kFailed, "cancelled on request", {}});
}

bool TaskRunner::is_under_way(std::string_view graph) const {
  const auto all = scheduler_.graphs();
  return std::any_of(all.begin(), all.end(), [&](const tasks::GraphStatus& one) {
    return one.name == graph && one.state == tasks::State::kRunning && !trial_graphs_.contains(one.id);
  });
}

void TaskRunner::handle_timeout(Time now) {
  now_ = now;
  while (!trials_.empty() && trials_.begin()->first <= now) {
    const TrialEnd end = trials_.extract(trials_.begin()).mapped();
    finish(now, end.attempt,
           end.fails ? Result<std::string>(Error{Code::kUnavailable, "a trial that is to fail", {}})
                     : Result<std::string>(""));
  }
  if (scheduler_.next_timeout().value_or(kNever) <= now) scheduler_.handle_timeout(now);
  if (scheduler_.wants_load() && load_due_ <= now) {
    load_due_ = now + kLoadInterval;
    scheduler_.set_load(now, load_of_machine());
  }
}

Time TaskRunner::next_timeout() const {
  return std::min({trials_.empty() ? kNever : trials_.begin()->first, scheduler_.next_timeout().value_or(kNever),
                   scheduler_.wants_load() ? load_due_ : kNever});
}

bool TaskRunner::make_calls() {
  bool any = false;
  for (; const auto call = scheduler_.poll_call(); any = true) (*call)();
  while (const auto event = scheduler_.poll_event()) tell(*event);
  return any;
}

void TaskRunner::tell(const tasks::Event& event) {
  using enum tasks::Event::Kind;
  const ContextScope task(
      Context::current().with("task_name", event.task).with("task_priority", static_cast<int>(event.priority)));
  Json out = Json::object({{"event", "task"},
                           {"kind", tasks::event_name(event.kind)},
                           {"graph", event.graph},
                           {"graph_name", event.graph_name},
                           {"task", event.task},
                           {"priority", static_cast<int>(event.priority)},
                           {"message", text_or_null(event.message)}});
  switch (event.kind) {
    case kStarted:
      log_.debug("a task begins", {{"graph", event.graph_name}});
      break;
    case kDone:
      out.set("took_ms", milliseconds(event.took));
      log_.timed(op::kExecuteTask, event.took);
      break;
    case kFailed:
    case kRetry:
      out.set("took_ms", milliseconds(event.took));
      log_.timed(op::kExecuteTask, event.took);
      log_.warn(event.kind == kRetry ? "a task failed and is tried again" : "a task failed",
                {{"graph", event.graph_name}, {"problem", event.message}});
      break;
    case kSkipped:
      log_.warn("a task is skipped", {{"graph", event.graph_name}, {"failed", event.message}});
      break;
    case kCancelled:
      log_.info("a task is cancelled", {{"graph", event.graph_name}, {"why", event.message}});
      break;
    case kDeadlock:
      log_.warn("operations waited for one another; one is given up",
                {{"graph", event.graph_name}, {"which", event.message}});
      break;
    case kConflict: {
      const std::string types =
          format("{} {}", tasks::type_name(event.operation->type), tasks::type_name(event.other->type));
      const ContextScope conflict(
          Context::current().with("resource_id", event.operation->resource).with("conflict_type", types));
      out.set("event", "conflict");
      out.set("operation", operation_json(event.operation));
      out.set("other", operation_json(event.other));
      out.set("strategy", tasks::strategy_name(event.strategy));
      log_.warn("two operations conflict", {{"with", event.message}});
      log_.info("the conflict is settled", {{"strategy", tasks::strategy_name(event.strategy)}});
      break;
    }
  }
  publish_(out);
}

Json TaskRunner::graphs() const {
  return Json::object({{"running", static_cast<std::int64_t>(scheduler_.running())},
                       {"waiting", static_cast<std::int64_t>(scheduler_.waiting())},
                       {"graphs", Json::list(scheduler_.graphs(), graph_json)},
                       {"locks", Json::list(scheduler_.locks(), [](const tasks::LockStatus& lock) {
                          return Json::object(
                              {{"resource", lock.operation.resource},
                               {"type", tasks::type_name(lock.operation.type)},
                               {"graph", lock.graph},
                               {"task", lock.task},
                               {"priority", static_cast<int>(lock.priority)},
                               {"waiting", Json::list(lock.waiting, [](tasks::GraphId id) { return Json(id); })}});
                        })}});
}

Result<Json> TaskRunner::graph(tasks::GraphId id) const {
  const auto found = scheduler_.graph(id);
  if (!found) return Error{Code::kNotFound, format("there is no graph {}, or it is long over", id), {}};
  return graph_json(*found);
}

Json operations_json() {
  std::vector<Json> types, conflicts;
  for (std::size_t a = 0; a < tasks::kOperationTypes; ++a) {
    const auto newcomer = static_cast<tasks::OperationType>(a);
    types.emplace_back(tasks::type_name(newcomer));
    for (std::size_t b = 0; b < tasks::kOperationTypes; ++b) {
      const auto present = static_cast<tasks::OperationType>(b);
      if (!tasks::conflict(newcomer, present)) continue;
      Json row = Json::object({{"newcomer", tasks::type_name(newcomer)}, {"present", tasks::type_name(present)}});
      for (std::size_t o = 0; o < tasks::kOrders; ++o) {
        const auto order = static_cast<tasks::Order>(o);
        row.set(tasks::order_name(order), tasks::strategy_name(*tasks::strategy(newcomer, present, order)));
      }
      conflicts.push_back(std::move(row));
    }
  }
  auto same = [](const Json& json) { return json; };
  return Json::object({{"operations", Json::list(types, same)}, {"conflicts", Json::list(conflicts, same)}});
}

}  // namespace lanrage::daemon
