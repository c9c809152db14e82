// A real server and real clients, over HTTPS on loopback.
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <atomic>
#include <csignal>
#include <fstream>
#include <list>
#include <thread>

#include "control/proof.h"
#include "control/test_player.h"
#include "net/http.h"

namespace lanrage::control {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

struct Running {
  Folder folder;
  std::unique_ptr<Server> server;
  Running() { start(0); }
  void start(std::uint16_t port) { server = *Server::start(test_server_options(folder, port), silent_logger()); }
  // Gone and back on the same port, as after an update.
  void restart() {
    const std::uint16_t port = server->listening().front().port;
    server.reset();
    start(port);
  }
  net::HttpTarget target() const {
    return net::TlsTarget{{{"127.0.0.1", server->listening().front().port}}, server->info().key};
  }
  Result<net::HttpResponse> post(std::string_view path, std::string body, net::Headers headers = {}) const {
    net::HttpRequest request;
    request.method = "POST";
    request.target = path;
    request.headers = std::move(headers);
    request.body = std::move(body);
    return net::HttpClient::create(target(), {}, silent_logger())->call(request, net::kTestPatience);
  }
};

// A session made by hand; `spoil` may change what is sent.
Result<net::HttpResponse> prove(const party::Identity& self, net::HttpClient& hello_over, net::HttpClient& prove_over,
                                const std::function<void(wire::Proof&)>& spoil) {
  net::HttpRequest hello;
  hello.method = "POST";
  hello.target = wire::kHelloPath;
  hello.body = wire::encode(wire::Hello{self.public_key()});
  LR_ASSIGN(const auto asked, hello_over.call(hello, net::kTestPatience));
  LR_ASSIGN(const auto challenge, wire::decode_challenge(asked.body));
  const auto mac = session_proof(self.private_key(), self.public_key(), challenge, asked.exporter);
  wire::Proof proof{challenge.id, *mac};
  spoil(proof);
  net::HttpRequest request = hello;
  request.target = wire::kProofPath;
  request.body = wire::encode(proof);
  return prove_over.call(request, net::kTestPatience);
}

TEST(ControlServer, WritesItsLinkOnlyWhileItServes) {
  Folder folder;
  auto server = Server::start(test_server_options(folder), silent_logger());
  ASSERT_TRUE(server);
  EXPECT_FALSE(std::filesystem::exists(folder.path + "/server.link"));
  ASSERT_TRUE((*server)->write_link());
  std::string link;
  std::getline(std::ifstream(folder.path + "/server.link"), link);
  EXPECT_EQ(link, (*server)->link());
  const auto parsed = party::ServerLink::parse(link);
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->key, (*server)->info().key);
  server->reset();
  EXPECT_FALSE(std::filesystem::exists(folder.path + "/server.link"));
}

TEST(ControlServer, SaysThatItsPortIsInUse) {
  Running running;
  Folder other;
  const auto second =
      Server::start(test_server_options(other, running.server->listening().front().port), silent_logger());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::kConflict);
  EXPECT_THAT(second.error().message, HasSubstr("in use"));
  EXPECT_FALSE(std::filesystem::exists(other.path + "/server.link"));
}

TEST(ControlServer, TellsWhoeverAsksWhetherItTakesPlayers) {
  Running running;
  net::HttpRequest request;
  request.method = "GET";
  request.target = wire::kHealthPath;
  const auto client = net::HttpClient::create(running.target(), {}, silent_logger());
  const auto well = client->call(request, net::kTestPatience);
  ASSERT_TRUE(well) << well.error().message;
  EXPECT_EQ(well->status, 200);
  EXPECT_EQ(well->body, "{\"live\":true,\"ready\":true,\"why\":null}\n");
  running.server->drain();
  const auto stopping = client->call(request, net::kTestPatience);
  ASSERT_TRUE(stopping);
  EXPECT_EQ(stopping->status, 503);
  EXPECT_THAT(stopping->body, HasSubstr("\"ready\":false,\"why\":\"the server stops\""));
}

