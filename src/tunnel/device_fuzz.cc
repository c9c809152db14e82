// A device put in each state, then fed: no crash, indices and owners agree, no session from a forgery, no answer larger
// than its question.
// Input: state (1), then packets: what to do (1), length (1), that many bytes.
#include "base/check.h"
#include "tunnel/device.h"
#include "tunnel/testing_pair.h"

using namespace lanrage;
using namespace lanrage::tunnel;
using tunnel::testing::Datagram;
using tunnel::testing::Pair;
namespace wg = lanrage::wire::wireguard;

namespace {

// What A (and Z) said, to be changed and sent again.
void prepare(Pair& pair, std::uint8_t state) {
  using namespace std::chrono_literals;
  pair.introduce();
  if (state == 1 || state == 2) pair.filter = [&pair](Datagram&) { return pair.sent.empty(); };
  if (state >= 1) pair.send(pair.a, "hello");
  if (state >= 2) pair.run_for(10ms);  // 2: Z has answered into nothing and waits to be confirmed
  if (state >= 3) pair.run_for(1s);    // 3: connected
  if (state == 4) pair.run_for(600s);  // 4: every key wiped
  pair.filter = [](Datagram&) { return true; };
}

Bytes changed(Bytes bytes, ByteView by) {
  for (std::size_t i = 0; i < by.size(); ++i) {
    if (i < bytes.size())
      bytes[i] ^= by[i];
    else
      bytes.push_back(by[i]);
  }
  return bytes;
}

Bytes make(Pair& pair, std::uint8_t what, ByteView input, bool& genuine) {
  genuine = false;
  Bytes bytes, original;
  switch (what % 4) {
    case 0:
      return to_bytes(input);
    case 1:  // one of the genuine ones, changed
      if (pair.sent.empty()) return {};
      original = pair.sent[(what >> 4) % pair.sent.size()].bytes;
      bytes = changed(original, input);
      // Without load nobody looks at mac2, the last 16 bytes.
      genuine = bytes.size() == original.size() &&
                std::equal(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(wg::mac2_offset(bytes.size())),
                           original.begin());
      return bytes;
    case 2:
      bytes = wg::write(wg::Initiation{});
      break;
    default:
      bytes = wg::write(wg::Response{});
      break;
  }
  bytes = changed(bytes, input);  // with a mac1 that is right
  if (const auto type = wg::parse_type(bytes); type == wg::Type::kInitiation || type == wg::Type::kResponse)
    CookieStamp(pair.z.public_key).stamp(pair.time, bytes);
  return bytes;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ByteReader reader({data, size});
  Pair pair;
  prepare(pair, reader.u8() % 5);
  Device& device = pair.z.device;
  const Path from = tunnel::testing::path_of(66);
  while (reader.ok() && !reader.rest().empty()) {
    const std::uint8_t what = reader.u8();
    const ByteView input = reader.sized_u8();
    if (!reader.ok()) break;
    bool genuine = false;
    const Bytes datagram = make(pair, what, input, genuine);
    const auto sessions = device.stats().sessions;
    device.handle_packet(pair.now(pair.z), from, datagram, (what & 4) != 0);
    if (!genuine) LR_CHECK(device.stats().sessions == sessions);
    LR_CHECK(device.is_consistent());
    while (const auto transmit = device.poll_transmit())
      if (transmit->path == from) LR_CHECK(transmit->datagram.size() < datagram.size());
    if ((what & 8) != 0) {
      pair.time += std::chrono::seconds{1};
      device.handle_timeout(pair.now(pair.z));
      LR_CHECK(device.is_consistent());
    }
    while (device.poll_event()) {
    }
  }
  return 0;
}
