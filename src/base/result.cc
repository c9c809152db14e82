#include "base/result.h"

#include <cstdio>
#include <cstdlib>
#include <system_error>

#include "base/check.h"

namespace lanrage {

void check_failed(const char* expression, const char* file, int line) {
  std::fprintf(stderr, "lanrage: bug: check failed at %s:%d: %s\n", file, line, expression);
  std::abort();
}

const char* code_name(Code code) {
  switch (code) {
    case Code::kFailed:
      return "failed";
    case Code::kInvalid:
      return "invalid";
    case Code::kUnavailable:
      return "unavailable";
    case Code::kNotFound:
      return "not_found";
    case Code::kRefused:
      return "refused";
    case Code::kTimedOut:
      return "timed_out";
    case Code::kConflict:
      return "conflict";
    case Code::kExpired:
      return "expired";
    case Code::kExhausted:
      return "exhausted";
    case Code::kIo:
      return "io";
  }
  return "failed";
}

int exit_code(Code code) {
  switch (code) {
    case Code::kInvalid:
      return 2;
    case Code::kUnavailable:
      return 3;
    case Code::kNotFound:
      return 4;
    case Code::kRefused:
    case Code::kConflict:
    case Code::kExpired:
    case Code::kExhausted:
      return 5;
    case Code::kTimedOut:
      return 6;
    case Code::kFailed:
    case Code::kIo:
      return 1;
  }
  return 1;
}

int http_status(Code code) {
  switch (code) {
    case Code::kInvalid:
      return 400;
    case Code::kUnavailable:
      return 503;
    case Code::kNotFound:
      return 404;
    case Code::kRefused:
      return 403;
    case Code::kTimedOut:
      return 504;
    case Code::kConflict:
      return 409;
    case Code::kExpired:
      return 410;
    case Code::kExhausted:
      return 429;
    case Code::kFailed:
    case Code::kIo:
      return 500;
  }
  return 500;
}

Error os_error(std::string message, int os_errno) {
  message += ": " + std::generic_category().message(os_errno);
  return Error{Code::kIo, std::move(message), {}, os_errno};
}

}  // namespace lanrage
