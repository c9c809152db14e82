// For tests of the service: devices, what they ask and what they are told, in virtual time over the memory store.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>

#include "control/proof.h"
#include "control/service.h"
#include "party/roster.h"

namespace lanrage::control {

inline const IpAddress kHome = IpAddress::v4(192, 0, 2, 7);

// One reader's stream as it sees it.
struct Reader {
  std::vector<wire::Event> events;
  std::optional<Error> closed;
  Result<Service::StreamId> id = Error{};

  template <class T>
  std::vector<T> all() const {
    std::vector<T> out;
    for (const wire::Event& event : events)
      if (const T* wanted = std::get_if<T>(&event)) out.push_back(*wanted);
    return out;
  }
  std::vector<std::uint64_t> numbers() const {
    std::vector<std::uint64_t> out;
    for (const wire::Event& event : events)
      if (const auto version = wire::event_version(event)) out.push_back(*version);
    return out;
  }
};

struct Device {
  party::Identity identity;
  std::string name;
  std::optional<party::Roster> roster;
  const crypto::PublicKey& key() const { return identity.public_key(); }
};

class ServiceTest : public testing::Test {
 protected:
  ServiceTest() { restart(); }

  // The service anew over the same store, as after a crash.
  void restart() { service_ = make_service(nullptr); }
  std::unique_ptr<Service> make_service(bus::Bus* bus, const Logger& log = silent_logger()) {
    ServiceOptions options;
    options.grant_key = grants_;
    options.post = [this](std::function<void()> act) { posted_.push_back(std::move(act)); };
    options.save_relays = [this](const std::string&) { return kept_; };
    options.bus = bus;
    return std::make_unique<Service>(std::move(options), store_, rng_, log);
  }
  void step() {
    const auto act = std::move(posted_.front());
    posted_.pop_front();
    act();
  }
  void settle() {
    while (!posted_.empty()) step();
  }
  void pass(Duration time) {
    now_.time += time;
    now_.wall += time;
    service_->handle_timeout(now_);
    if (other_) other_->handle_timeout(now_);
    settle();
  }

  Device device(std::string name) { return {party::Identity::generate(rng_), std::move(name), std::nullopt}; }
  static party::SelfSettings settings(const Device& device) {
    return {.name = device.name, .hostname = "", .routes = {}, .capabilities = 0};
  }

  Result<wire::Response> ask(const Device& device, const wire::Request& request) {
    Result<wire::Response> answer = Error{Code::kTimedOut, "no answer"};
    service_->handle_request(now_, kHome, device.key(), request,
                             [&](Result<wire::Response> a) { answer = std::move(a); });
    settle();
    return answer;
  }
  std::shared_ptr<Reader> follow(const Device& device, const wire::PartyId& party, std::uint64_t from = 0) {
    const auto reader = std::make_shared<Reader>();
    service_->open_stream(now_, device.key(), wire::Follow{party, from},
                          {[reader](const wire::Event& event) { reader->events.push_back(event); },
                           [reader](const Error& why) { reader->closed = why; }},
                          [reader](Result<Service::StreamId> id) { reader->id = std::move(id); });
    settle();
    return reader;
  }

  std::shared_ptr<Reader> offer(const Device& relay, const wire::OfferRelay& where) {
    const auto reader = std::make_shared<Reader>();
    service_->open_stream(now_, relay.key(), where,
                          {[reader](const wire::Event& event) { reader->events.push_back(event); },
                           [reader](const Error& why) { reader->closed = why; }},
                          [reader](Result<Service::StreamId> id) { reader->id = std::move(id); });
    return reader;
  }
  // The relays that the reader was told of last.
  static std::vector<wire::RelayInfo> named(const Reader& reader) { return reader.all<wire::Relays>().back().relays; }

  wire::PartyId party_of(const Device& device) const {
    wire::PartyId out;
    const auto bytes = device.roster->party().bytes();
    std::copy(bytes.begin(), bytes.end(), out.begin());
    return out;
  }
  void host(Device& owner) {
    owner.roster = *party::Roster::create(owner.identity, "party", *IpPrefix::parse("10.66.7.0/24"), settings(owner),
                                          {{}, {{"server.example", 41820}}}, rng_);
    ASSERT_TRUE(ask(owner, create(owner)));
    ASSERT_TRUE(ask(owner, wire::PutRecord{party_of(owner), owner.roster->own_record()}));
  }
  static wire::Request create(const Device& owner) {
    return wire::CreateParty{owner.roster->encoded_genesis(), owner.name};
  }
  party::Invite invite(Device& owner, std::uint32_t uses, std::int64_t lifetime_s = 3600) {
    auto made = *owner.roster->make_invite(now_.wall, uses, now_.wall + std::chrono::seconds(lifetime_s), rng_);
    EXPECT_TRUE(
        ask(owner, wire::AddInvite{party_of(owner), made.request.token_hash, made.request.envelope, uses, lifetime_s}));
    return made.invite;
  }
  static wire::Join join_request(const Device& device, const party::Invite& invite) {
    wire::Join join;
    const auto id = invite.party.bytes();
    std::copy(id.begin(), id.end(), join.party.begin());
    const auto token = invite.secret.token(invite.party);
    std::copy(token.bytes().begin(), token.bytes().end(), join.token.begin());
    join.name = device.name;
    return join;
  }
  void enter(Device& device, const party::Invite& invite) {
    const auto answer = ask(device, join_request(device, invite));
    ASSERT_TRUE(answer) << answer.error().message;
    const auto& admission = std::get<wire::Admission>(*answer);
    device.roster =
        *party::Roster::join(device.identity, invite, {admission.address, admission.envelope}, settings(device));
    ASSERT_TRUE(ask(device, wire::PutRecord{party_of(device), device.roster->own_record()}));
  }
  // The owner's roster as it follows: everything that was told so far.
  void catch_up(Device& device) {
    const auto reader = follow(device, party_of(device));
    for (const auto& snapshot : reader->all<wire::Snapshot>())
      (void)device.roster->apply_snapshot(
          {snapshot.version, snapshot.genesis, snapshot.statements, snapshot.bundle, snapshot.records});
    version_ = reader->numbers().front();
    service_->close_stream(*reader->id);
  }
  Result<wire::Response> put(Device& owner, const party::StatementsRequest& request) {
    wire::PutStatements put{party_of(owner), request.statements, request.bundle, {}, request.seen};
    for (const auto& invite : request.invites) put.invites.push_back({invite.id.text(), invite.envelope});
    return ask(owner, put);
  }

  Result<wire::Session> log_in(const Device& device) {
    LR_ASSIGN(const auto challenge, service_->hello(now_, kHome, {device.key()}));
    const auto mac = session_proof(device.identity.private_key(), device.key(), challenge, exporter_);
    return service_->prove(now_, kHome, exporter_, {challenge.id, *mac});
  }

  SeededRng rng_{42};
  Now now_{Time{std::chrono::hours(1)}, from_unix_seconds(1'700'000'000)};
  store::MemoryStore store_;
  crypto::SigningKey grants_ = crypto::SigningKey::generate(rng_);
  std::deque<std::function<void()>> posted_;
  Result<void> kept_;                 // what becomes of saving the relays
  std::unique_ptr<Service> service_;  // that is asked
  std::unique_ptr<Service> other_;    // that shares the store, in tests of two
  Bytes exporter_ = Bytes(32, 5);
  std::uint64_t version_ = 0;
};

}  // namespace lanrage::control
