#include "net/http.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "net/address.h"
#include "net/fd.h"
#include "net/test_mailbox.h"

namespace lanrage::net {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

const TlsIdentity& identity() {
  static const TlsIdentity made = *TlsIdentity::generate();
  return made;
}
const Endpoint kLoopback{IpAddress::v4(127, 0, 0, 1), 0};

HttpResponse echo(const HttpRequest& request) {
  return {.status = 200, .headers = {{"X-Path", std::string(request.path())}}, .body = request.body};
}

struct TestServer {
  TestMailbox<std::shared_ptr<const HttpPeer>> peers;
  std::unique_ptr<HttpServer> server;
  Endpoint endpoint;

  explicit TestServer(bool tls = true, HttpLimits limits = {}, HttpServer::Handlers handlers = {}) {
    if (!handlers.on_request)
      handlers.on_request = [this](HttpRequest request, HttpResponder respond) {
        peers.put(std::make_shared<const HttpPeer>(request.peer));
        respond(echo(request));
      };
    server = HttpServer::create({.limits = limits, .tls = identity(), .loop = nullptr}, handlers, silent_logger());
    endpoint = *server->listen(TcpListener{kLoopback, tls});
  }
  HttpTarget target() const { return TlsTarget{{{"127.0.0.1", endpoint.port}}, identity().spki_hash()}; }
};

std::unique_ptr<HttpClient> client_of(HttpTarget target, HttpClient::Options options = {}) {
  return HttpClient::create(std::move(target), std::move(options), silent_logger());
}

HttpRequest post(std::string target, std::string body) {
  HttpRequest request;
  request.method = "POST";
  request.target = std::move(target);
  request.body = std::move(body);
  return request;
}

int segment_bytes_of(int fd) {
  int bytes = 0;
  socklen_t size = sizeof bytes;
  EXPECT_EQ(::getsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &bytes, &size), 0);
  return bytes;
}

// Bytes as they are, to see what a server does with clients that ours never is.
class RawClient {
 public:
  explicit RawClient(const Endpoint& endpoint) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_storage address{};
    const socklen_t size = to_sockaddr(endpoint, address);
    EXPECT_EQ(::connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    timeval timeout{.tv_sec = 20, .tv_usec = 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
  }
  int segment_bytes() const { return segment_bytes_of(fd_.get()); }
  void send(std::string_view text) { (void)!::send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL); }
  std::string read_all() {  // until the other side closes
    std::string out;
    char buffer[4096];
    for (ssize_t n = 0; (n = ::recv(fd_.get(), buffer, sizeof buffer, 0)) > 0;)
      out.append(buffer, static_cast<std::size_t>(n));
    return out;
  }

 private:
  Fd fd_;
};

TEST(HttpRequest, SplitsItsTarget) {
  HttpRequest request;
  request.target = "/v1/events?party=ab%20c&from=7&flag";
  EXPECT_EQ(request.path(), "/v1/events");
  EXPECT_EQ(request.query("party"), "ab c");
  EXPECT_EQ(request.query("from"), "7");
  EXPECT_EQ(request.query("flag"), "");
  EXPECT_EQ(request.query("none"), "");
}

TEST(Http, AnswersOverTlsOnOneConnectionThatBothEndsNameAlike) {
  TestServer server;
  auto client = client_of(server.target());
  const auto first = client->call(post("/a?b=c", "hello"), kTestPatience);
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_EQ(first->status, 200);
  EXPECT_EQ(first->body, "hello");
  EXPECT_EQ(first->header("x-path"), "/a");
  const auto second = client->call(post("/d", ""), kTestPatience);
  ASSERT_TRUE(second);
  EXPECT_EQ(first->connection, second->connection);
  const HttpPeer peer = **server.peers.take();
  EXPECT_TRUE(peer.tls);
  EXPECT_EQ(peer.exporter, first->exporter);
  EXPECT_NE(peer.exporter, TlsExporter{});
  EXPECT_TRUE(peer.remote.address.is_loopback());
  EXPECT_EQ(peer.connection, (*server.peers.take())->connection);
}

