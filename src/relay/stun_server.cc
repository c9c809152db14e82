#include "relay/stun_server.h"

#include <algorithm>

#include "wire/stun.h"

namespace lanrage::relay {

StunServer::StunServer(Options options) : options_(std::move(options)) {}

std::optional<StunServer::Answer> StunServer::answer(Time now, const Endpoint& source, const Endpoint& local,
                                                     ByteView question, MutableBytes out) {
  const auto drop = [this] {
    ++stats_.dropped;
    return std::nullopt;
  };
  const auto request = wire::parse_stun_request(question);
  if (!request) return drop();
  const std::uint16_t other_port = local.port == options_.port ? options_.second_port : options_.port;
  const auto other = other_address(local.address);
  if ((request->change_port && other_port == 0) || (request->change_address && !other)) return drop();
  wire::StunResponse response{request->transaction, source, request->fingerprint, {}};
  if (options_.second_port != 0) response.other = Endpoint{other.value_or(local.address), other_port};
  std::array<std::uint8_t, wire::kStunResponseBytesMax> answer;
  std::size_t size = wire::write_stun_response(response, answer);
  if (size > question.size()) {
    response.other.reset();
    size = wire::write_stun_response(response, answer);
  }
  if (size > question.size()) return drop();
  const bool elsewhere = request->change_port || request->change_address || request->response_port;
  if (request->response_port == 0) return drop();
  if (elsewhere && !take(now)) {
    ++stats_.dropped_rate;
    return std::nullopt;
  }
  ++stats_.answered;
  std::copy_n(answer.begin(), size, out.begin());
  return Answer{{request->change_address ? *other : local.address, request->change_port ? other_port : local.port},
                {source.address, request->response_port.value_or(source.port)},
                size};
}

std::optional<IpAddress> StunServer::other_address(const IpAddress& local) const {
  const auto& all = options_.addresses;
  const auto here = std::find(all.begin(), all.end(), local);
  if (here == all.end()) return std::nullopt;
  const auto other = [&](const IpAddress& address) { return address.is_v4() == local.is_v4() && address != local; };
  if (const auto next = std::find_if(here, all.end(), other); next != all.end()) return *next;
  if (const auto first = std::find_if(all.begin(), here, other); first != here) return *first;
  return std::nullopt;
}

bool StunServer::take(Time now) {
  const double seconds = std::chrono::duration<double>(now - filled_).count();
  tokens_ = std::min(kChangedAnswersBurst, tokens_ + std::max(0.0, seconds) * kChangedAnswersPerSecond);
  filled_ = now;
  if (tokens_ < 1) return false;
  tokens_ -= 1;
  return true;
}

}  // namespace lanrage::relay
