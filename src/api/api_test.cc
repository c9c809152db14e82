#include "api/api.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <grp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <future>

#include "base/format.h"

namespace lanrage::api {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;
using wire::Json;

constexpr auto kPatience = std::chrono::seconds(20);

// What a server answers to these bytes, until it closes.
std::string exchange(int fd, const sockaddr* address, socklen_t size, const std::string& request) {
  std::string answer;
  const timeval patience{20, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  if (::connect(fd, address, size) != 0) {
    answer = "not connected";
  } else if (::write(fd, request.data(), request.size()) == static_cast<ssize_t>(request.size())) {
    char buffer[4096];
    for (ssize_t count; (count = ::read(fd, buffer, sizeof buffer)) > 0;)
      answer.append(buffer, static_cast<std::size_t>(count));
  }
  ::close(fd);
  return answer;
}

std::string request_text(const std::string& method, const std::string& target, const std::string& headers,
                         const std::string& body) {
  return format("{} {} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n{}\r\n{}", method, target, body.size(),
                headers, body);
}

class ApiTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = "/tmp/lanrage-api-test-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    std::vector<Route> routes = {
        {"GET", "/api/status", "how the node is", false,
         [](Request, Respond respond) {
           respond(Json::object({{"state", "idle"}}));
         }},
        {"GET",
         "/api/log",
         "lines",
         false,
         [](Request request, Respond respond) {
           respond(Json::object({{"lines", request.parameter("lines")}}));
         },
         {{"lines", Field::kInteger, false, "how many"}}},
        {"POST", "/api/echo", "what was sent", false, [](Request request, Respond respond) { respond(request.body); }},
        {"POST",
         "/api/kick",
         "remove a player",
         false,
         [](Request request, Respond respond) { respond(request.body); },
         {{"name", Field::kText, true, "whom"},
          {"days", Field::kInteger, false, "how long"},
          {"loud", Field::kFlag, false, "or not"}}},
        {"POST", "/api/party/join", "join a party", true,
         [](Request, Respond respond) {
           respond(Json::object({{"joined", true}}));
         }},
        {"DELETE", "/api/invites/{id}", "revoke an invite", false,
         [](Request request, Respond respond) {
           respond(Error{Code::kNotFound, "there is no invite " + request.parameter("id"), "list them"});
         }},
    };
    routes_ = std::move(routes);
    restart(std::nullopt);
  }

  void restart(std::optional<gid_t> group) {
    api_.reset();
    Options chosen = options();
    chosen.group = group;
    auto started = Api::start(std::move(chosen), routes_, rng_, log_);
    ASSERT_TRUE(started) << started.error().message;
    api_ = std::move(*started);
  }

  // What status answers to another user who is in these groups.
  std::string as_nobody(std::vector<gid_t> groups) const {
    int pipe_ends[2];
    if (::pipe(pipe_ends) != 0) return "no pipe";
    const pid_t child = ::fork();
    if (child == 0) {
      constexpr uid_t kNobody = 65534;
      const bool became =
          ::setgroups(groups.size(), groups.data()) == 0 && ::setgid(kNobody) == 0 && ::setuid(kNobody) == 0;
      const std::string answer = became ? over_unix("GET", "/api/status") : "still root";
      ::_exit(::write(pipe_ends[1], answer.data(), answer.size()) < 0 ? 1 : 0);
    }
    ::close(pipe_ends[1]);
    std::string answer(4096, '\0');
    const ssize_t count = ::read(pipe_ends[0], answer.data(), answer.size());
    ::close(pipe_ends[0]);
    ::waitpid(child, nullptr, 0);
    answer.resize(static_cast<std::size_t>(std::max<ssize_t>(count, 0)));
    return answer;
  }

  void TearDown() override {
    api_.reset();
    std::filesystem::remove_all(folder_);
  }

  Options options() const {
    Options options;
    options.socket = folder_ + "/socket";
    options.page = Endpoint{IpAddress::v4(127, 0, 0, 1), 0};
    options.post = [](std::function<void()> task) { task(); };
    options.metrics = [] { return std::string("lanrage_peers 0\n"); };
    return options;
  }

  std::string over_unix(const std::string& method, const std::string& target, const std::string& body = {}) const {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    (folder_ + "/socket").copy(address.sun_path, sizeof address.sun_path - 1);
    return exchange(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), reinterpret_cast<const sockaddr*>(&address),
                    sizeof address, request_text(method, target, "Host: lanrage\r\n", body));
  }

  std::string over_tcp(const std::string& method, const std::string& target, const std::string& headers) const {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(api_->page_endpoint().port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return exchange(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), reinterpret_cast<const sockaddr*>(&address),
                    sizeof address, request_text(method, target, headers, {}));
  }

  std::string own_host() const { return format("Host: {}\r\n", api_->page_endpoint().text()); }

  // The cookie that the page's link gives once, as a header.
  std::string cookie() const {
    const std::string answer = over_tcp("GET", code_target(), own_host());
    const std::size_t begin = answer.find("lanrage=");
    return begin == std::string::npos ? ""
                                      : "Cookie: " + answer.substr(begin, answer.find(';', begin) - begin) + "\r\n";
  }

  std::string code_target() const {
    const std::string link = api_->page_link();
    return link.substr(link.find("/?code="));
  }

  std::string folder_;
  std::vector<Route> routes_;
  SeededRng rng_{7};
  Logger log_ = silent_logger();
  std::unique_ptr<Api> api_;
};