TEST(Http, ExportersDifferBetweenConnections) {
  TestServer server;
  EXPECT_NE(client_of(server.target())->call(post("/", ""), kTestPatience)->exporter,
            client_of(server.target())->call(post("/", ""), kTestPatience)->exporter);
}

TEST(Http, RefusesAServerWithAnotherKeyBeforeSayingAnything) {
  TestServer server;
  SpkiHash wrong = identity().spki_hash();
  wrong[0] ^= 1;
  const auto answer =
      client_of(TlsTarget{{{"127.0.0.1", server.endpoint.port}}, wrong})->call(post("/", "secret"), kTestPatience);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Code::kRefused);
  EXPECT_EQ(server.server->stats().requests, 0u);
}

TEST(Http, TriesEveryAddressUntilOneAnswers) {
  TestServer server;
  TlsTarget target{{{"127.0.0.1", 1}, {"::1", server.endpoint.port}, {"localhost", server.endpoint.port}},
                   identity().spki_hash()};
  EXPECT_TRUE(client_of(target)->call(post("/", ""), kTestPatience));
  target.addresses = {{"127.0.0.1", 1}, {"::1", 1}};
  const auto none = client_of(target)->call(post("/", ""), kTestPatience);
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, Code::kUnavailable);
}

TEST(Http, TriesTheLastPortWhereTheNamedOneIsNotReached) {
  TestServer server;
  const TlsTarget target{{{"127.0.0.1", 1}, {"localhost", 2}}, identity().spki_hash(), server.endpoint.port};
  EXPECT_TRUE(client_of(target)->call(post("/", ""), kTestPatience));
}

TEST(Http, TriesTheLastPortOfAnAddressBeforeTheNextAddress) {
  TestServer first, second;
  TestServer silent(false);  // takes connections and never speaks TLS
  const TlsTarget target{{{"127.0.0.1", silent.endpoint.port}, {"127.0.0.1", second.endpoint.port}},
                         identity().spki_hash(),
                         first.endpoint.port,
                         std::make_shared<std::optional<Endpoint>>()};
  EXPECT_TRUE(client_of(target)->call(post("/", ""), kTestPatience));
  EXPECT_EQ(*target.found, first.endpoint);
}

TEST(Http, TakesAnotherServerAtTheLastPortForNone) {
  TestServer other;
  SpkiHash wrong = identity().spki_hash();
  wrong[0] ^= 1;
  const TlsTarget target{{{"127.0.0.1", 1}}, wrong, other.endpoint.port};
  const auto answer = client_of(target)->call(post("/", "secret"), kTestPatience);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Code::kUnavailable) << answer.error().message;
  EXPECT_EQ(other.server->stats().requests, 0u);
}

TEST(Http, TriesFirstWhereTheKeyWasShownLast) {
  TestServer server;
  TlsTarget target{
      {{"127.0.0.1", 1}}, identity().spki_hash(), server.endpoint.port, std::make_shared<std::optional<Endpoint>>()};
  EXPECT_TRUE(client_of(target)->call(post("/", ""), kTestPatience));
  EXPECT_EQ(*target.found, server.endpoint);
  target.last_port = 0;
  EXPECT_TRUE(client_of(target)->call(post("/", ""), kTestPatience)) << "nothing else leads there";
}

TEST(Http, ListensOnIpv6Alone) {
  TestServer server;
  auto bound = server.server->listen(TcpListener{{*IpAddress::parse("::1"), 0}, true});
  if (!bound) GTEST_SKIP() << "no IPv6 here";
  EXPECT_TRUE(client_of(TlsTarget{{{"::1", bound->port}}, identity().spki_hash()})->call(post("/", ""), kTestPatience));
}