// In place of a server: its answer to everything.
TEST(ControlClient, LeavesABusyServerAloneForAsLongAsItAsksAndNotAllAtOnce) {
  constexpr int kPlayers = 8;
  const net::TlsIdentity tls = *net::TlsIdentity::generate();
  net::TestMailbox<Time> asked;
  net::HttpServer::Handlers handlers;
  handlers.on_request = [&](const net::HttpRequest&, const net::HttpResponder& respond) {
    asked.put(net::now().time);
    respond({.status = 503,
             .headers = {{"Retry-After", "1"}},
             .body = wire::encode(Error{Code::kUnavailable, "the server is busy"})});
  };
  auto busy = net::HttpServer::create({.limits = {}, .tls = tls, .loop = nullptr}, handlers, silent_logger());
  const auto at = busy->listen(net::TcpListener{{IpAddress::v4(127, 0, 0, 1), 0}, true});
  ASSERT_TRUE(at);
  party::ServerInfo info;
  info.key = tls.spki_hash();
  info.addresses = {party::ServerAddress::of(*at)};
  std::vector<std::unique_ptr<Player>> players;
  for (int i = 0; i < kPlayers; ++i) {
    players.push_back(std::make_unique<Player>(info));
    players.back()->client().request(wire::ListInvites{}, [](const Result<wire::Response>&) {});
  }
  Time last_first{};
  for (int i = 0; i < kPlayers; ++i) last_first = *asked.take();
  const Time first_again = *asked.take();
  Time last_again = first_again;
  for (int i = 1; i < kPlayers; ++i) last_again = *asked.take();
  EXPECT_GE(first_again - last_first, 500ms) << "the first came some moments before the last";
  EXPECT_GE(last_again - first_again, 100ms) << "all at once";
  for (const auto& player : players) {
    while (const auto link = player->links.take(Duration{})) EXPECT_NE(link->state, LinkState::kWaiting);
  }
}

TEST(ControlServer, TwoPlayersMeetAndSeeEachOther) {
  Running running;
  Player alice(running.server->info(), "alice"), bob(running.server->info(), "bob");
  ASSERT_TRUE(alice.host());
  ASSERT_TRUE(alice.ask(wire::Follow{alice.party(), 0}));
  const auto first = alice.next<wire::Snapshot>();
  ASSERT_TRUE(first);
  EXPECT_EQ(first->records.size(), 1u);
  const auto invite = alice.invite(1);
  ASSERT_TRUE(invite) << invite.error().message;
  const auto entered = bob.enter(*invite);
  ASSERT_TRUE(entered) << entered.error().message;
  const auto record = alice.next<wire::RecordChanged>();
  ASSERT_TRUE(record);
  EXPECT_EQ(record->record, bob.roster().own_record());
  ASSERT_TRUE(bob.ask(wire::Follow{bob.party(), 0}));
  EXPECT_EQ(bob.next<wire::Snapshot>()->records.size(), 2u);
  EXPECT_EQ(bob.next<wire::Online>()->members.size(), 2u);
  const auto relays = bob.next<wire::Relays>();
  ASSERT_EQ(relays->relays.size(), 1u);
  EXPECT_FALSE(relays->stun.empty());
  EXPECT_TRUE(wire::parse_grant(bob.next<wire::Grant>()->grant));
  const auto presence = alice.next<wire::Presence>();
  EXPECT_EQ(presence->member, bob.identity().public_key());
  EXPECT_TRUE(presence->online);

  ASSERT_TRUE(bob.ask(wire::Signal{bob.party(), alice.identity().public_key(), {1, 2, 3}}));
  const auto signal = alice.next<wire::Signalled>();
  EXPECT_EQ(signal->from, bob.identity().public_key());
  EXPECT_EQ(signal->sealed, (Bytes{1, 2, 3}));

  bob.disconnect();
  EXPECT_FALSE(alice.next<wire::Presence>()->online) << "a clean end is told at once";
}

TEST(ControlServer, ARelayThatNobodyUsesIsDrainedAtOnce) {
  Running running;
  const Time until = net::now().time + 1s;
  EXPECT_FALSE(running.server->is_drained());
  running.server->drain();
  while (!running.server->is_drained() && net::now().time < until) std::this_thread::yield();
  EXPECT_TRUE(running.server->is_drained());
}

