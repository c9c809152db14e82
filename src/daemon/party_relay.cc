#include "daemon/party_relay.h"

#include <algorithm>

namespace lanrage::daemon {
namespace {

constexpr std::size_t kSessionsMax = 512;
constexpr std::uint32_t kRegistrationsPerSecond = 50;
// Of each member: enough for games and talk of dozens, little enough for the line of whoever relays.
constexpr std::uint64_t kBytesPerSecond = 4 * 1024 * 1024;
constexpr std::uint64_t kBurstBytes = 1024 * 1024;
constexpr Duration kUnusedPatience = std::chrono::milliseconds(100);  // for the members' notice to go out

}  // namespace

Result<std::unique_ptr<PartyRelay>> PartyRelay::start(const party::Identity& identity, const party::PartyId& party,
                                                      std::vector<crypto::VerifyKey> grant_keys, std::uint16_t port,
                                                      Time now, const Logger& log) {
  control::UdpService::Options options;
  options.port = port;
  options.stun = false;
  relay::ServerOptions& relay = options.relay.emplace();
  relay.key = identity.private_key();
  relay.grant_keys = grant_keys;
  std::copy(party.bytes().begin(), party.bytes().end(), relay.party.emplace().begin());
  relay.sessions_max = kSessionsMax;
  relay.registrations_per_second = kRegistrationsPerSecond;
  relay.bytes_per_second = kBytesPerSecond;
  relay.burst_bytes = kBurstBytes;
  auto udp = control::UdpService::start(options, log);
  if (!udp && udp.error().code == Code::kConflict) {
    options.port = 0;
    udp = control::UdpService::start(options, log);
  }
  if (!udp) return std::move(udp).error();
  return std::unique_ptr<PartyRelay>(new PartyRelay(std::move(*udp), party, std::move(grant_keys), now));
}

PartyRelay::PartyRelay(std::unique_ptr<control::UdpService> udp, const party::PartyId& party,
                       std::vector<crypto::VerifyKey> grant_keys, Time now)
    : udp_(std::move(udp)), meter_(*udp_, now), party_(party), grant_keys_(std::move(grant_keys)) {
  report_.health = 100;  // nobody has used it yet
  look_at_ = now + control::kRelayReportInterval;
}

void PartyRelay::set_grant_keys(const std::vector<crypto::VerifyKey>& keys) {
  if (keys == grant_keys_) return;
  grant_keys_ = keys;
  udp_->set_grant_keys(keys);
}

const wire::ReportRelay& PartyRelay::look(Time now) {
  if (now < look_at_) return report_;
  look_at_ = now + control::kRelayReportInterval;
  before_ = std::move(report_);
  report_ = meter_.look(now);
  return report_;
}

// A few packets a second at least, in the last five to ten: members' own probes of the way alone are fewer.
bool PartyRelay::is_used() const {
  const auto stats = udp_->stats().relay;
  return stats.packets_forwarded + stats.frames_forwarded >= before_.packets_out + 20;
}

void PartyRelay::stop(Time now, Duration patience) {
  gone_at_ = std::min(gone_at_, now + (is_used() ? patience : kUnusedPatience));
  udp_->drain();
}

}  // namespace lanrage::daemon