// Routers may swallow longer packets without a word: each end keeps the other, and itself, from sending them.
TEST(Http, SendsPacketsThatEveryPathCarries) {
  TestServer server(false);
  EXPECT_LE(RawClient(server.endpoint).segment_bytes(), 1220);
  const Fd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_storage address{};
  socklen_t size = to_sockaddr(kLoopback, address);
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(::listen(listener.get(), 1), 0);
  ASSERT_EQ(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  auto client = client_of(
      TlsTarget{{{"127.0.0.1", ntohs(reinterpret_cast<sockaddr_in&>(address).sin_port)}}, identity().spki_hash()});
  client->request(post("/", ""), kTestPatience, [](Result<HttpResponse>) {});
  const Fd accepted(::accept(listener.get(), nullptr, nullptr));
  EXPECT_LE(segment_bytes_of(accepted.get()), 1220);
}

TEST(Http, SaysThatAPortIsInUse) {
  TestServer server;
  const auto again = server.server->listen(TcpListener{server.endpoint, true});
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, Code::kConflict);
  EXPECT_THAT(again.error().message, HasSubstr(server.endpoint.text()));
}

TEST(Http, UnixSocketsTellWhoCalls) {
  TestServer server;
  std::string folder = std::filesystem::temp_directory_path() / "lanrage-http-XXXXXX";
  ASSERT_TRUE(::mkdtemp(folder.data()));
  const std::string path = folder + "/socket";
  ASSERT_TRUE(server.server->listen(UnixListener{.path = path, .mode = 0660, .group = std::nullopt}));
  struct stat status {};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777u, 0660u);
  EXPECT_EQ(client_of(UnixTarget{path})->call(post("/", "x"), kTestPatience)->body, "x");
  const HttpPeer peer = **server.peers.take();
  ASSERT_TRUE(peer.credentials);
  EXPECT_EQ(peer.credentials->uid, ::getuid());
  EXPECT_EQ(peer.credentials->pid, ::getpid());
  EXPECT_EQ(server.server->listen(UnixListener{.path = path, .group = std::nullopt}).error().code, Code::kConflict);
  server.server.reset();
  EXPECT_NE(::access(path.c_str(), F_OK), 0) << "it takes its socket file along";

  // A socket file that nobody answers on is replaced.
  const Fd left(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(left.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  TestServer next;
  EXPECT_TRUE(next.server->listen(UnixListener{.path = path, .group = std::nullopt}));
  next.server.reset();
  std::filesystem::remove_all(folder);
}

TEST(Http, AnswersFromAnotherThreadAndOnlyOnce) {
  std::vector<std::thread> threads;
  TestServer server(true, {},
                    {.on_request =
                         [&](HttpRequest request, HttpResponder respond) {
                           threads.emplace_back([request, respond] {
                             respond(echo(request));
                             respond({.status = 500});
                           });
                         },
                     .on_upgrade = nullptr});
  auto client = client_of(server.target());
  for (int i = 0; i < 3; ++i) EXPECT_EQ(client->call(post("/", "x"), kTestPatience)->status, 200);
  for (auto& thread : threads) thread.join();
}

TEST(Http, AForgottenRequestIsAnsweredWith500) {
  TestServer server(true, {}, {.on_request = [](HttpRequest, HttpResponder) {}, .on_upgrade = nullptr});
  EXPECT_EQ(client_of(server.target())->call(post("/", ""), kTestPatience)->status, 500);
}

TEST(Http, HoldsTheLimitOfBodiesPerRoute) {
  HttpLimits limits;
  limits.body_bytes_max_for = [](std::string_view method, std::string_view target) -> std::size_t {
    return method == "POST" && target == "/large" ? 2'000'000 : 1000;
  };
  TestServer server(true, limits);
  auto client = client_of(server.target());
  const std::string large(1'900'000, 'x');
  EXPECT_EQ(client->call(post("/large", large), kTestPatience)->body.size(), large.size());
  EXPECT_EQ(client->call(post("/small", std::string(1000, 'x')), kTestPatience)->status, 200);
  const auto refused = client->call(post("/small", std::string(1001, 'x')), kTestPatience);
  ASSERT_TRUE(refused) << refused.error().message;
  EXPECT_EQ(refused->status, 413);
  EXPECT_THAT(refused->body, HasSubstr("\"error\""));
}

TEST(Http, RefusesChunksThatAddUpToTooMuch) {
  HttpLimits limits;
  limits.body_bytes_max = 100;
  TestServer server(false, limits);
  RawClient raw(server.endpoint);
  raw.send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n" + std::string(64, 'x') +
           "\r\n40\r\n" + std::string(64, 'x') + "\r\n0\r\n\r\n");
  EXPECT_THAT(raw.read_all(), HasSubstr("413"));
}