TEST_F(ApiTest, AnswersTheNodesOwnUserOnTheSocket) {
  EXPECT_THAT(over_unix("GET", "/api/status"), testing::AllOf(StartsWith("HTTP/1.1 200"), HasSubstr("\"idle\"")));
  EXPECT_THAT(over_unix("GET", "/metrics"), HasSubstr("lanrage_peers 0"));
  struct stat socket_file {};
  ASSERT_EQ(::stat((folder_ + "/socket").c_str(), &socket_file), 0);
  EXPECT_EQ(socket_file.st_mode & 0777, 0600u);
}

TEST_F(ApiTest, RefusesAnotherUserEvenWhenTheSocketsModeLetsHimConnect) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can become another user";
  ASSERT_EQ(::chmod(folder_.c_str(), 0711), 0);
  ASSERT_EQ(::chmod((folder_ + "/socket").c_str(), 0666), 0);
  EXPECT_THAT(as_nobody({}),
              testing::AllOf(StartsWith("HTTP/1.1 403"), HasSubstr("another user"), Not(HasSubstr("idle"))));
}

TEST_F(ApiTest, AnswersMembersOfTheGroupAndNobodyElse) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can become another user";
  constexpr gid_t kPlayers = 4242;
  restart(kPlayers);
  ASSERT_EQ(::chmod(folder_.c_str(), 0711), 0);
  struct stat socket_file {};
  ASSERT_EQ(::stat((folder_ + "/socket").c_str(), &socket_file), 0);
  EXPECT_EQ(socket_file.st_mode & 0777, 0660u);
  EXPECT_EQ(socket_file.st_gid, kPlayers);
  EXPECT_THAT(as_nobody({kPlayers}), testing::AllOf(StartsWith("HTTP/1.1 200"), HasSubstr("idle")));
  EXPECT_EQ(as_nobody({}), "not connected");
  ASSERT_EQ(::chmod((folder_ + "/socket").c_str(), 0666), 0);
  EXPECT_THAT(as_nobody({kPlayers + 1}), StartsWith("HTTP/1.1 403"));
}

TEST_F(ApiTest, RefusesATcpCallerWithoutTheCookie) {
  EXPECT_THAT(over_tcp("GET", "/api/status", own_host()), StartsWith("HTTP/1.1 403"));
  EXPECT_THAT(over_tcp("GET", "/", own_host()), StartsWith("HTTP/1.1 403"));
  EXPECT_THAT(over_tcp("GET", "/metrics", own_host()), StartsWith("HTTP/1.1 403"));
  EXPECT_THAT(over_tcp("GET", "/api/openapi.json", own_host()), StartsWith("HTTP/1.1 403"));
  EXPECT_THAT(over_tcp("GET", "/api/status", own_host() + "Cookie: lanrage=\r\n"), StartsWith("HTTP/1.1 403"));
  EXPECT_THAT(over_tcp("GET", "/api/status", own_host() + "Cookie: lanrage=guess\r\n"), StartsWith("HTTP/1.1 403"));
}

TEST_F(ApiTest, OpensThePageOnceForACode) {
  const std::string target = code_target();
  const std::string first = over_tcp("GET", target, own_host());
  EXPECT_THAT(first, testing::AllOf(StartsWith("HTTP/1.1 303"), HasSubstr("HttpOnly"), HasSubstr("SameSite=Strict")));
  EXPECT_THAT(over_tcp("GET", target, own_host()), StartsWith("HTTP/1.1 403"));
  EXPECT_THAT(over_tcp("GET", "/?code=guess", own_host()), StartsWith("HTTP/1.1 403"));
}

