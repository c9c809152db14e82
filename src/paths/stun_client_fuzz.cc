// A STUN client under a script: records of {u8 what, u8 which, u16 length, bytes}. What it asks can be answered, so
// that answers get behind the transaction check. Its questions stay bounded and it always knows when to wake.
#include "base/check.h"
#include "paths/stun_client.h"

using namespace lanrage;

namespace {

Endpoint server(std::uint8_t which) { return {IpAddress::v4(203, 0, 113, which % 5), 3478}; }

struct Script {
  SeededRng rng{1};
  Time now{std::chrono::seconds(1000)};
  paths::StunClient client{rng};
  std::vector<paths::StunClient::Transmit> asked;

  void answer(std::uint8_t which, ByteView bytes) {
    if (asked.empty()) return;
    const auto& question = asked[which % asked.size()];
    ByteReader in(bytes);
    const Endpoint mapped{IpAddress::v4(in.u32_be()), in.u16_be()};
    Bytes out(wire::kStunResponseBytesMax);
    out.resize(
        wire::write_stun_response({wire::parse_stun_request(question.datagram)->transaction, mapped, true}, out));
    client.handle_packet(now, question.to, out);
  }

  void step(std::uint8_t what, std::uint8_t which, ByteView bytes) {
    switch (what % 6) {
      case 0:
        return client.handle_packet(now, server(which), bytes);
      case 1:
        return answer(which, bytes);
      case 2:
        now += std::chrono::milliseconds(which * 20);
        return client.handle_timeout(now);
      case 3:
        return client.set_servers(now, {server(which), server(static_cast<std::uint8_t>(which / 16))});
      case 4:
        return client.set_local({IpAddress::v4(203, 0, 113, which)}, 4000);
      default:
        return client.restart(now);
    }
  }

  void drain() {
    std::size_t polled = 0;
    while (const auto out = client.poll_transmit()) {
      LR_CHECK(++polled <= 2 * paths::kStunServersMax);
      if (asked.size() < 1000) asked.push_back(*out);
    }
    while (client.poll_event()) {
    }
    (void)client.is_complete();
    LR_CHECK(client.stats().answered <= client.stats().sent);
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Script script;
  ByteReader in({data, size});
  for (int i = 0; i < 200 && in.ok() && !in.rest().empty(); ++i) {
    const std::uint8_t what = in.u8();
    const std::uint8_t which = in.u8();
    script.step(what, which, in.sized_u16());
    script.drain();
  }
  return 0;
}