TEST(Http, AnswersBadInputCleanly) {
  TestServer server(false);
  const std::pair<std::string, const char*> cases[] = {
      {"GARBAGE\r\n\r\n", "400"},
      {"GET / HTTP/1.1\r\nX: " + std::string(20'000, 'a') + "\r\n\r\n", "431"},
      {"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", "413"},
      {"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "400"},
      {"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Key: "
       "dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
       "404"},
  };
  for (const auto& [input, status] : cases) {
    RawClient raw(server.endpoint);
    raw.send(input);
    EXPECT_THAT(raw.read_all(), HasSubstr(std::string("HTTP/1.1 ") + status)) << input.substr(0, 60);
  }
  RawClient plain_to_tls(TestServer().endpoint);
  plain_to_tls.send("GET / HTTP/1.1\r\n\r\n");
}

TEST(Http, EndsThoseWhoSendTooSlowlyOrNothing) {
  HttpLimits limits;
  limits.request_timeout = 300ms;
  limits.idle_timeout = 300ms;
  limits.handshake_timeout = 300ms;
  TestServer server(false, limits);
  RawClient slow(server.endpoint), silent(server.endpoint), body(server.endpoint);
  slow.send("GET / HTTP/1.1\r\nX-A: ");
  body.send("POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc");
  EXPECT_EQ(slow.read_all(), "");
  EXPECT_EQ(silent.read_all(), "");
  EXPECT_EQ(body.read_all(), "");
  TestServer tls(true, limits);
  EXPECT_EQ(RawClient(tls.endpoint).read_all(), "");
  EXPECT_GE(server.server->stats().timed_out, 3u);
}

TEST(Http, HoldsConnectionsPerAddressAndInAll) {
  HttpLimits limits;
  limits.connections_per_address_max = 3;
  TestServer server(false, limits);
  std::vector<std::unique_ptr<RawClient>> open;
  for (int i = 0; i < 3; ++i) open.push_back(std::make_unique<RawClient>(server.endpoint));
  EXPECT_EQ(RawClient(server.endpoint).read_all(), "");
  open[0]->send("GET / HTTP/1.1\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(open[0]->read_all(), HasSubstr("200"));
  open.clear();
  EXPECT_EQ(server.server->stats().refused_address_cap, 1u);
  const auto answer = client_of(TcpTarget{server.endpoint})->call(post("/", "x"), kTestPatience);
  EXPECT_TRUE(answer || answer.error().code == Code::kUnavailable);
}

TEST(Http, TenThousandSilentConnectionsLeaveOthersServed) {
  HttpLimits limits;
  limits.connections_per_address_max = 64;
  TestServer server(true, limits);
  const auto local = server.server->listen(TcpListener{{IpAddress::v4(127, 0, 0, 2), 0}, true});
  ASSERT_TRUE(local);
  std::vector<Fd> sockets;
  sockaddr_storage address{};
  const socklen_t size = to_sockaddr(server.endpoint, address);
  for (int i = 0; i < 10'000; ++i) {
    Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    (void)!::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), size);
    sockets.push_back(std::move(fd));
    if (sockets.size() == 500) sockets.erase(sockets.begin(), sockets.begin() + 250);
  }
  sockets.clear();
  // The flood came from 127.0.0.1; from there the cap may still hold for a moment, so ask until it is served.
  Result<HttpResponse> answer = Error{};
  for (int i = 0; i < 100 && !answer; ++i) answer = client_of(server.target())->call(post("/", "x"), kTestPatience);
  EXPECT_TRUE(answer);
  EXPECT_LE(server.server->stats().connections_open, 65u);
}

TEST(Http, RepeatsARequestOnceWhenTheKeptConnectionWasClosed) {
  auto server = std::make_unique<TestServer>();
  const Endpoint endpoint = server->endpoint;
  auto client = client_of(server->target());
  const auto first = client->call(post("/", "1"), kTestPatience);
  ASSERT_TRUE(first);
  server.reset();
  auto second = HttpServer::create(
      {.limits = {}, .tls = identity(), .loop = nullptr},
      {.on_request = [](HttpRequest request, HttpResponder respond) { respond(echo(request)); }, .on_upgrade = nullptr},
      silent_logger());
  ASSERT_TRUE(second->listen(TcpListener{endpoint, true}));
  const auto again = client->call(post("/", "2"), kTestPatience);
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_NE(again->connection, first->connection);
}

TEST(Http, ARequestTiedToALostConnectionFails) {
  TestServer server;
  auto client = client_of(server.target());
  const auto first = client->call(post("/", ""), kTestPatience);
  TestMailbox<Result<HttpResponse>> answers;
  client->request(
      post("/", ""), kTestPatience, [&](auto answer) { answers.put(std::move(answer)); }, first->connection);
  EXPECT_TRUE(*answers.take());
  client->request(
      post("/", ""), kTestPatience, [&](auto answer) { answers.put(std::move(answer)); }, first->connection + 1);
  EXPECT_EQ(answers.take()->error().code, Code::kUnavailable);
}

TEST(Http, TimesOutWhereNobodyAnswers) {
  TestMailbox<HttpResponder> kept;
  TestServer server(
      true, {}, {.on_request = [&](HttpRequest, HttpResponder respond) { kept.put(respond); }, .on_upgrade = nullptr});
  auto client = client_of(server.target());
  const auto answer = client->call(post("/", ""), 200ms);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Code::kTimedOut);
  (*kept.take())({.status = 200});  // too late, and harmless
}

TEST(Http, BoundsWhatAnAnswerMayBe) {
  TestServer server(true, {},
                    {.on_request =
                         [](HttpRequest, HttpResponder respond) {
                           respond({.status = 200, .headers = {}, .body = std::string(5000, 'x')});
                         },
                     .on_upgrade = nullptr});
  const auto answer =
      client_of(server.target(), {.response_bytes_max = 1000, .loop = nullptr})->call(post("/", ""), kTestPatience);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Code::kInvalid);
}

