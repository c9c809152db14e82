#include "daemon/state_files.h"

#include <gtest/gtest.h>

namespace lanrage::daemon {
namespace {

using namespace std::chrono_literals;
using Class = StateFiles::Class;

class StateFilesTest : public testing::Test {
 protected:
  Time now{1h};
  std::map<std::string, std::string> wanted, disk;
  bool is_full = false;
  std::string stuck;              // a file that the disk refuses
  bool fails_afterwards = false;  // it says so when the file is replaced already
  int writes = 0;
  StateFiles files{100ms,
                   {.content = [this](const std::string& file) { return wanted[file]; },
                    .write = [this](const std::string& file, std::string_view content) -> Result<void> {
                      if (is_full || file == stuck) return Error{Code::kIo, "the disk is full", ""};
                      ++writes;
                      disk[file] = content;
                      if (fails_afterwards) return Error{Code::kIo, "the folder cannot be synced", ""};
                      return {};
                    }}};

  void change(const std::string& file, const std::string& content, Class kind) {
    wanted[file] = content;
    files.request(now, file, kind);
  }
  void run_until(Time until) {
    while (files.due() <= until) {
      now = std::max(now, files.due());
      files.save(now);
    }
    now = until;
  }
};

TEST_F(StateFilesTest, WhatSomebodyIsAnsweredIsWrittenAtOnceAndSoftStateInAWindow) {
  change("party", "one", Class::kAnswered);
  EXPECT_EQ(files.due(), now);
  EXPECT_TRUE(files.holds_answers());
  files.save(now);
  EXPECT_FALSE(files.holds_answers());
  EXPECT_EQ(disk["party"], "one");
  for (int i = 0; i < 10; ++i) {
    change("timestamp", std::to_string(i), Class::kAtOnce);
    EXPECT_EQ(files.due(), now);
    files.save(now);
  }
  change("contacts", "a", Class::kSoft);
  EXPECT_EQ(files.due(), now + 100ms);
  EXPECT_FALSE(files.holds_answers());
  run_until(now + 100ms);
  EXPECT_EQ(disk["contacts"], "a");
  EXPECT_EQ(files.due(), kNever);
}

TEST_F(StateFilesTest, OneKeyChangedAHundredTimesInAWindowIsWrittenOnceWithItsLastValue) {
  for (int i = 0; i < 100; ++i) {
    change("contacts", std::to_string(i), Class::kSoft);
    run_until(now + 500us);
  }
  run_until(now + 100ms);
  EXPECT_EQ(writes, 1);
  EXPECT_EQ(disk["contacts"], "99");
  EXPECT_EQ(files.stats().requests, 100u);
  EXPECT_EQ(files.stats().merged, 99u);
}

TEST_F(StateFilesTest, ManyAnswersShareAWriteAndNoneWaitsLongerThanAWindow) {
  for (int i = 0; i < 1000; ++i) {
    change("party", std::to_string(i), Class::kAnswered);
    EXPECT_LE(files.due(), now + 100ms);
    run_until(now + 2ms);
  }
  run_until(now + 100ms);
  EXPECT_EQ(disk["party"], "999");
  EXPECT_LE(writes, 20 + store::CommitWindow::kAtOnce + 1);
}

TEST_F(StateFilesTest, WritesNothingThatIsOnDiskAlready) {
  files.found("party", "same");
  change("party", "same", Class::kAnswered);
  run_until(now + 1s);
  change("party", "other", Class::kAnswered);
  change("party", "same", Class::kAnswered);
  run_until(now + 1s);
  EXPECT_EQ(writes, 0);
  EXPECT_EQ(files.stats().unchanged, 2u);
}

TEST_F(StateFilesTest, KeepsWhatTheDiskRefusesAndHoldsNoAnswersForIt) {
  is_full = true;
  change("party", "one", Class::kAnswered);
  run_until(now + 1s);
  EXPECT_EQ(files.problem(), "the disk is full");
  EXPECT_FALSE(files.holds_answers());
  change("party", "two", Class::kAnswered);
  EXPECT_FALSE(files.holds_answers());
  is_full = false;
  run_until(now + 100ms);
  EXPECT_EQ(files.problem(), "");
  EXPECT_EQ(disk["party"], "two");
}

TEST_F(StateFilesTest, AFileThatTheDiskRefusesHoldsUpNoOther) {
  stuck = "quality";
  change("quality", "a", Class::kSoft);
  run_until(now + 1s);
  EXPECT_EQ(files.problem(), "the disk is full");
  change("party", "one", Class::kAnswered);
  EXPECT_TRUE(files.holds_answers());
  EXPECT_EQ(files.due(), now);
  files.save(now);
  EXPECT_FALSE(files.holds_answers());
  EXPECT_EQ(disk["party"], "one");
}

TEST_F(StateFilesTest, TrustsNoFileWhoseWritingFailed) {
  fails_afterwards = true;
  change("party", "one", Class::kAnswered);
  files.save(now);
  fails_afterwards = false;
  change("party", "", Class::kAnswered);
  run_until(now + 1s);
  EXPECT_EQ(disk["party"], "");
}

}  // namespace
}  // namespace lanrage::daemon