TEST(ControlServer, AOneUseInviteLetsOneOfTwoHundredIn) {
  Running running;
  Player owner(running.server->info(), "owner");
  ASSERT_TRUE(owner.host());
  const auto invite = owner.invite(1);
  ASSERT_TRUE(invite);
  const auto loop = net::IoLoop::start("players");
  std::vector<std::unique_ptr<Player>> players;
  for (int i = 0; i < 200; ++i)
    players.push_back(std::make_unique<Player>(running.server->info(), "p" + std::to_string(i), loop));
  net::TestMailbox<Result<wire::Response>> answers;
  for (const auto& player : players) {
    wire::Join join;
    join.party = owner.party();
    const auto token = invite->secret.token(invite->party);
    std::copy(token.bytes().begin(), token.bytes().end(), join.token.begin());
    join.name = player->name();
    player->client().request(join, [&](auto answer) { answers.put(std::move(answer)); });
  }
  int admitted = 0;
  for (int i = 0; i < 200; ++i) {
    const auto answer = answers.take();
    ASSERT_TRUE(answer);
    if (*answer) {
      ++admitted;
    } else {
      EXPECT_EQ(answer->error().code, Code::kExhausted) << answer->error().message;
    }
  }
  EXPECT_EQ(admitted, 1);
}

TEST(ControlServer, BelievesNoWrongProofAndNoneOfAnotherTlsSession) {
  Running running;
  crypto::SystemRng rng;
  const party::Identity self = party::Identity::generate(rng);
  const auto client = net::HttpClient::create(running.target(), {}, silent_logger());
  const auto other = net::HttpClient::create(running.target(), {}, silent_logger());
  const auto nothing = [](wire::Proof&) {};
  EXPECT_EQ(prove(self, *client, *client, nothing)->status, 200);
  EXPECT_EQ(prove(self, *client, *other, nothing)->status, 403) << "relayed to another session";
  EXPECT_EQ(prove(self, *client, *client, [](wire::Proof& p) { p.mac[5] ^= 1; })->status, 403);
  EXPECT_EQ(prove(self, *client, *client, [](wire::Proof& p) { p.challenge[0] ^= 1; })->status, 403);
}

TEST(ControlServer, ATokenSpeaksForItsOwnKeyOnly) {
  Running running;
  Player owner(running.server->info(), "owner"), stranger(running.server->info(), "stranger");
  ASSERT_TRUE(owner.host());
  ASSERT_TRUE(owner.invite(1));
  EXPECT_EQ(stranger.ask(wire::ListInvites{owner.party()}).error().code, Code::kRefused);
  EXPECT_EQ(stranger.ask(wire::PutRecord{owner.party(), owner.roster().own_record()}).error().code, Code::kRefused);
  EXPECT_EQ(stranger.ask(wire::Follow{owner.party(), 0}).error().code, Code::kRefused);
  EXPECT_EQ(stranger.ask(wire::CreateParty{owner.roster().encoded_genesis(), "stranger"}).error().code, Code::kRefused);
}

TEST(ControlServer, AnswersEveryBadInputCleanly) {
  Running running;
  const auto status = [&](std::string_view path, std::string body, net::Headers headers = {}) {
    const auto answer = running.post(path, std::move(body), std::move(headers));
    EXPECT_TRUE(answer) << answer.error().message;
    if (!answer) return 0;
    EXPECT_THAT(answer->body, testing::StartsWith("{\"error\":{\"code\":")) << path;
    return answer->status;
  };
  EXPECT_EQ(status("/v1/session", "{"), 400);
  EXPECT_EQ(status("/v1/session", std::string(1000, '[')), 400);
  EXPECT_EQ(status("/v1/session", std::string(wire::kRequestBytesMax + 1, ' ')), 413);
  EXPECT_EQ(status("/nowhere", "{}"), 404);
  EXPECT_EQ(status("/v1/events", "{}"), 404);
  const std::string party = R"({"party":"00000000000000000000000000000000"})";
  EXPECT_EQ(status("/v1/invite/list", party), 401);
  EXPECT_EQ(status("/v1/invite/list", party, {{"Authorization", "Bearer " + to_base64url(Bytes(32))}}), 401);
  EXPECT_EQ(status("/v1/invite/list", party, {{"Authorization", "Bearer !"}}), 401);
  EXPECT_EQ(status("/v1/session", "{}", {{"X", std::string(20000, 'x')}}), 431);
  net::HttpRequest get;
  EXPECT_EQ(net::HttpClient::create(running.target(), {}, silent_logger())->call(get, net::kTestPatience)->status, 405);
}

