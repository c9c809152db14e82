// Any text as a request's target, a router's URL or the address that it tells: Beast and miniupnpc parse messages,
// these are what we read from them ourselves.
#include "base/check.h"
#include "net/http.h"
#include "net/port_map.h"

using namespace lanrage;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = as_text({data, size});
  net::HttpRequest request;
  request.target = text;
  LR_CHECK(text.starts_with(request.path()) && request.path().find('?') == std::string_view::npos);
  for (const char* name : {"", "from", "party", "a b"}) LR_CHECK(request.query(name).size() <= size);
  request.headers = {{std::string(text), "value"}};
  LR_CHECK(request.header(text) == "value");

  const auto address = net::external_address(text);
  LR_CHECK(!address || (address->is_v4() && !address->is_private()));
  const IpAddress router = IpAddress::v4(192, 168, 1, 1);
  LR_CHECK(!net::url_is_at(text, router) || text.starts_with("http://192.168.1.1"));
  LR_CHECK(!(net::url_is_at(text, router) && net::url_is_at(text, IpAddress::v4(192, 168, 1, 10))));
  return 0;
}
