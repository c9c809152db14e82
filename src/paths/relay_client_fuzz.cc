// A relay client under a script: records of {u8 what, u8 which, u16 length, bytes}. The relay's answers are either the
// input's bytes with their MAC and transaction put right, so that what stands behind them is reached, or bytes as they
// are. Nobody without the relay's key registers it, and questions and events stay bounded.
#include <algorithm>

#include "base/check.h"
#include "crypto/hash.h"
#include "paths/relay_client.h"

using namespace lanrage;

namespace {

struct Stage {
  SeededRng rng{1};
  crypto::PrivateKey device = crypto::PrivateKey::generate(rng);
  crypto::PrivateKey relay = crypto::PrivateKey::generate(rng);
  crypto::PublicKey device_public = crypto::public_key(device);
  crypto::PublicKey relay_public = crypto::public_key(relay);
  wire::RelayMacKey key = *wire::relay_mac_key(relay, device_public, device_public, relay_public);
  wire::GrantBytes grant = wire::sign_grant({.peer = device_public}, crypto::SigningKey::generate(rng));
};

Endpoint relay_at(std::uint8_t which) { return {IpAddress::v4(198, 51, 100, which % 3), 41820}; }

struct Script {
  static inline const Stage stage;
  SeededRng rng{2};
  Time now{std::chrono::seconds(1000)};
  paths::RelayClient client{stage.device, rng};
  std::uint64_t transaction = 0;  // of the last question
  bool answered = false;          // with the relay's key

  void step(std::uint8_t what, std::uint8_t which, ByteView bytes) {
    ByteReader in(bytes);
    switch (what % 13) {
      case 0:
        return receive(which, bytes);
      case 1:
        return receive(which, wire::write_relay_challenge({transaction, {which}}));
      case 2: {
        wire::RelayRegistered message;
        message.transaction = transaction;
        message.session = which;
        message.lifetime_seconds = 60;
        message.observed = {IpAddress::v4(in.u32_be()), in.u16_be()};
        std::vector<std::uint32_t> taken;
        while (in.ok() && in.rest().size() >= 4 && taken.size() < 16) taken.push_back(in.u32_be());
        answered = true;
        return receive(which, wire::write_relay_registered(message, taken, stage.key));
      }
      case 3:
        if (which >= 128) return receive(which, wire::write_relay_drain({in.u8(), in.u8()}, stage.key));
        return receive(which, wire::write_relay_refused({in.u8() % 2 == 0 ? transaction : 0,
                                                         static_cast<wire::RelayRefusal>(1 + which % 4)}));
      case 4: {  // any message of the relay's, with a MAC that is right
        Bytes datagram = to_bytes(bytes);
        if (datagram.size() < crypto::kMacSize) return;
        const std::size_t covered = datagram.size() - crypto::kMacSize;
        const crypto::Mac mac = crypto::blake2s_mac16(stage.key.bytes(), {ByteView(datagram).first(covered)});
        std::copy(mac.begin(), mac.end(), datagram.begin() + static_cast<std::ptrdiff_t>(covered));
        answered = true;
        return receive(which, datagram);
      }
      case 5:
        now += std::chrono::milliseconds(which * which);
        return client.handle_timeout(now);
      case 6:
        return client.add_index(now, in.u32_be());
      case 7:
        return client.remove_index(in.u32_be());
      case 8:
        return client.restart(now);
      case 9:
        return client.check(now, {relay_at(which), true});
      case 10:
        if (which % 4 >= 2) {
          const wire::RelayPeer id = wire::relay_peer(stage.relay_public);
          return client.use(now, std::span(&id, which % 4 == 2 ? 1 : 0));
        }
        return client.set_grant(now, which % 2 == 0 ? ByteView(stage.grant) : ByteView());
      case 11: {
        std::vector<paths::RelayAddress> relays = {
            {stage.relay_public, {relay_at(which), relay_at(0)}, which % 2 == 0}};
        if (which >= 200) relays.resize(paths::kRelaysMax + 1);  // too many to use all
        return client.set_relays(now, relays);
      }
      default:
        return client.set_stream(now, stage.relay_public, which % 4 == 3 ? std::nullopt : std::optional(relay_at(2)));
    }
  }

  void receive(std::uint8_t which, ByteView datagram) {
    const auto inbound = client.handle_packet(now, relay_at(which), datagram);
    LR_CHECK(!inbound || (inbound->path.relayed && inbound->payload.size() <= datagram.size()));
  }

  void drain() {
    std::size_t polled = 0;
    while (const auto out = client.poll_transmit()) {
      LR_CHECK(++polled <= paths::kRelayTransmitsMax);
      if (const auto m = wire::parse_relay_register(out->datagram)) transaction = m->transaction;
      if (const auto m = wire::parse_relay_refresh(out->datagram)) transaction = m->transaction;
    }
    polled = 0;
    while (client.poll_event()) LR_CHECK(++polled <= paths::kRelayEventsMax);
    LR_CHECK(answered || client.registered().empty());
    for (const Path& path : client.registered()) LR_CHECK(client.is_relay(path.endpoint) && client.id_of(path));
    LR_CHECK(client.streams_wanted().size() <= 1);
    (void)client.status();
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Script script;
  script.client.set_grant(script.now, Script::stage.grant);
  script.client.set_relays(script.now, {{Script::stage.relay_public, {relay_at(0), relay_at(1)}}});
  script.drain();
  ByteReader in({data, size});
  for (int i = 0; i < 200 && in.ok() && !in.rest().empty(); ++i) {
    const std::uint8_t what = in.u8();
    const std::uint8_t which = in.u8();
    script.step(what, which, in.sized_u16());
    script.drain();
  }
  return 0;
}
