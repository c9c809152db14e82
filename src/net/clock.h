// The real clocks, the only place that reads them. Cores never call this: they get the values as arguments.
#pragma once

#include "base/time.h"

namespace lanrage::net {

// CLOCK_BOOTTIME (keeps counting while the machine sleeps) and CLOCK_REALTIME. Thread-safe; about 50 ns, so call it
// once per batch, not per packet.
Now now();

}  // namespace lanrage::net
