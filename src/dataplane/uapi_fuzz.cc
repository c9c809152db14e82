// The userspace configuration protocol: what parses is printed and parsed again the same.
#include "base/check.h"
#include "dataplane/uapi.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace lanrage;
  using namespace lanrage::dataplane;
  const std::string_view text = as_text({data, size});
  const std::size_t first = uapi_request_size(text);
  LR_CHECK(first <= size);
  const auto request = parse_uapi(first == 0 ? text : text.substr(0, first));
  if (!request || !request->set) return 0;
  const std::string printed = format_uapi(*request->set);
  const auto again = parse_uapi(printed);
  LR_CHECK(again && again->set && format_uapi(*again->set) == printed);
  return 0;
}
