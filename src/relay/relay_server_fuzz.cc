// Sequences of datagrams from a few addresses against a relay with two members. Input: records of {u8 source, u8 how,
// u16 length, bytes}; `how` 1 puts the MAC right (of the first member), so that what stands behind it is reached.
// Whatever comes: the tables agree with each other, and an address without a session gets no more than it sent.
#include <algorithm>

#include "base/check.h"
#include "relay/server.h"

using namespace lanrage;

namespace {

struct Stage {
  SeededRng rng{1};
  crypto::SigningKey grant_key = crypto::SigningKey::generate(rng);
  crypto::PrivateKey relay_key = crypto::PrivateKey::generate(rng);
  crypto::PrivateKey member = crypto::PrivateKey::generate(rng);
  crypto::PublicKey relay_public = crypto::public_key(relay_key);
  crypto::PublicKey member_public = crypto::public_key(member);
  wire::RelayMacKey mac_key = *wire::relay_mac_key(member, relay_public, member_public, relay_public);
  wire::GrantBytes grant =
      wire::sign_grant({.party = {1}, .peer = member_public, .expires_unix = 2'000'000'000}, grant_key);
};

void set_mac(Bytes& datagram, const wire::RelayMacKey& key) {
  if (datagram.size() < crypto::kMacSize) return;
  const std::size_t covered = datagram.size() - crypto::kMacSize;
  const crypto::Mac mac = crypto::blake2s_mac16(key.bytes(), {ByteView(datagram).first(covered)});
  std::copy(mac.begin(), mac.end(), datagram.begin() + static_cast<std::ptrdiff_t>(covered));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Stage stage;
  SeededRng rng(2);
  relay::Server server({.key = stage.relay_key, .grant_keys = {crypto::verify_key(stage.grant_key)}, .sessions_max = 4},
                       rng);
  Now now{Time{std::chrono::seconds(1000)}, from_unix_seconds(1'700'000'000)};
  const auto source = [](std::uint8_t i) { return Endpoint{IpAddress::v4(203, 0, 113, i % 4), 5}; };
  Bytes question = wire::write_relay_register(1, {}, stage.grant, {}, stage.mac_key);
  const auto challenge = server.handle_packet(now, source(0), question);
  const auto cookie = wire::parse_relay_challenge(challenge->datagram)->cookie;
  question = wire::write_relay_register(2, cookie, stage.grant, std::vector<std::uint32_t>{7}, stage.mac_key);
  LR_CHECK(server.handle_packet(now, source(0), question));
  LR_CHECK(server.sessions() == 1);

  ByteReader in({data, size});
  for (int i = 0; i < 64 && in.ok() && !in.rest().empty(); ++i) {
    const Endpoint from = source(in.u8());
    const std::uint8_t how = in.u8();
    Bytes datagram = to_bytes(in.sized_u16());
    if ((how & 1) != 0) set_mac(datagram, stage.mac_key);
    const std::size_t sent = datagram.size();
    const auto out = server.handle_packet(now, from, datagram);
    LR_CHECK(server.is_consistent());
    if (out && out->to == from) LR_CHECK(out->datagram.size() <= sent);
    if (out && out->to != from) LR_CHECK(server.sessions() >= 2);
    now.time += std::chrono::seconds(how >> 2);
    now.wall += std::chrono::seconds(how >> 2);
    if ((how & 2) != 0) server.handle_timeout(now);
    if (how == 0xff) server.begin_drain(now.time);
    for (std::size_t told = 0; const auto notice = server.poll_drain(now.time); ++told)
      LR_CHECK(told < server.sessions() && wire::parse_relay_drain(notice->datagram));
  }
  return 0;
}
