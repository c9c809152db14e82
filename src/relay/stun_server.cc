#include "relay/stun_server.h"

#include <algorithm>

#include "wire/stun.h"

namespace lanrage::relay {

std::size_t answer_stun(const Endpoint& source, ByteView question, MutableBytes out) {
  const auto request = wire::parse_stun_request(question);
  if (!request) return 0;
  std::array<std::uint8_t, wire::kStunResponseBytesMax> answer;
  const std::size_t size = wire::write_stun_response({request->transaction, source, request->fingerprint}, answer);
  if (size > question.size()) return 0;
  std::copy_n(answer.begin(), size, out.begin());
  return size;
}

}  // namespace lanrage::relay
