// Any file of hours: what is taken from it is written back the same, and stays within its bounds.
#include "base/check.h"
#include "node/quality_history.h"

using namespace lanrage;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  node::QualityHistory history;
  history.restore({reinterpret_cast<const char*>(data), size});
  const std::string text = history.text();
  node::QualityHistory again;
  again.restore(text);
  LR_CHECK(again.text() == text);
  return 0;
}