TEST(ControlServer, RefusesStreamsOfWebPagesAndStrangers) {
  Running running;
  const auto refusal = [&](net::Headers headers, const std::string& target) {
    net::TestMailbox<int> statuses;
    const auto socket = net::WebSocketClient::open(
        running.target(), target, std::move(headers), {},
        {.on_open = [&] { statuses.put(101); },
         .on_text = nullptr,
         .on_close = [&](const Error&, const auto& refused) { statuses.put(refused ? refused->status : 0); }},
        silent_logger());
    return statuses.take().value_or(-1);
  };
  const std::string target = wire::follow_target({});
  const std::string token = "Bearer " + to_base64url(Bytes(32));
  EXPECT_EQ(refusal({{"Authorization", token}, {"Origin", "https://evil.example"}}, target), 403);
  EXPECT_EQ(refusal({{"Authorization", token}}, target), 401);
  EXPECT_EQ(refusal({}, target), 401);
  EXPECT_EQ(refusal({{"Authorization", token}}, "/v1/events?party=zz&from=0"), 400);
  EXPECT_EQ(refusal({{"Authorization", token}}, "/other"), 404);
}

TEST(ControlServer, ServesOthersWhileSlowClientsHang) {
  Running running;
  std::vector<std::unique_ptr<net::HttpClient>> clients;
  Player owner(running.server->info(), "owner");
  // Each says hello, proves nothing, and stays.
  for (int i = 0; i < 100; ++i) {
    clients.push_back(net::HttpClient::create(running.target(), {}, silent_logger()));
    net::HttpRequest request;
    request.method = "POST";
    request.target = wire::kHelloPath;
    clients.back()->request(request, net::kTestPatience, [](const auto&) {});
  }
  EXPECT_TRUE(owner.host());
}

TEST(ControlClient, ResumesItsEventsOverAServersRestart) {
  Running running;
  Player alice(running.server->info(), "alice"), bob(running.server->info(), "bob");
  ASSERT_TRUE(alice.host());
  ASSERT_TRUE(alice.ask(wire::Follow{alice.party(), 0}));
  const auto before = alice.next<wire::Snapshot>();
  ASSERT_TRUE(before);
  running.restart();
  // Nothing happened meanwhile: no snapshot again, only who is here.
  ASSERT_TRUE(alice.next<wire::Grant>());
  std::optional<wire::Event> event;
  do event = alice.events.take();
  while (event && !std::holds_alternative<wire::Online>(*event) && !std::holds_alternative<wire::Snapshot>(*event));
  ASSERT_TRUE(event);
  EXPECT_TRUE(std::holds_alternative<wire::Online>(*event));
  const auto invite = alice.invite(1);
  ASSERT_TRUE(invite) << invite.error().message;
  EXPECT_EQ(alice.next<wire::InviteChanged>()->version, before->version + 1);
  ASSERT_TRUE(bob.enter(*invite));
  EXPECT_EQ(alice.next<wire::InviteChanged>()->version, before->version + 2);
  EXPECT_EQ(alice.next<wire::RecordChanged>()->version, before->version + 3);
}

TEST(ControlClient, HasTheConnectionForItsStreamBeforeItIsAsked) {
  Running running;
  Player alice(running.server->info(), "alice");
  ASSERT_TRUE(alice.host());
  while (running.server->stats().http.accepted < 2) std::this_thread::yield();
  ASSERT_TRUE(alice.ask(wire::Follow{alice.party(), 0}));
  ASSERT_TRUE(alice.next<wire::Snapshot>());
  EXPECT_EQ(running.server->stats().http.accepted, 2u);
}

TEST(ControlClient, RequestsWaitThroughAnOutageAndThenGoOut) {
  Running running;
  Player alice(running.server->info(), "alice");
  ASSERT_TRUE(alice.host());
  const std::uint16_t port = running.server->listening().front().port;
  running.server.reset();
  net::TestMailbox<Result<wire::Response>> answers;
  alice.client().request(wire::ListInvites{alice.party()}, [&](auto answer) { answers.put(std::move(answer)); });
  while (alice.links.take()->state != LinkState::kWaiting) {
  }
  running.start(port);
  const auto answer = answers.take();
  ASSERT_TRUE(answer && *answer) << answer->error().message;
}

