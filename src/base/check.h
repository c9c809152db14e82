// Checks for bugs. A failed check is a defect in LANrage, never a consequence of input: it ends the process.
#pragma once

namespace lanrage {

[[noreturn]] void check_failed(const char* expression, const char* file, int line);

}  // namespace lanrage

// Always on.
#define LR_CHECK(condition) \
  ((condition) ? static_cast<void>(0) : ::lanrage::check_failed(#condition, __FILE__, __LINE__))

// For invariants too expensive for a release build.
#ifdef NDEBUG
#define LR_DCHECK(condition) static_cast<void>(0)
#else
#define LR_DCHECK(condition) LR_CHECK(condition)
#endif
