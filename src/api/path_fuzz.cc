// Any text as a path against patterns like the routes': what matches is put together again from its parameters.
#include "api/api.h"
#include "base/check.h"

using namespace lanrage;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view path = as_text({data, size});
  LR_CHECK(!api::match_path("/api/status", path) || path == "/api/status");
  if (const auto found = api::match_path("/api/{noun}/{id}", path))
    LR_CHECK("/api/" + found->at("noun") + "/" + found->at("id") == path);
  // Any text as a pattern, too: none makes the match run past either.
  const std::size_t middle = size / 2;
  (void)api::match_path(path.substr(0, middle), path.substr(middle));
  return 0;
}
