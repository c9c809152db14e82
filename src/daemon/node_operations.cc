// What people and the network ask of the node, as graphs of tasks (docs/tasks.md).
#include "base/format.h"
#include "crypto/hash.h"
#include "daemon/node_daemon.h"

namespace lanrage::daemon {
namespace {

using tasks::OperationType;
using tasks::Priority;
using wire::Json;

constexpr Duration kServerPatience = std::chrono::seconds{60};  // the control link gives up before
constexpr const char* kParty = "party";                         // resources
constexpr const char* kNetwork = "network";

}  // namespace

NodeDaemon::Ended NodeDaemon::ends(tasks::Attempt attempt) {
  return [this, attempt](Result<void> result) {
    if (result) return work_->finish(now_.time, attempt, std::string());
    work_->finish(now_.time, attempt, std::move(result).error());
  };
}

tasks::TaskSpec NodeDaemon::once(const std::string& name, Priority priority, std::function<void(Ended)> run) {
  tasks::TaskSpec task;
  task.name = name;
  task.priority = priority;
  task.retry.attempts = 1;  // whoever asked decides whether to ask again
  task.timeout = kServerPatience;
  task.run = [this, run = std::move(run)](tasks::Attempt attempt) { run(ends(attempt)); };
  return task;
}

void NodeDaemon::submit(tasks::GraphSpec spec, const api::Respond& respond, std::function<Json()> answer) {
  spec.over = [respond, answer = std::move(answer)](const tasks::GraphStatus& status) {
    if (auto outcome = status.outcome(); !outcome) return respond(std::move(outcome).error());
    respond(answer());
  };
  if (auto submitted = work_->submit(now_.time, std::move(spec)); !submitted) respond(std::move(submitted).error());
}

void NodeDaemon::operate(OperationType type, Priority priority, const std::string& subject,
                         std::function<void(Ended)> run, const api::Respond& respond) {
  tasks::TaskSpec task = once(tasks::type_name(type), priority, std::move(run));
  task.operation = tasks::Operation{type, kParty, subject};
  submit({task.name, false, {std::move(task)}}, respond, [this] { return status(); });
}

void NodeDaemon::host(const std::string& party, const std::string& name, const std::string& link,
                      const api::Respond& respond, std::function<Json(const node::InviteAnswer&)> answer) {
  struct Progress {
    node::InviteAnswer made;
    bool begun = false, given_up = false;
  };
  const auto progress = std::make_shared<Progress>();
  tasks::TaskSpec task = once("host_party", Priority::kCritical, [=, this](Ended ended) {
    if (node_->party())
      return ended(Error{Code::kConflict, "this machine is in a party already",
                         "`lanrage invite` makes an invite; `lanrage leave` leaves"});
    hosting_server(link, [=, this](Result<party::ServerInfo> server) {
      if (!server) return ended(std::move(server).error());
      if (progress->given_up) return ended(Error{Code::kFailed, "the party was given up before it began", {}});
      progress->begun = true;
      node_->host(now_, {party, name, *server}, [=, this](Result<node::InviteAnswer> invite) {
        if (invite && !progress->given_up) {
          progress->made = std::move(*invite);
          return ended({});
        }
        // Of a party that nobody was invited to nothing stays.
        Error why = invite ? Error{Code::kFailed, "the party was given up", {}} : std::move(invite).error();
        if (!progress->begun) return ended(std::move(why));
        give_up_entering([ended, why = std::move(why)](const Result<void>&) { ended(why); });
      });
    });
  });
  // Each makes a party of its own: they follow one another, and the second is told that there is one.
  task.operation = tasks::Operation{OperationType::kJoinParty, kParty, format("host {}", ++last_submission_)};
  task.cancel = [this, progress] {
    progress->given_up = true;
    if (progress->begun) give_up_entering([](const Result<void>&) {});
  };
  submit({"host_party", false, {std::move(task)}}, respond, [=] { return answer(progress->made); });
}

// What was begun of entering a party is ended, with a farewell where somebody may know of us.
void NodeDaemon::give_up_entering(Ended done) {
  if (node_->party()) return node_->leave(now_, std::move(done));
  node_->give_up_entry(now_);
  done({});
}

void NodeDaemon::join(const party::Invite& invite, const std::string& as, const api::Respond& respond) {
  const std::string name = player_name(as);
  const auto was_in = std::make_shared<bool>(false);  // nothing is to be done, or taken back
  auto step = [was_in](std::function<void(node::Node::Stepped)> run) {
    return [was_in, run = std::move(run)](Ended ended) {
      if (*was_in) return ended({});
      run([ended = std::move(ended)](Now, Result<void> result) { ended(std::move(result)); });
    };
  };
  tasks::GraphSpec graph{"join_party", true, {}, {}};
  auto add = [&](tasks::TaskSpec task, std::vector<std::string> after, std::optional<tasks::Operation> operation) {
    task.after = std::move(after);
    task.operation = std::move(operation);
    task.cancel = [this, was_in] {
      if (!*was_in) give_up_entering([](const Result<void>&) {});
    };
    graph.tasks.push_back(std::move(task));
  };
  // Only the same invite by the same name is the same: another one may be good where this one is not.
  const std::string subject = to_hex(crypto::sha256({as_bytes(invite.text()), as_bytes(name)}));
  add(once("validate_peer", Priority::kCritical,
           [=, this](const Ended& ended) {
             const node::NodeStatus status = node_->status(now_);
             *was_in = node_->party() == invite.party;
             if (*was_in && !as.empty() && as != status.name)
               return ended(Error{Code::kConflict, format("this machine is in a party already, as {}", status.name),
                                  "`lanrage leave`, then join under the other name"});
             step([=, this](node::Node::Stepped done) { node_->meet_server(now_, invite, name, std::move(done)); })(
                 ended);
           }),
      {}, tasks::Operation{OperationType::kJoinParty, kParty, subject});
  graph.tasks.back().undo = [this, was_in](tasks::Attempt attempt) {
    if (*was_in) return ends(attempt)({});
    give_up_entering(ends(attempt));
  };
  add(once("allocate_ip", Priority::kCritical,
           step([this](node::Node::Stepped done) { node_->ask_admission(now_, std::move(done)); })),
      {"validate_peer"}, tasks::Operation{OperationType::kAllocateIp, kParty});
  add(once("configure_network", Priority::kHigh, step([this](const node::Node::Stepped& done) {
             auto entered = node_->enter_admitted(now_);
             done(now_, entered ? configure_adapter() : std::move(entered));
           })),
      {"allocate_ip"}, tasks::Operation{OperationType::kConfigureNetwork, kNetwork});
  add(once("sync_game_state", Priority::kHigh,
           step([this](node::Node::Stepped done) { node_->announce_self(now_, std::move(done)); })),
      {"configure_network"}, std::nullopt);
  add(once("start_game", Priority::kHigh, [this](const Ended& ended) { ended(open_games()); }),
      {"configure_network", "sync_game_state"}, std::nullopt);
  submit(std::move(graph), respond, [this] { return status(); });
}

void NodeDaemon::leave(const api::Respond& respond) {
  // Giving up what was about to be entered is all there is to it, then.
  const bool entering = work_->is_under_way("join_party") || work_->is_under_way("host_party");
  operate(
      OperationType::kLeaveParty, Priority::kCritical, "",
      [this, entering](Ended ended) {
        if (entering && !node_->party()) return ended({});
        node_->leave(now_, [this, ended = std::move(ended)](Result<void> left) {
          // Now, not when a join that waits behind this one is over.
          if (auto cleared = left ? configure_adapter() : Result<void>(); !cleared)
            log_.warn("the party's network stays on this machine", {{"problem", cleared.error().message}});
          ended(std::move(left));
        });
      },
      respond);
}

void NodeDaemon::kick(const std::string& name, const api::Respond& respond) {
  operate(
      OperationType::kKick, Priority::kCritical, name,
      [=, this](Ended ended) { node_->kick(now_, name, std::move(ended)); }, respond);
}

void NodeDaemon::rekey(const api::Respond& respond) {
  operate(
      OperationType::kRekey, Priority::kHigh, "", [this](Ended ended) { node_->rekey(now_, std::move(ended)); },
      respond);
}

void NodeDaemon::handover(const std::string& name, const api::Respond& respond) {
  operate(
      OperationType::kHandover, Priority::kHigh, name,
      [=, this](Ended ended) { node_->handover(now_, name, std::move(ended)); }, respond);
}

void NodeDaemon::push_config(std::function<Result<void>()> apply, const api::Respond& respond,
                             std::function<Json()> answer) {
  tasks::TaskSpec task = once("push_config", Priority::kHigh, [=](const Ended& ended) { ended(apply()); });
  // Each has something else to apply: they follow one another.
  task.operation = tasks::Operation{OperationType::kPushConfig, "rules", std::to_string(++last_submission_)};
  submit({"push_config", false, {std::move(task)}}, respond, std::move(answer));
}

// The adapter is not as the node wants it.
void NodeDaemon::configure_network() {
  if (configure_waits_ || node_->adapter() == configured_) return;
  configure_waits_ = true;
  submit_network(
      "configure_network", OperationType::kConfigureNetwork, Priority::kHigh,
      [this] {
        configure_waits_ = false;
        return configure_adapter();
      },
      [](const Result<Json>&) {});
}

void NodeDaemon::restart_network(const api::Respond& respond) {
  submit_network(
      "restart_network", OperationType::kRestartNetwork, Priority::kHigh,
      [this] {
        clear_adapter();
        return configure_adapter();
      },
      respond);
}

void NodeDaemon::submit_network(const std::string& name, OperationType type, Priority priority,
                                std::function<Result<void>()> apply, const api::Respond& respond) {
  tasks::TaskSpec apply_task = once(name, priority, [apply = std::move(apply)](const Ended& ended) { ended(apply()); });
  apply_task.retry = {};
  apply_task.operation = tasks::Operation{type, kNetwork};
  tasks::TaskSpec games = once("start_game", priority, [this](const Ended& ended) { ended(open_games()); });
  games.after = {name};
  submit({name, false, {std::move(apply_task), std::move(games)}}, respond, [this] { return status(); });
}

}  // namespace lanrage::daemon
