#include "paths/binding_lifetime.h"

#include <algorithm>
#include <array>
#include <utility>

namespace lanrage::paths {
namespace {

constexpr std::array<Duration, 3> kLonger = {std::chrono::seconds(20), std::chrono::seconds(30),
                                             std::chrono::seconds(75)};
constexpr Duration kLate = std::chrono::seconds(1);  // more than that: this machine slept
constexpr std::array<Duration, 3> kShorter = {std::chrono::seconds(10), std::chrono::seconds(5),
                                              std::chrono::seconds(3)};

}  // namespace

bool LifetimeReport::is_complete() const {
  return at_least == kLonger.back() || (below && (at_least != Duration{} || below == kShorter.back()));
}

// A sixth of it is left for the spread of idle paths' pings and for a packet's way.
Duration LifetimeReport::keepalive() const { return at_least == Duration{} ? kKeepaliveMin : at_least * 5 / 6; }

BindingLifetime::BindingLifetime(Rng& rng) : rng_(rng) {}

void BindingLifetime::start(Time now, const Endpoint& server) {
  stop();
  server_ = server;
  begin_trial(now, Duration{});
}

void BindingLifetime::stop() {
  phase_ = Phase::kIdle;
  due_ = kNever;
  known_ = {};
  failed_.reset();
  found_.reset();
  transmits_.clear();
}

void BindingLifetime::begin_trial(Time now, Duration span) {
  phase_ = Phase::kTalking;
  span_ = span;
  sent_ = answered_ = 0;
  due_ = now;
  handle_timeout(now);
}

void BindingLifetime::send(Socket socket, Bytes datagram) {
  ++sent_;
  transmits_.push_back({socket, server_, std::move(datagram)});
}

void BindingLifetime::handle_packet(Time now, Socket socket, const Endpoint& source, ByteView datagram) {
  if (socket != Socket::kFirst || source != server_) return;
  const auto response = wire::parse_stun_response(datagram);
  if (!response || response->transaction != transaction_) return;
  if (phase_ == Phase::kAsking) return remembered(now);
  if (phase_ != Phase::kTalking) return;
  mapped_ = response->mapped;
  transaction_ = rng_.array<12>();  // a copy of this answer is none to the next question
  if (++answered_ < kTalkAnswers) return;
  phase_ = Phase::kSilent;
  due_ = now + span_;
}

void BindingLifetime::handle_timeout(Time now) {
  if (now < due_) return;
  if (phase_ != Phase::kTalking && now - due_ > kLate) return begin_trial(now, span_);
  switch (phase_) {
    case Phase::kIdle:
      return;
    case Phase::kTalking:
      if (sent_ == kTalkTries) return end();
      transaction_ = rng_.array<12>();
      send(Socket::kFirst, wire::write_stun_discovery(transaction_, false, false));
      due_ = now + kTalkGap;
      return;
    case Phase::kSilent:
      phase_ = Phase::kAsking;
      transaction_ = rng_.array<12>();
      sent_ = 0;
      [[fallthrough]];
    case Phase::kAsking:
      if (sent_ == kPortAnswerTries) return forgotten(now);
      send(Socket::kSecond, wire::write_stun_to_port(transaction_, mapped_.port));
      due_ = now + kPortAnswerWait;
      return;
  }
}

void BindingLifetime::remembered(Time now) {
  if (const auto failed = std::exchange(failed_, std::nullopt)) return believe(now, *failed);
  if (span_ != Duration{}) {
    known_.at_least = span_;
    found_ = known_;
  }
  const auto next = std::upper_bound(kLonger.begin(), kLonger.end(), span_);
  if (known_.below || next == kLonger.end()) return end();
  begin_trial(now, *next);
}

void BindingLifetime::forgotten(Time now) {
  if (span_ == Duration{}) return end();
  failed_ = span_;
  begin_trial(now, Duration{});
}

// A flow silent for so long is not remembered, while one that was not silent is.
void BindingLifetime::believe(Time now, Duration failed) {
  known_.below = failed;
  found_ = known_;
  const auto next = std::find_if(kShorter.begin(), kShorter.end(), [&](Duration span) { return span < failed; });
  if (known_.at_least != Duration{} || next == kShorter.end()) return end();
  begin_trial(now, *next);
}

// What was found was told.
void BindingLifetime::end() {
  phase_ = Phase::kIdle;
  due_ = kNever;
}

std::optional<Time> BindingLifetime::next_timeout() const {
  return due_ == kNever ? std::nullopt : std::optional(due_);
}

std::optional<NatDiscovery::Transmit> BindingLifetime::poll_transmit() {
  if (transmits_.empty()) return std::nullopt;
  NatDiscovery::Transmit out = std::move(transmits_.front());
  transmits_.pop_front();
  return out;
}

std::optional<LifetimeReport> BindingLifetime::poll_event() { return std::exchange(found_, std::nullopt); }

}  // namespace lanrage::paths
