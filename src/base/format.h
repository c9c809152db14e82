// Text formatting, by {fmt}: the one header that names it.
#pragma once

#include <fmt/format.h>

namespace lanrage {
using fmt::format;
}  // namespace lanrage