TEST(ControlClient, SaysSoWhenAServerStaysAway) {
  Running running;
  ClientOptions options;
  crypto::SystemRng rng;
  options.server = running.server->info();
  options.key = crypto::PrivateKey::generate(rng);
  options.request_timeout = 300ms;
  running.server.reset();
  net::TestMailbox<Result<wire::Response>> answers;
  net::TestMailbox<LinkStatus> links;
  const auto client = Client::create(
      options, {.on_event = nullptr, .on_link = [&](const LinkStatus& status) { links.put(status); }},
      [](const std::function<void()>& run) { run(); }, std::make_unique<SeededRng>(1), silent_logger());
  client->request(wire::ListInvites{}, [&](auto answer) { answers.put(std::move(answer)); });
  const auto answer = answers.take();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->error().code, Code::kUnavailable);
  EXPECT_THAT(answer->error().message, HasSubstr("cannot be reached"));
  EXPECT_EQ(links.take()->state, LinkState::kConnecting);
  const auto waiting = links.take();
  EXPECT_EQ(waiting->state, LinkState::kWaiting);
  EXPECT_GE(waiting->retry_in, 800ms);
  EXPECT_LE(waiting->retry_in, 1200ms);
}

TEST(ControlClient, WaitsLongerAfterEachFailureUpToAMinute) {
  ClientOptions options;
  crypto::SystemRng rng;
  options.server = {{}, {party::ServerAddress::of({IpAddress::v4(127, 0, 0, 1), 1})}};
  options.key = crypto::PrivateKey::generate(rng);
  net::TestMailbox<LinkStatus> links;
  const auto client = Client::create(
      options, {.on_event = nullptr, .on_link = [&](const LinkStatus& status) { links.put(status); }},
      [](const std::function<void()>& run) { run(); }, std::make_unique<SeededRng>(1), silent_logger());
  client->request(wire::Follow{}, [](const auto&) {});
  for (const double seconds : {1, 2, 4, 8, 16, 32, 60, 60}) {
    std::optional<LinkStatus> status;
    do status = links.take();
    while (status && status->state != LinkState::kWaiting);
    ASSERT_TRUE(status);
    const double delay = milliseconds(status->retry_in) / 1000;
    EXPECT_GE(delay, seconds * 0.8);
    EXPECT_LE(delay, seconds * 1.2);
    client->network_changed();
  }
}

