// Any text as bytes in hex and base64, an address, a prefix, an endpoint or log levels: what parses has one text form.
#include "base/bytes.h"
#include "base/check.h"
#include "base/ip.h"
#include "base/log.h"

using namespace lanrage;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteView input(data, size);
  const std::string_view text = as_text(input);
  LR_CHECK(from_hex(to_hex(input)) == to_bytes(input));
  LR_CHECK(from_base64(to_base64(input)) == to_bytes(input));
  LR_CHECK(from_base64url(to_base64url(input)) == to_bytes(input));
  if (const auto bytes = from_hex(text)) LR_CHECK(from_hex(to_hex(*bytes)) == bytes);
  if (const auto bytes = from_base64(text)) LR_CHECK(to_base64(*bytes) == text);
  if (const auto bytes = from_base64url(text)) LR_CHECK(to_base64url(*bytes) == text);
  if (const auto address = IpAddress::from_bytes(input)) LR_CHECK(IpAddress::parse(address->text()) == address);
  if (const auto address = IpAddress::parse(text)) LR_CHECK(IpAddress::parse(address->text()) == address);
  if (const auto endpoint = Endpoint::parse(text)) LR_CHECK(Endpoint::parse(endpoint->text()) == endpoint);
  if (const auto prefix = IpPrefix::parse(text)) {
    LR_CHECK(IpPrefix::parse(prefix->text()) == prefix);
    LR_CHECK(prefix->contains(prefix->address) && prefix->contains(prefix->network().address));
    LR_CHECK(prefix->overlaps(prefix->network()));
  }
  if (const auto levels = LogLevels::parse(text))
    for (const auto& [logger, level] : levels->by_logger) LR_CHECK(*parse_level(level_name(level)) == level);
  return 0;
}
