// tasks, operations: what the node does and in which order, and which operations conflict.
#include <CLI/CLI.hpp>

#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>

#include "base/format.h"
#include "cli.h"
#include "daemon/task_runner.h"
#include "interrupt.h"
#include "terminal.h"

namespace lanrage::cli {
namespace {

using wire::Json;

constexpr auto kPollInterval = std::chrono::milliseconds{100};

void print_graph(const Json& graph) {
  std::printf("%-4.0f %s  %s%s\n", number_of(graph, "id").value_or(0), padded(safe(text_of(graph, "name")), 20).c_str(),
              text_of(graph, "state").c_str(),
              member_of(graph, "merged_into").is_null()
                  ? ""
                  : format(", as part of {:.0f}", number_of(graph, "merged_into").value_or(0)).c_str());
  for (const Json& task : items_of(graph, "tasks")) {
    std::printf("     %s %-8s  %-9s", padded(safe(text_of(task, "name")), 19).c_str(),
                text_of(task, "priority_name").c_str(), text_of(task, "state").c_str());
    if (const auto waited = number_of(task, "waited_ms"); waited && *waited >= 1)
      std::printf("  waited %.0f ms", *waited);
    if (const auto took = number_of(task, "took_ms")) std::printf("  took %.1f ms", *took);
    if (const auto attempts = number_of(task, "attempts"); attempts && *attempts > 1)
      std::printf("  attempt %.0f", *attempts);
    if (const std::string because = text_of(task, "because"); !because.empty())
      std::printf("  because of %s", safe(because).c_str());
    if (const std::string why = text_of(member_of(task, "error"), "message"); !why.empty())
      std::printf("  %s", safe(why).c_str());
    std::printf("\n");
  }
}

Result<void> show(const Cli& cli) {
  LR_ASSIGN(const Json answer, call_node("GET", "/api/tasks"));
  if (cli.json) {
    print_json(answer);
    return {};
  }
  const auto& graphs = items_of(answer, "graphs");
  if (graphs.empty()) std::printf("This node has done nothing yet.\n");
  for (auto graph = graphs.rbegin(); graph != graphs.rend(); ++graph) print_graph(*graph);
  for (const Json& lock : items_of(answer, "locks")) {
    std::printf("%s of %s is held by %.0f (%s); %zu wait\n", text_of(lock, "type").c_str(),
                safe(text_of(lock, "resource")).c_str(), number_of(lock, "graph").value_or(0),
                safe(text_of(lock, "task")).c_str(), items_of(lock, "waiting").size());
  }
  return {};
}

Result<Json> read_graph(const std::string& file) {
  std::ifstream opened;
  if (file != "-") {
    opened.open(file);
    if (!opened)
      return Error{Code::kNotFound, format("{} cannot be read", file), "name a file, or - for standard input"};
  }
  std::istream& in = file == "-" ? std::cin : opened;
  return Json::parse(std::string(std::istreambuf_iterator<char>(in), {}));
}

// Runs a trial graph to its end; who interrupts it cancels it.
Result<void> submit(const Cli& cli, const std::string& file) {
  const InterruptWatch interrupts;
  LR_ASSIGN(const Json body, read_graph(file));
  LR_ASSIGN(Json graph, call_node("POST", "/api/tasks", body));
  const std::string path = format("/api/tasks/{:.0f}", number_of(graph, "id").value_or(0));
  progress(cli, format("graph {:.0f} runs", number_of(graph, "id").value_or(0)));
  for (bool cancelled = false; text_of(graph, "state") == "running";) {
    if (interrupts.wait(cancelled ? Duration{} : kPollInterval) && !std::exchange(cancelled, true)) {
      if (auto gone = call_node("DELETE", path); !gone && gone.error().code != Code::kNotFound)
        return std::move(gone).error();
    }
    LR_ASSIGN(graph, call_node("GET", path));
  }
  if (cli.json) {
    print_json(graph);
  } else {
    print_graph(graph);
  }
  if (text_of(graph, "state") == "done") return {};
  return Error{Code::kFailed, format("the graph ended {}", text_of(graph, "state")), {}};
}

Result<void> cancel(const Cli& cli, std::uint64_t id) {
  LR_ASSIGN(const Json graph, call_node("DELETE", format("/api/tasks/{}", id)));
  if (cli.json) {
    print_json(graph);
  } else {
    print_graph(graph);
  }
  return {};
}

Result<void> show_operations(const Cli& cli) {
  const Json table = daemon::operations_json();
  if (cli.json) {
    print_json(table);
    return {};
  }
  std::printf(
      "What becomes of an operation that meets another on the same resource, by its priority beside the other's:\n");
  std::printf("%-18s %-18s %-11s %-11s %s\n", "it", "meets", "lower", "equal", "higher");
  for (const Json& row : items_of(table, "conflicts")) {
    std::printf("%-18s %-18s %-11s %-11s %s\n", text_of(row, "newcomer").c_str(), text_of(row, "present").c_str(),
                text_of(row, "lower").c_str(), text_of(row, "equal").c_str(), text_of(row, "higher").c_str());
  }
  std::printf("All others run side by side.\n");
  return {};
}

}  // namespace

void add_tasks(CLI::App& app, Cli& cli) {
  struct Options {
    std::string file;
    std::uint64_t id = 0;
  };
  auto options = std::make_shared<Options>();
  CLI::App* tasks = app.add_subcommand("tasks", "What the node is doing and did: tasks, priorities, locks");
  auto* file = tasks->add_option("--submit", options->file, "run a trial graph from this file (- is standard input)");
  auto* id = tasks->add_option("--cancel", options->id, "cancel the graph of this number")->excludes(file);
  tasks->callback([&cli, options, file, id] {
    cli.run = [&cli, options, file, id]() -> Result<void> {
      if (file->count() > 0) return submit(cli, options->file);
      if (id->count() > 0) return cancel(cli, options->id);
      return show(cli);
    };
  });
  CLI::App* operations = app.add_subcommand("operations", "Which operations conflict, and what becomes of them");
  operations->callback([&cli] { cli.run = [&cli] { return show_operations(cli); }; });
}

}  // namespace lanrage::cli