// A cable to a server that can be cut: what was connected before stays open, and nothing comes through any more.
class Cable {
 public:
  explicit Cable(std::uint16_t to) : to_(to), listener_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address = loopback(0);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(listener_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(listener_, 16), 0);
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port = ntohs(address.sin_port);
    accepter_ = std::thread([this] { accept(); });
  }
  ~Cable() {
    ::shutdown(listener_, SHUT_RDWR);
    accepter_.join();
    for (Copy& copy : copies_) ::shutdown(copy.from, SHUT_RDWR);
    for (Copy& copy : copies_) copy.thread.join();
    for (Copy& copy : copies_) ::close(copy.from);
    ::close(listener_);
  }
  void cut() { ++life_; }
  // What either side sends is kept back until it is let through, which then also comes after a cut.
  void hold() { holding_ = true; }
  void wait_until_held() { held_.wait(false); }
  void let_through() {
    holding_ = false;
    holding_.notify_all();
  }
  std::uint16_t port = 0;

 private:
  struct Copy {
    int from = -1;
    std::thread thread{};
  };
  static sockaddr_in loopback(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    return address;
  }
  void accept() {
    for (int near; (near = ::accept(listener_, nullptr, nullptr)) >= 0;) {
      const int far = ::socket(AF_INET, SOCK_STREAM, 0);
      const sockaddr_in address = loopback(to_);
      EXPECT_EQ(::connect(far, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
      copy(near, far);
      copy(far, near);
    }
  }
  void copy(int from, int to) {
    Copy& one = copies_.emplace_back();
    one.from = from;
    one.thread = std::thread([this, from, to, life = life_.load()] {
      char bytes[4096];
      for (ssize_t size; (size = ::recv(from, bytes, sizeof bytes, 0)) > 0;) {
        const bool passes = life_ == life;
        if (holding_) {
          held_ = true;
          held_.notify_all();
          holding_.wait(true);
        }
        if (passes) (void)::send(to, bytes, static_cast<std::size_t>(size), MSG_NOSIGNAL);
      }
    });
  }

  const std::uint16_t to_;
  const int listener_;
  std::atomic<int> life_{0};
  std::atomic<bool> holding_{false}, held_{false};
  std::list<Copy> copies_;  // the accepter's alone, until it has ended
  std::thread accepter_;
};

// A player who reaches the server by a cable alone, and hosts a party there.
struct Cabled {
  Running running;
  Cable cable{running.server->listening().front().port};
  Player alice{by_cable(), "alice"};

  Cabled() { EXPECT_TRUE(alice.host()); }
  void follow() {
    EXPECT_TRUE(alice.ask(wire::Follow{alice.party(), 0}));
    EXPECT_TRUE(alice.next<wire::Online>());
    while (alice.links.take(100ms)) {
    }
  }

 private:
  party::ServerInfo by_cable() const {
    party::ServerInfo server = running.server->info();
    server.addresses = {party::ServerAddress::of({IpAddress::v4(127, 0, 0, 1), cable.port})};
    return server;
  }
};

TEST(ControlClient, NoticesAConnectionThatDiedWithTheNetwork) {
  Cabled cabled;
  Cable& cable = cabled.cable;
  Player& alice = cabled.alice;
  cabled.follow();
  alice.client().network_changed();  // and the server is still heard
  EXPECT_FALSE(alice.links.take(Client::kCheckTimeout + 200ms)) << "made anew without need";

  const Time began = net::now().time;
  cable.cut();
  alice.client().network_changed();
  ASSERT_TRUE(alice.next<wire::Online>());
  EXPECT_LT(net::now().time - began, 5s);
  EXPECT_TRUE(alice.ask(wire::ListInvites{alice.party()}));
}

TEST(ControlClient, TakesWhatCameBeforeForNoSignOfLife) {
  Cabled cabled;
  Cable& cable = cabled.cable;
  Player& alice = cabled.alice;
  cabled.follow();

  // As when a computer sleeps: the kernel has what the server said meanwhile, the connection is dead.
  cable.hold();
  cabled.running.server->set_mapped({.udp = Endpoint::parse("5.9.1.2:41820")});  // members are told
  cable.wait_until_held();
  const Time began = net::now().time;
  cable.cut();
  alice.client().network_changed();
  cable.let_through();
  ASSERT_TRUE(alice.next<wire::Online>());
  EXPECT_LT(net::now().time - began, 5s);
}

TEST(ControlClient, NoticesAnAttemptThatDiedWithTheNetwork) {
  Cabled cabled;
  Cable& cable = cabled.cable;
  Player& alice = cabled.alice;
  cable.cut();
  const Time began = net::now().time;
  const auto answers = std::make_shared<net::TestMailbox<Result<wire::Response>>>();
  alice.client().request(wire::ListInvites{alice.party()},
                         [answers](Result<wire::Response> answer) { answers->put(std::move(answer)); });
  alice.client().network_changed();
  const auto answer = answers->take();
  ASSERT_TRUE(answer && *answer) << (*answer).error().message;
  EXPECT_LT(net::now().time - began, 5s);
}

TEST(ControlClient, RefusesAServerWithAnotherKey) {
  Running running;
  party::ServerInfo wrong = running.server->info();
  wrong.key[3] ^= 1;
  Player player(wrong);
  player.client().request(wire::ListInvites{}, [](const auto&) {});
  std::optional<LinkStatus> status;
  do status = player.links.take();
  while (status && status->state != LinkState::kWaiting);
  ASSERT_TRUE(status && status->why);
  EXPECT_EQ(status->why->code, Code::kRefused);
}

TEST(ControlClient, MayBeDestroyedAtAnyMoment) {
  Running running;
  for (int i = 0; i < 30; ++i) {
    Player player(running.server->info());
    player.client().request(wire::ListInvites{}, [](const auto&) {});
    player.client().request(wire::ListInvites{}, [](const auto&) {});
    if (i % 3 == 0) (void)player.ask(wire::ListInvites{});
    if (i % 3 == 1) (void)player.links.take();
  }
}

}  // namespace
}  // namespace lanrage::control