TEST(Http, DestroyingAClientWithRequestsUnderWayIsQuiet) {
  TestMailbox<HttpResponder> kept;
  TestServer server(
      true, {}, {.on_request = [&](HttpRequest, HttpResponder respond) { kept.put(respond); }, .on_upgrade = nullptr});
  std::atomic<int> called{0};
  std::optional<HttpResponder> held;  // to let it go is an answer
  {
    auto client = client_of(server.target());
    for (int i = 0; i < 5; ++i) client->request(post("/", ""), kTestPatience, [&](auto) { ++called; });
    held = kept.take();
    ASSERT_TRUE(held);
  }
  EXPECT_EQ(called, 0);
}

// --- WebSocket

struct Chat {
  TestMailbox<std::shared_ptr<WebSocket>> sockets;
  TestMailbox<std::string> texts;
  TestMailbox<Error> closed;
  HttpServer::Handlers handlers() {
    return {.on_request = [](HttpRequest request, HttpResponder respond) { respond(echo(request)); },
            .on_upgrade =
                [this](HttpRequest request, WebSocketUpgrade upgrade) {
                  if (request.header("Authorization") != "Bearer yes")
                    return upgrade.refuse({.status = 401, .headers = {}, .body = "no"});
                  sockets.put(upgrade.accept({.on_text = [this](std::string text) { texts.put(std::move(text)); },
                                              .on_close = [this](const Error& reason) { closed.put(reason); }}));
                }};
  }
};

