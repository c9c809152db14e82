// The tables of /proc are read without fault whatever stands in them, and no entry has an interface or count below
// zero.
#include <cstdint>

#include "base/check.h"
#include "host/groups.h"
#include "host/sockets.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace lanrage;
  const std::string_view text = as_text({data, size});
  for (const auto& joined : host::parse_igmp(text)) LR_CHECK(joined.interface > 0 && joined.users >= 0);
  for (const auto& joined : host::parse_igmp6(text)) LR_CHECK(joined.interface >= 0 && joined.users >= 0);
  for (const bool v6 : {false, true})
    for (const auto& socket : host::parse_proc_udp(text, v6)) LR_CHECK(socket.v6 == v6);
  return 0;
}
