// The real socket in /var/run/wireguard, under a name of this process.
#include "dataplane/uapi_server.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cstring>

#include "base/format.h"
#include "net/clock.h"

namespace lanrage::dataplane {
namespace {

struct UapiServerTest : testing::Test {
  const std::string name = format("lrt{}", ::getpid());
  const std::string path = format("{}/{}.sock", UapiServer::kFolder, name);
  std::optional<net::Poller> poller;
  std::unique_ptr<UapiServer> server;
  std::vector<std::string> asked;

  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    auto made = net::Poller::create();
    ASSERT_TRUE(made);
    poller.emplace(std::move(*made));
    auto opened = open();
    ASSERT_TRUE(opened) << opened.error().message;
    server = std::move(*opened);
  }
  Result<std::unique_ptr<UapiServer>> open() {
    return UapiServer::open(name, *poller, [this](std::string_view request) {
      asked.emplace_back(request);
      return std::string(answer_bytes, 'x') + "\n\n";
    });
  }
  net::Fd connect() const {
    net::Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) fd.reset();
    return fd;
  }
  // Until nothing happens for a while.
  void run() {
    for (;;) {
      const Time now = net::now().time;
      const auto ready = poller->wait(now, now + std::chrono::milliseconds(20));
      if (ready.empty()) return;
      for (const net::Ready& one : ready) server->handle_ready(one);
    }
  }
  static void say(const net::Fd& fd, std::string_view text) {
    ASSERT_EQ(::send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
  }
  static std::size_t read_some(const net::Fd& fd) {
    char buffer[65536];
    const ssize_t count = ::recv(fd.get(), buffer, sizeof buffer, MSG_DONTWAIT);
    return count < 0 ? 0 : static_cast<std::size_t>(count);
  }

  std::size_t answer_bytes = 10;
};

TEST_F(UapiServerTest, AnswersWholeRequestsHoweverTheyArrive) {
  const net::Fd client = connect();
  ASSERT_TRUE(client.is_open());
  say(client, "get=1");
  run();
  EXPECT_TRUE(asked.empty());
  say(client, "\n\nset=1\n\nget");
  run();
  EXPECT_EQ(asked, (std::vector<std::string>{"get=1\n\n", "set=1\n\n"}));
  EXPECT_EQ(read_some(client), 24u);
}

TEST_F(UapiServerTest, LongAnswersWaitForASlowReader) {
  answer_bytes = 3 << 20;
  const net::Fd client = connect();
  say(client, "get=1\n\n");
  run();
  std::size_t total = 0;
  for (int i = 0; i < 1000 && total < answer_bytes + 2; ++i) {
    total += read_some(client);
    run();
  }
  EXPECT_EQ(total, answer_bytes + 2);
}

TEST_F(UapiServerTest, IsForItsOwnerAloneAndGoesWithTheServer) {
  struct stat info {};
  ASSERT_EQ(::stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
  EXPECT_TRUE(server->is_reachable());
  server.reset();
  EXPECT_NE(::stat(path.c_str(), &info), 0);
}

TEST_F(UapiServerTest, TakenNameIsAConflictAndADeadSocketIsReplaced) {
  const auto second = open();
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::kConflict);
  server.reset();
  {
    const net::Fd dead(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    ASSERT_EQ(::bind(dead.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  auto third = open();
  ASSERT_TRUE(third);
  server = std::move(*third);
  EXPECT_TRUE(connect().is_open());
}

TEST_F(UapiServerTest, NoticesThatItsSocketWasRemoved) {
  ::unlink(path.c_str());
  EXPECT_FALSE(server->is_reachable());
}

TEST_F(UapiServerTest, TooManyClientsPushOutTheOldest) {
  std::vector<net::Fd> clients;
  for (std::size_t i = 0; i <= UapiServer::kClientsMax; ++i) {
    clients.push_back(connect());
    run();
  }
  char byte = 0;
  EXPECT_EQ(::recv(clients[0].get(), &byte, 1, MSG_DONTWAIT), 0);
  say(clients.back(), "get=1\n\n");
  run();
  EXPECT_EQ(asked.size(), 1u);
}

}  // namespace
}  // namespace lanrage::dataplane
