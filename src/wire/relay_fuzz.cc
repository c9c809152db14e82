// Every relay message that parses is of the type that its word says, and of no other; lists stay inside the datagram.
#include "base/check.h"
#include "wire/relay.h"

using namespace lanrage;

namespace {

std::uint64_t sum(const wire::IndexList& list) {
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < list.size(); ++i) total += list[i];
  return total;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using enum wire::RelayType;
  const ByteView datagram(data, size);
  const auto type = wire::relay_type(datagram);
  std::uint64_t total = 0;
  if (const auto m = wire::parse_relay_register(datagram)) {
    LR_CHECK(type == kRegister && m->grant.size() == wire::kGrantBytes);
    total += sum(m->indices);
    if (const auto grant = wire::parse_grant(m->grant)) LR_CHECK(grant->expires_unix >= 0);
  }
  if (wire::parse_relay_challenge(datagram)) LR_CHECK(type == kChallenge);
  if (const auto m = wire::parse_relay_registered(datagram)) {
    LR_CHECK(type == kRegistered);
    total += sum(m->taken);
  }
  if (const auto m = wire::parse_relay_refused(datagram)) {
    LR_CHECK(type == kRefused);
    const Bytes again = wire::write_relay_refused(*m);
    LR_CHECK(std::memcmp(again.data(), data, size) == 0);
  }
  if (const auto m = wire::parse_relay_refresh(datagram)) {
    LR_CHECK(type == kRefresh);
    total += sum(m->added) + sum(m->removed);
  }
  if (const auto m = wire::parse_relay_frame(datagram)) {
    LR_CHECK(type == kSend || type == kDeliver);
    LR_CHECK(m->payload.size() + wire::kRelayHeaderBytes == size);
  }
  if (wire::parse_relay_absent(datagram)) LR_CHECK(type == kAbsent);
  if (wire::parse_relay_leave(datagram)) LR_CHECK(type == kLeave);
  if (wire::parse_relay_drain(datagram)) LR_CHECK(type == kDrain);
  return total == UINT64_MAX ? 1 : 0;
}
