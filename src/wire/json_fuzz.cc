// Any text as JSON: what parses is written and read back as the same value.
#include "base/check.h"
#include "wire/json.h"

using namespace lanrage;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto json = wire::Json::parse(as_text({data, size}), {.text_bytes_max = 64 * 1024, .depth_max = 8});
  if (!json) return 0;
  const std::string text = json->text();
  const auto again = wire::Json::parse(text, {.depth_max = 8});
  LR_CHECK(again && again->text() == text);
  return 0;
}
