#include "daemon/process.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

namespace lanrage::daemon {
namespace {

TEST(FolderLock, TellsASecondHolderWhoHasIt) {
  const auto folder = std::filesystem::temp_directory_path() / ("lanrage_process_test_" + std::to_string(getpid()));
  std::filesystem::create_directory(folder);
  {
    auto first = FolderLock::take(folder.string());
    ASSERT_TRUE(first);
    auto second = FolderLock::take(folder.string());
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, Code::kConflict);
    EXPECT_THAT(second.error().message, testing::HasSubstr(std::to_string(getpid())));
  }
  EXPECT_TRUE(FolderLock::take(folder.string()));
  std::filesystem::remove_all(folder);
}

TEST(Background, ChildHoldsNothingThatTheParentHadOpen) {
  int pipe_fds[2];
  ASSERT_EQ(::pipe(pipe_fds), 0);
  Readiness readiness;
  auto result = fork_into_background(readiness);
  if (result.has_value() && *result) {
    readiness.ready();
    ::sleep(60);  // until the test has seen that the pipe is closed
    _exit(0);
  }
  ASSERT_TRUE(result);
  ::close(pipe_fds[1]);
  char byte = 0;
  EXPECT_EQ(::read(pipe_fds[0], &byte, 1), 0) << "the child still holds the other end";
  ::close(pipe_fds[0]);
}

TEST(DescriptorLimit, IsRaisedAsFarAsAllowedAndRefusedWhereTooLow) {
  const auto code_with = [](rlim_t soft, rlim_t hard) {
    const pid_t child = ::fork();
    if (child == 0) {
      rlimit limit{soft, hard};
      if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) _exit(90);
      const auto raised = raise_descriptor_limit();
      ::getrlimit(RLIMIT_NOFILE, &limit);
      _exit(!raised ? 1 : limit.rlim_cur == hard ? 2 : 3);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return WEXITSTATUS(status);
  };
  EXPECT_EQ(code_with(64, 64), 1);
  EXPECT_EQ(code_with(64, 1000), 2);
}

// The child must not run gtest's exit: it leaves by _exit.
TEST(Background, ParentLearnsThatTheChildIsReadyOrWhyNot) {
  {
    Readiness readiness;
    auto result = fork_into_background(readiness);
    if (result.has_value() && *result) {
      readiness.ready();
      _exit(0);
    }
    ASSERT_TRUE(result);
  }
  {
    Readiness readiness;
    auto result = fork_into_background(readiness);
    if (result.has_value() && *result) {
      readiness.failed({Code::kRefused, "no", "do this"});
      _exit(1);
    }
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, Code::kRefused);
    EXPECT_EQ(result.error().message, "no");
    EXPECT_EQ(result.error().hint, "do this");
  }
  {
    Readiness readiness;
    auto result = fork_into_background(readiness);
    if (result.has_value() && *result) _exit(1);
    ASSERT_FALSE(result);
    EXPECT_THAT(result.error().hint, testing::HasSubstr("--foreground"));
  }
}

}  // namespace
}  // namespace lanrage::daemon