struct Caller {
  TestMailbox<bool> opened;
  TestMailbox<std::string> texts;
  TestMailbox<std::pair<Error, std::optional<HttpResponse>>> closed;
  std::unique_ptr<WebSocketClient> socket;
  Caller(HttpTarget target, Headers headers, WebSocketClient::Options options = {}) {
    socket = WebSocketClient::open(std::move(target), "/events", std::move(headers), std::move(options),
                                   {.on_open = [this] { opened.put(true); },
                                    .on_text = [this](std::string text) { texts.put(std::move(text)); },
                                    .on_close =
                                        [this](const Error& reason, const auto& refused) {
                                          closed.put({reason, refused});
                                        }},
                                   silent_logger());
  }
};
const Headers kAllowed = {{"Authorization", "Bearer yes"}};

TEST(WebSocket, CarriesTextBothWaysInOrder) {
  Chat chat;
  TestServer server(true, {}, chat.handlers());
  Caller caller(server.target(), kAllowed);
  const auto socket = *chat.sockets.take();
  ASSERT_TRUE(socket->send("early"));
  ASSERT_TRUE(caller.opened.take());
  for (int i = 0; i < 100; ++i) {
    EXPECT_TRUE(socket->send("s" + std::to_string(i)));
    EXPECT_TRUE(caller.socket->send("c" + std::to_string(i)));
  }
  EXPECT_EQ(*caller.texts.take(), "early");
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(*caller.texts.take(), "s" + std::to_string(i));
    EXPECT_EQ(*chat.texts.take(), "c" + std::to_string(i));
  }
  EXPECT_EQ(server.server->stats().websockets_open, 1u);
  caller.socket->close();
  EXPECT_TRUE(chat.closed.take());
  EXPECT_TRUE(caller.closed.take());
  EXPECT_FALSE(socket->send("late"));
}

// A connection that was made for nothing yet, over and done.
std::shared_ptr<EarlyConnection> early_to(const TestServer& server, const std::shared_ptr<IoLoop>& loop) {
  std::shared_ptr<EarlyConnection> early;
  loop->run([&] { early = EarlyConnection::start(loop, std::get<TlsTarget>(server.target()), kTestPatience); });
  while (server.server->stats().connections_open == 0) std::this_thread::yield();
  return early;
}

TEST(WebSocket, GoesOverAConnectionThatWasMadeBefore) {
  Chat chat;
  TestServer server(true, {}, chat.handlers());
  const auto loop = IoLoop::start("test");
  WebSocketClient::Options options;
  options.loop = loop;
  options.connection = early_to(server, loop);
  Caller caller(server.target(), kAllowed, options);
  ASSERT_TRUE(caller.opened.take());
  EXPECT_EQ(server.server->stats().accepted, 1u);
}

TEST(WebSocket, MakesAConnectionAnewThatEndedBeforeItWasUsed) {
  Chat chat;
  HttpLimits limits;
  limits.idle_timeout = std::chrono::milliseconds(50);
  TestServer server(true, limits, chat.handlers());
  const auto loop = IoLoop::start("test");
  WebSocketClient::Options options;
  options.loop = loop;
  options.connection = early_to(server, loop);
  while (server.server->stats().timed_out == 0) std::this_thread::yield();
  Caller caller(server.target(), kAllowed, options);
  ASSERT_TRUE(caller.opened.take());
  EXPECT_EQ(server.server->stats().accepted, 2u);
}

TEST(WebSocket, AConnectionThatNobodyTookEndsWithItsOwner) {
  TestServer server;
  const auto loop = IoLoop::start("test");
  auto early = early_to(server, loop);
  loop->run([&] { early.reset(); });
  while (server.server->stats().connections_open != 0) std::this_thread::yield();
}

TEST(WebSocket, ARefusalKeepsItsStatus) {
  Chat chat;
  TestServer server(true, {}, chat.handlers());
  Caller caller(server.target(), {});
  const auto closed = caller.closed.take();
  ASSERT_TRUE(closed);
  EXPECT_EQ(closed->first.code, Code::kRefused);
  ASSERT_TRUE(closed->second);
  EXPECT_EQ(closed->second->status, 401);
}