TEST_F(ApiTest, AnswersTheHolderOfTheCookie) {
  const std::string holder = own_host() + cookie();
  EXPECT_THAT(over_tcp("GET", "/api/status", holder), testing::AllOf(StartsWith("HTTP/1.1 200"), HasSubstr("idle")));
  EXPECT_THAT(over_tcp("GET", "/", holder),
              testing::AllOf(StartsWith("HTTP/1.1 200"), HasSubstr("Content-Security-Policy")));
  EXPECT_THAT(over_tcp("GET", "/api/status", format("Host: localhost:{}\r\n", api_->page_endpoint().port) + cookie()),
              StartsWith("HTTP/1.1 200"));
}

TEST_F(ApiTest, RefusesOtherHostsAndOriginsEvenWithTheCookie) {
  const std::string proof = cookie();
  EXPECT_THAT(over_tcp("GET", "/api/status", "Host: evil.example\r\n" + proof), StartsWith("HTTP/1.1 403"));
  EXPECT_THAT(over_tcp("GET", "/api/status", own_host() + "Origin: http://evil.example\r\n" + proof),
              StartsWith("HTTP/1.1 403"));
  EXPECT_THAT(over_tcp("GET", "/api/status", own_host() + "Origin: null\r\n" + proof), StartsWith("HTTP/1.1 403"));
  const std::string own_origin = format("Origin: http://{}\r\n", api_->page_endpoint().text());
  EXPECT_THAT(over_tcp("GET", "/api/status", own_host() + own_origin + proof), StartsWith("HTTP/1.1 200"));
}

TEST_F(ApiTest, SpendsACodeOnlyUnderItsOwnHost) {
  const std::string target = code_target();
  EXPECT_THAT(over_tcp("GET", target, "Host: evil.example\r\n"), StartsWith("HTTP/1.1 403"));
  EXPECT_THAT(over_tcp("GET", target, own_host()), StartsWith("HTTP/1.1 303"));
}

TEST_F(ApiTest, KeepsSecretRoutesToTheSocket) {
  const std::string holder = own_host() + cookie();
  EXPECT_THAT(over_tcp("POST", "/api/party/join", holder), StartsWith("HTTP/1.1 403"));
  EXPECT_THAT(over_unix("POST", "/api/party/join"), testing::AllOf(StartsWith("HTTP/1.1 200"), HasSubstr("joined")));
}

TEST_F(ApiTest, GivesErrorsTheirCodeMessageHintAndStatus) {
  EXPECT_THAT(over_unix("DELETE", "/api/invites/abc"),
              testing::AllOf(StartsWith("HTTP/1.1 404"), HasSubstr("\"code\":\"not_found\""),
                             HasSubstr("there is no invite abc"), HasSubstr("\"hint\":\"list them\"")));
  EXPECT_THAT(over_unix("GET", "/api/nothing"), StartsWith("HTTP/1.1 404"));
  EXPECT_THAT(over_unix("PUT", "/api/status"), StartsWith("HTTP/1.1 405"));
  EXPECT_THAT(over_unix("POST", "/api/echo", "{\"a\":"), StartsWith("HTTP/1.1 400"));
  EXPECT_THAT(over_unix("POST", "/api/echo", "[1]"), StartsWith("HTTP/1.1 400"));
  EXPECT_THAT(over_unix("POST", "/api/echo", "{\"a\":1}"), HasSubstr("{\"a\":1}"));
}

TEST_F(ApiTest, DescribesEveryRoute) {
  const std::string answer = over_unix("GET", "/api/openapi.json");
  for (const char* path : {"/api/status", "/api/echo", "/api/party/join", "/api/invites/{id}"})
    EXPECT_THAT(answer, HasSubstr(path));
}

