// The doorkeeper: never says yes to what it did not stamp, never answers with more than it was sent.
// Input: kind (1), seconds that pass (1), then a datagram or the changes to a genuine one.
#include "base/check.h"
#include "tunnel/cookie.h"

using namespace lanrage;
using namespace lanrage::tunnel;
namespace wg = lanrage::wire::wireguard;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  SeededRng rng(1);
  const auto ours = crypto::public_key(crypto::PrivateKey::generate(rng));
  CookieChecker checker(ours, rng);
  CookieStamp stamp(ours);
  const Path source{{IpAddress::v4(192, 0, 2, 1), 1}, (data[0] & 0x80) != 0};
  Time now{std::chrono::seconds{1000}};
  const Duration passed = std::chrono::seconds{data[1]};
  const ByteView input(data + 2, size - 2);

  switch (data[0] % 3) {
    case 0: {  // as it comes
      if (checker.check(now, source, input) != CookieChecker::Verdict::kInvalid)
        LR_CHECK(checker.make_reply(now, source, input).size() < input.size());
      if (const auto reply = wg::parse_cookie_reply(input)) LR_CHECK(!stamp.consume(now, *reply));
      break;
    }
    case 1: {  // a genuine message with a cookie, some time later, some bytes changed
      Bytes message = wg::write(wg::Initiation{});
      stamp.stamp(now, message);
      LR_CHECK(stamp.consume(now, *wg::parse_cookie_reply(checker.make_reply(now, source, message))));
      stamp.stamp(now, message);
      Bytes changed = message;
      for (std::size_t i = 0; i < input.size() && i < changed.size(); ++i) changed[i] ^= input[i];
      const auto verdict = checker.check(now + passed, source, changed);
      const bool same_body = std::equal(message.begin(), message.begin() + 132, changed.begin());
      const bool same = changed == message;
      LR_CHECK((verdict != CookieChecker::Verdict::kInvalid) == same_body);
      LR_CHECK((verdict == CookieChecker::Verdict::kValidCookie) == (same && passed < 2 * kCookieLife));
      break;
    }
    case 2: {  // a changed reply gives no cookie
      Bytes message = wg::write(wg::Response{});
      stamp.stamp(now, message);
      const Bytes reply = checker.make_reply(now, source, message);
      Bytes changed = reply;
      for (std::size_t i = 8; i - 8 < input.size() && i < changed.size(); ++i) changed[i] ^= input[i - 8];
      LR_CHECK(stamp.consume(now, *wg::parse_cookie_reply(changed)) == (changed == reply));
      break;
    }
  }
  return 0;
}
