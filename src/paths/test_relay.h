// For tests of relay_client.h: a relay played by hand.
#pragma once

#include <gtest/gtest.h>

#include "paths/relay_client.h"

namespace lanrage::paths {

using namespace std::chrono_literals;

inline const Endpoint kV4 = *Endpoint::parse("198.51.100.1:41820");
inline const Endpoint kV6 = *Endpoint::parse("[2001:db8::1]:41820");
inline const Endpoint kUs = *Endpoint::parse("203.0.113.9:1234");

// What it is sent is parsed, what it answers is written here.
struct RelayClientTest : testing::Test {
  SeededRng rng{1};
  crypto::PrivateKey device = crypto::PrivateKey::generate(rng);
  crypto::PrivateKey relay = crypto::PrivateKey::generate(rng);
  crypto::PublicKey device_public = crypto::public_key(device);
  crypto::PublicKey relay_public = crypto::public_key(relay);
  wire::RelayMacKey key = *wire::relay_mac_key(relay, device_public, device_public, relay_public);
  wire::GrantBytes grant = wire::sign_grant({.peer = device_public}, crypto::SigningKey::generate(rng));
  RelayClient client{device, rng};
  Time now{1000s};
  wire::RelaySession session = 77;

  std::vector<RelayClient::Transmit> sent() {
    std::vector<RelayClient::Transmit> all;
    while (auto one = client.poll_transmit()) all.push_back(std::move(*one));
    return all;
  }
  std::vector<RelayClient::Event> events() {
    std::vector<RelayClient::Event> all;
    while (auto one = client.poll_event()) all.push_back(*one);
    return all;
  }
  void run(Duration d) {
    const Time end = now + d;
    while (client.next_timeout() && *client.next_timeout() <= end) {
      now = *client.next_timeout();
      client.handle_timeout(now);
    }
    now = end;
  }
  void begin(std::vector<Endpoint> endpoints = {kV4}) {
    client.set_grant(now, grant);
    client.set_relays(now, {{relay_public, std::move(endpoints)}});
  }
  void challenge(const RelayClient::Transmit& question, const wire::RelayCookie& cookie = {1}) {
    const auto message = wire::parse_relay_register(question.datagram);
    ASSERT_TRUE(message);
    client.handle_packet(now, question.to, wire::write_relay_challenge({message->transaction, cookie}));
  }
  std::uint64_t transaction_of(const RelayClient::Transmit& question) {
    if (const auto m = wire::parse_relay_register(question.datagram)) return m->transaction;
    if (const auto m = wire::parse_relay_refresh(question.datagram)) return m->transaction;
    return 0;
  }
  Bytes registered(std::uint64_t transaction, const std::vector<std::uint32_t>& taken = {}) {
    wire::RelayRegistered message;
    message.transaction = transaction;
    message.session = session;
    message.lifetime_seconds = 60;
    message.observed = kUs;
    return wire::write_relay_registered(message, taken, key);
  }
  void accept(const RelayClient::Transmit& question, const std::vector<std::uint32_t>& taken = {}) {
    ASSERT_TRUE(wire::verify_relay_mac(question.datagram, key));
    client.handle_packet(now, question.to, registered(transaction_of(question), taken));
  }
  void enter() {
    begin();
    now += 30ms;
    challenge(sent().at(0));
    now += 30ms;
    accept(sent().at(0));
    events();
  }
  // Answers the questions that follow at once, each after so long.
  void settle(Duration rtt = 30ms) {
    while (client.status().at(0).quality.probes() < kRelayFirstProbes) {
      run(kRelayFirstGap);
      const auto question = sent().at(0);
      now += rtt;
      wire::parse_relay_register(question.datagram) ? challenge(question) : accept(question);
    }
  }
};

}  // namespace lanrage::paths