TEST_F(ApiTest, NamesTheFieldThatIsNotAsDescribed) {
  const auto refused = [this](const char* method, const char* target, const char* body, const char* field) {
    EXPECT_THAT(over_unix(method, target, body),
                testing::AllOf(StartsWith("HTTP/1.1 400"), HasSubstr(format("\\\"{}\\\"", field))))
        << target << " " << body;
  };
  for (const char* lines : {"abc", "-1", "5x", "1.5", "99999999999999999999"})
    refused("GET", format("/api/log?lines={}", lines).c_str(), "", "lines");
  EXPECT_THAT(over_unix("GET", "/api/log?lines=5"), HasSubstr("\"lines\":\"5\""));
  EXPECT_THAT(over_unix("GET", "/api/log"), StartsWith("HTTP/1.1 200"));
  refused("POST", "/api/kick", "", "name");
  refused("POST", "/api/kick", R"({"name":null})", "name");
  refused("POST", "/api/kick", R"({"name":7})", "name");
  refused("POST", "/api/kick", R"({"name":"bob","days":"7"})", "days");
  refused("POST", "/api/kick", R"({"name":"bob","days":1.5})", "days");
  refused("POST", "/api/kick", R"({"name":"bob","loud":1})", "loud");
  EXPECT_THAT(over_unix("POST", "/api/kick", R"({"name":"bob","days":null,"loud":true,"newer":[]})"),
              StartsWith("HTTP/1.1 200"));
}

TEST_F(ApiTest, DescribesWhatEachRouteTakes) {
  const Json whole = describe(routes_);
  const auto at = [&whole](std::initializer_list<const char*> keys) -> std::string {
    const Json* found = &whole;
    for (const char* key : keys) {
      found = found->find(key);
      if (found == nullptr) return format("no {}", key);
    }
    return found->text();
  };
  EXPECT_EQ(at({"paths", "/api/invites/{id}", "delete", "parameters"}),
            R"([{"name":"id","in":"path","required":true,"schema":{"type":"string"}}])");
  EXPECT_EQ(at({"paths", "/api/log", "get", "parameters"}),
            R"([{"name":"lines","in":"query","required":false,"schema":{"type":"integer","description":"how many"}}])");
  EXPECT_EQ(at({"paths", "/api/kick", "post", "requestBody", "content", "application/json", "schema", "required"}),
            R"(["name"])");
  EXPECT_EQ(at({"paths", "/api/kick", "post", "requestBody", "content", "application/json", "schema", "properties",
                "loud", "type"}),
            R"("boolean")");
  EXPECT_EQ(at({"paths", "/api/status", "get", "parameters"}), "no parameters");
}

TEST_F(ApiTest, AsksForAnUpgradeWhereEventsAre) {
  EXPECT_THAT(over_unix("GET", "/api/events"),
              testing::AllOf(StartsWith("HTTP/1.1 426"), HasSubstr("Upgrade: websocket")));
}

TEST_F(ApiTest, SendsEventsToWhoeverListens) {
  std::promise<void> opened;
  std::promise<std::string> heard;
  net::WebSocketClient::Handlers handlers;
  handlers.on_open = [&opened] { opened.set_value(); };
  handlers.on_text = [&heard](std::string text) { heard.set_value(std::move(text)); };
  const auto client =
      net::WebSocketClient::open(net::UnixTarget{folder_ + "/socket"}, "/api/events", {}, {}, handlers, log_);
  ASSERT_EQ(opened.get_future().wait_for(kPatience), std::future_status::ready);
  api_->publish(Json::object({{"event", "status"}}));
  auto text = heard.get_future();
  ASSERT_EQ(text.wait_for(kPatience), std::future_status::ready);
  EXPECT_EQ(text.get(), "{\"event\":\"status\"}");
}

TEST_F(ApiTest, RefusesEventsToAPageWithoutTheCookie) {
  std::promise<int> refused;
  net::WebSocketClient::Handlers handlers;
  handlers.on_close = [&refused](const Error&, const std::optional<net::HttpResponse>& answer) {
    refused.set_value(answer ? answer->status : 0);
  };
  const auto client =
      net::WebSocketClient::open(net::TcpTarget{api_->page_endpoint()}, "/api/events", {}, {}, handlers, log_);
  auto status = refused.get_future();
  ASSERT_EQ(status.wait_for(kPatience), std::future_status::ready);
  EXPECT_EQ(status.get(), 403);
}

TEST_F(ApiTest, ASecondNodeIsToldThatTheSocketIsServed) {
  auto second = Api::start(options(), {}, rng_, log_);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::kConflict);
}

TEST(MatchPath, TakesParametersFromWholeSegments) {
  EXPECT_EQ(match_path("/api/invites/{id}", "/api/invites/x1")->at("id"), "x1");
  EXPECT_FALSE(match_path("/api/invites/{id}", "/api/invites/"));
  EXPECT_FALSE(match_path("/api/invites/{id}", "/api/invites/a/b"));
  EXPECT_FALSE(match_path("/api/status", "/api/status2"));
}

}  // namespace
}  // namespace lanrage::api
