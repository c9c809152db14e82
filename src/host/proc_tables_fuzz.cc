// The tables of /proc are read without fault whatever stands in them, and no entry has an interface or count below
// zero, nor a share that is none.
#include <cstdint>

#include "base/check.h"
#include "host/groups.h"
#include "host/machine_load.h"
#include "host/sockets.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace lanrage;
  const std::string_view text = as_text({data, size});
  for (const auto& joined : host::parse_igmp(text)) LR_CHECK(joined.interface > 0 && joined.users >= 0);
  for (const auto& joined : host::parse_igmp6(text)) LR_CHECK(joined.interface >= 0 && joined.users >= 0);
  for (const bool v6 : {false, true})
    for (const auto& socket : host::parse_proc_udp(text, v6)) LR_CHECK(socket.v6 == v6);
  if (const auto times = host::parse_cpu_times(text)) LR_CHECK(times->busy <= times->total);
  if (const auto used = host::parse_memory_used(text)) LR_CHECK(*used >= 0 && *used <= 1);
  return 0;
}
