// Any text as a request's target or a header: Beast parses messages, these are what we read from them ourselves.
#include "base/check.h"
#include "net/http.h"

using namespace lanrage;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = as_text({data, size});
  net::HttpRequest request;
  request.target = text;
  LR_CHECK(text.starts_with(request.path()) && request.path().find('?') == std::string_view::npos);
  for (const char* name : {"", "from", "party", "a b"}) LR_CHECK(request.query(name).size() <= size);
  request.headers = {{std::string(text), "value"}};
  LR_CHECK(request.header(text) == "value");
  return 0;
}
