// For tests: a device with a real client, asked synchronously, and a folder for a server.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "control/client.h"
#include "control/server.h"
#include "crypto/random.h"
#include "net/clock.h"
#include "net/test_mailbox.h"
#include "party/roster.h"

namespace lanrage::control {

struct Folder {
  std::string path;
  Folder() {
    path = std::filesystem::temp_directory_path() / "lanrage-control-XXXXXX";
    EXPECT_TRUE(::mkdtemp(path.data()));
  }
  ~Folder() { std::filesystem::remove_all(path); }
};

inline ServerOptions test_server_options(const Folder& folder, std::uint16_t port = 0) {
  ServerOptions options;
  options.folder = folder.path;
  options.listen = {{IpAddress::v4(127, 0, 0, 1), port}};
  return options;
}

class Player {
 public:
  explicit Player(const party::ServerInfo& server, std::string name = "player",
                  std::shared_ptr<net::IoLoop> loop = nullptr)
      : identity_(party::Identity::generate(rng_)), name_(std::move(name)), server_(server) {
    ClientOptions options;
    options.server = server;
    options.key = identity_.private_key();
    options.loop = std::move(loop);
    options.backoff_min = std::chrono::milliseconds(50);
    options.backoff_max = std::chrono::milliseconds(500);
    client_ = Client::create(
        options,
        {.on_event = [this](wire::Event event) { events.put(std::move(event)); },
         .on_link = [this](const LinkStatus& status) { links.put(status); }},
        [](const std::function<void()>& run) { run(); }, std::make_unique<crypto::SystemRng>(), silent_logger());
  }

  net::TestMailbox<wire::Event> events;
  net::TestMailbox<LinkStatus> links;

  Client& client() { return *client_; }
  void disconnect() { client_.reset(); }
  const party::Identity& identity() const { return identity_; }
  const std::string& name() const { return name_; }
  bool has_roster() const { return roster_.has_value(); }
  party::Roster& roster() { return *roster_; }
  wire::PartyId party() const { return wire_id(roster_->party()); }

  Result<wire::Response> ask(wire::Request request) {
    const auto answers = std::make_shared<net::TestMailbox<Result<wire::Response>>>();
    client_->request(std::move(request), [answers](Result<wire::Response> answer) { answers->put(std::move(answer)); });
    auto answer = answers->take();
    if (!answer) return Error{Code::kTimedOut, "the test's patience ended"};
    return *std::move(answer);
  }

  // The next event of one kind; others are dropped.
  template <class T>
  std::optional<T> next() {
    while (auto event = events.take())
      if (auto* wanted = std::get_if<T>(&*event)) return std::move(*wanted);
    return std::nullopt;
  }

  Result<wire::Response> host() {
    const party::SelfSettings self{.name = name_, .hostname = "", .routes = {}, .capabilities = 0};
    const auto prefix = *IpPrefix::parse("10.66.7.0/24");
    roster_ = *party::Roster::create(identity_, "party", prefix, self, server_, rng_);
    LR_TRY(ask(wire::CreateParty{roster_->encoded_genesis(), name_}));
    return ask(wire::PutRecord{party(), roster_->own_record()});
  }

  Result<party::Invite> invite(std::uint32_t uses) {
    const WallTime now = net::now().wall;
    LR_ASSIGN(auto made, roster_->make_invite(now, uses, now + std::chrono::hours(1), rng_));
    LR_TRY(ask(wire::AddInvite{party(), made.request.token_hash, made.request.envelope, uses, 3600}));
    return made.invite;
  }

  Result<wire::Response> join(const party::Invite& invite) {
    wire::Join request;
    request.party = wire_id(invite.party);
    const auto token = invite.secret.token(invite.party);
    std::copy(token.bytes().begin(), token.bytes().end(), request.token.begin());
    request.name = name_;
    return ask(request);
  }

  // Joins, and gives the record to the server. `before`: its newest, where it was in the party once.
  Result<wire::Response> enter(const party::Invite& invite, ByteView before = {}) {
    LR_ASSIGN(const auto answer, join(invite));
    const auto& admission = std::get<wire::Admission>(answer);
    const party::SelfSettings self{.name = name_, .hostname = "", .routes = {}, .capabilities = 0};
    LR_ASSIGN(auto roster, party::Roster::join(identity_, invite, {admission.address, admission.envelope}, self));
    roster_ = std::move(roster);
    if (!before.empty()) roster_->apply_record(before);
    return ask(wire::PutRecord{party(), roster_->own_record()});
  }

 private:
  crypto::SystemRng rng_;
  party::Identity identity_;
  std::string name_;
  party::ServerInfo server_;
  std::optional<party::Roster> roster_;
  std::unique_ptr<Client> client_;
};

}  // namespace lanrage::control
