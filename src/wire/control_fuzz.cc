// The first byte chooses what the rest is decoded as; what is accepted must be read back the same from what it encodes
// to.
#include "base/check.h"
#include "wire/control.h"

using namespace lanrage;

namespace {

void check_request(std::string_view path, std::string_view text) {
  const auto request = wire::decode_request(path, text);
  if (!request) return;
  LR_CHECK(wire::request_path(*request) == path);
  const auto again = wire::decode_request(path, wire::encode(*request));
  LR_CHECK(again && *again == *request);
}

template <class Decode>
void check(std::string_view text, Decode decode) {
  const auto value = decode(text);
  if (!value) return;
  const auto again = decode(wire::encode(*value));
  LR_CHECK(again && *again == *value);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text = as_text({data + 1, size - 1});
  switch (data[0] % 17) {
    case 0:
      return check_request("/v1/party/create", text), 0;
    case 1:
      return check_request("/v1/party/join", text), 0;
    case 2:
      return check_request("/v1/party/record", text), 0;
    case 3:
      return check_request("/v1/party/statements", text), 0;
    case 4:
      return check_request("/v1/invite/add", text), 0;
    case 5:
      return check_request("/v1/invite/revoke", text), 0;
    case 6:
      return check(text, wire::decode_hello), 0;
    case 7:
      return check(text, wire::decode_challenge), 0;
    case 8:
      return check(text, wire::decode_proof), 0;
    case 9:
      return check(text, wire::decode_session), 0;
    case 10:
      return check(text, [](std::string_view t) { return wire::decode_response(wire::Join{}, t); }), 0;
    case 11:
      return check(text, [](std::string_view t) { return wire::decode_response(wire::ListInvites{}, t); }), 0;
    case 12:
      (void)wire::decode_error(500, text);
      return 0;
    case 13: {
      const auto signal = wire::decode_signal(text);
      LR_CHECK(!signal || *wire::decode_signal(wire::encode_signal(*signal)) == *signal);
      return 0;
    }
    case 15: {  // a region, a space, addresses, a space, a pin
      std::array<std::string_view, 3> parts;
      std::string_view rest = text;
      for (std::string_view& part : parts) {
        part = rest.substr(0, rest.find(' '));
        rest.remove_prefix(std::min(part.size() + 1, rest.size()));
      }
      const auto offer = wire::parse_offer(parts[0], parts[1], parts[2]);
      if (!offer) return 0;
      std::string addresses;
      for (const Endpoint& endpoint : offer->addresses) addresses += (addresses.empty() ? "" : ",") + endpoint.text();
      const std::string pin = offer->stream ? to_base64url(*offer->stream) : "";
      LR_CHECK(*wire::parse_offer(offer->region, addresses, pin) == *offer);
      return 0;
    }
    case 16:
      return check_request("/v1/relay/report", text), 0;
    default: {
      const auto event = wire::decode_event(text);
      if (!event || !event->has_value()) return 0;
      const auto again = wire::decode_event(wire::encode(**event));
      LR_CHECK(again && *again == *event);
      return 0;
    }
  }
}
