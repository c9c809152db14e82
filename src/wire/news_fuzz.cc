// What is accepted must be read back the same from what it encodes to.
#include "base/check.h"
#include "wire/news.h"

using namespace lanrage;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto news = wire::decode_news(as_text({data, size}));
  if (!news || !*news) return 0;
  const auto again = wire::decode_news(wire::encode(**news));
  LR_CHECK(again && *again == *news);
  return 0;
}
