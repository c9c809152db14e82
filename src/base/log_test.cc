#include "base/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <thread>

namespace lanrage {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;

struct Captured {
  std::vector<std::string> lines;
  Log log;
  Logger logger{log, "party"};
  explicit Captured(LogFormat format, const char* levels = "debug")
      : log(format, LogLevels::parse(levels).value(), [this](std::string_view line) { lines.emplace_back(line); }) {}
};

TEST(Log, TextShowsMessageFieldsAndContext) {
  Captured c(LogFormat::kText);
  ContextScope scope("party_id", "p1");
  c.logger.info("member joined", {{"name", "a b"}, {"members", 3}});
  EXPECT_THAT(c.lines, ElementsAre(EndsWith("info  party: member joined name=\"a b\" members=3 party_id=p1")));
}

TEST(Log, JsonCarriesTheSameContentAndEscapes) {
  Captured c(LogFormat::kJson);
  ContextScope scope("correlation_id", "c\"1");
  c.logger.warn("odd\n", {{"ratio", 0.5}, {"ok", false}});
  ASSERT_EQ(c.lines.size(), 1u);
  EXPECT_THAT(
      c.lines[0],
      AllOf(
          HasSubstr(R"("level":"warn","logger":"party","message":"odd\u000a","module":"party","function":"TestBody")"),
          EndsWith(R"("ratio":0.5,"ok":false,"correlation_id":"c\"1"})")));
}

TEST(Log, AFieldWinsOverTheContextOfTheSameKeyInJson) {
  Captured c(LogFormat::kJson);
  ContextScope scope("peer_id", "context");
  c.logger.info("m", {{"peer_id", "field"}});
  EXPECT_THAT(c.lines[0], AllOf(HasSubstr(R"("peer_id":"field")"), Not(HasSubstr(R"("context")"))));
}

TEST(Log, WithoutContextHasNoContextFields) {
  Captured c(LogFormat::kText);
  c.logger.info("started");
  EXPECT_THAT(c.lines, ElementsAre(EndsWith("party: started")));
}

TEST(Log, LevelsApplyPerLogger) {
  Captured c(LogFormat::kText, "warn,paths=debug");
  c.logger.info("hidden");
  c.logger.named("paths").debug("shown");
  EXPECT_THAT(c.lines, ElementsAre(HasSubstr("paths: shown")));
  EXPECT_FALSE(LogLevels::parse("loud"));
}

TEST(Context, IsRestoredAndFollowsACallbackToAnotherThread) {
  std::function<std::string()> later;
  auto read = [] {
    const Context context = Context::current();
    std::string out;
    for (const auto& [key, value] : context.fields()) {
      out += key + "=";
      value.append_text(out);
    }
    return out;
  };
  {
    ContextScope outer("a", 1);
    {
      ContextScope inner("a", 2);
      later = keep_context(read);
    }
    EXPECT_EQ(read(), "a=1");
  }
  EXPECT_EQ(read(), "");
  std::string elsewhere;
  std::thread([&] { elsewhere = later() + "|" + read(); }).join();
  EXPECT_EQ(elsewhere, "a=2|");
}

TEST(Timed, LogsAndFeedsTheHistogram) {
  Captured c(LogFormat::kText);
  { Timed timed(c.logger, op::kStateSave); }
  EXPECT_THAT(c.lines, ElementsAre(HasSubstr("completed state_save took ")));
  EXPECT_EQ(c.log.timings().summaries().size(), 1u);
}

TEST(Log, RotatesItsFile) {
  const auto folder = std::filesystem::temp_directory_path() / ("lanrage_log_test_" + std::to_string(getpid()));
  std::filesystem::create_directory(folder);
  LogOptions options;
  options.file = (folder / "node.log").string();
  options.file_bytes_max = 2000;
  options.files_max = 2;
  {
    auto log = Log::open(options);
    ASSERT_TRUE(log);
    Logger logger(**log, "test");
    for (int i = 0; i < 200; ++i) logger.info("a line of some length", {{"i", i}});
  }
  EXPECT_TRUE(std::filesystem::exists(folder / "node.1.log"));
  EXPECT_FALSE(std::filesystem::exists(folder / "node.3.log"));
  EXPECT_LE(std::filesystem::file_size(folder / "node.log"), 2000u);
  std::filesystem::remove_all(folder);
  options.file = "/dev/null/x.log";
  EXPECT_FALSE(Log::open(options));
}

}  // namespace
}  // namespace lanrage