TEST(WebSocket, NobodyThereIsToldOnce) {
  Caller caller(TlsTarget{{{"127.0.0.1", 1}}, {}}, kAllowed);
  EXPECT_EQ(caller.closed.take()->first.code, Code::kUnavailable);
}

TEST(WebSocket, DropsWhoReadsTooSlowly) {
  Chat chat;
  HttpLimits limits;
  limits.websocket_queue_bytes_max = 256 * 1024;
  TestServer server(false, limits, chat.handlers());
  RawClient raw(server.endpoint);
  raw.send(
      "GET /events HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\nAuthorization: Bearer yes\r\n"
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n");
  const auto socket = *chat.sockets.take();
  std::size_t sent = 0;
  while (socket->send(std::string(32 * 1024, 'x'))) ASSERT_LT(sent += 32 * 1024, 64u << 20);
  EXPECT_EQ(chat.closed.take()->code, Code::kExhausted);
  EXPECT_EQ(server.server->stats().websockets_too_slow, 1u);
}

TEST(WebSocket, BoundsWhatItTakes) {
  Chat chat;
  HttpLimits limits;
  limits.websocket_message_bytes_max = 1000;
  TestServer server(true, limits, chat.handlers());
  Caller caller(server.target(), kAllowed);
  ASSERT_TRUE(caller.opened.take());
  caller.socket->send(std::string(1000, 'x'));
  EXPECT_EQ(chat.texts.take()->size(), 1000u);
  caller.socket->send(std::string(1001, 'x'));
  EXPECT_TRUE(chat.closed.take());
  EXPECT_TRUE(caller.closed.take());
}

TEST(WebSocket, ASilentPeerIsDroppedAndALiveOneKept) {
  Chat chat;
  HttpLimits limits;
  limits.websocket_idle_timeout = 400ms;
  TestServer server(false, limits, chat.handlers());
  Caller live(TcpTarget{server.endpoint}, kAllowed);
  ASSERT_TRUE(live.opened.take());
  const auto socket = *chat.sockets.take();
  RawClient dead(server.endpoint);
  dead.send(
      "GET /events HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\nAuthorization: Bearer yes\r\n"
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n");
  EXPECT_EQ(chat.closed.take()->code, Code::kTimedOut);
  EXPECT_TRUE(socket->send("still here"));
  EXPECT_EQ(*live.texts.take(), "still here");
}

TEST(WebSocket, TheServersEndIsToldToItsClients) {
  Chat chat;
  auto server = std::make_unique<TestServer>(true, HttpLimits{}, chat.handlers());
  Caller caller(server->target(), kAllowed);
  ASSERT_TRUE(caller.opened.take());
  const auto socket = *chat.sockets.take();
  server.reset();
  EXPECT_TRUE(caller.closed.take());
  EXPECT_FALSE(socket->send("nobody"));
}

TEST(WebSocket, AClientMayBeDestroyedAtAnyPoint) {
  Chat chat;
  TestServer server(true, {}, chat.handlers());
  for (int i = 0; i < 20; ++i) Caller caller(server.target(), kAllowed);
  Caller caller(server.target(), kAllowed);
  EXPECT_TRUE(caller.opened.take());
}

TEST(IoLoop, RunsInOrderAndCancelsTimers) {
  const auto loop = IoLoop::start("test");
  std::vector<int> seen;
  std::unique_ptr<LoopTimer> timer;
  TestMailbox<int> fired;
  loop->run([&] {
    EXPECT_TRUE(loop->on_loop_thread());
    timer = loop->after(1ms, [&] { fired.put(1); });
    timer->cancel();
    timer = loop->after(2ms, [&] { fired.put(2); });
  });
  for (int i = 0; i < 5; ++i) loop->post([&, i] { seen.push_back(i); });
  EXPECT_EQ(*fired.take(), 2);
  loop->run([&] { EXPECT_THAT(seen, testing::ElementsAre(0, 1, 2, 3, 4)); });
  EXPECT_FALSE(loop->on_loop_thread());
}

}  // namespace
}  // namespace lanrage::net
