#include "config/config.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  lanrage::config::Config::Sources sources;
  sources.file_name = "fuzz";
  sources.file_text.assign(reinterpret_cast<const char*>(data), size);
  if (auto config = lanrage::config::Config::load(sources))
    LR_CHECK(config->entries().size() == lanrage::config::Config::keys().size());
  return 0;
}
