// A value or an error, for everything that can fail.
//
// Method names are those of std::expected, so that this becomes an alias once the toolchain has it. Nothing in LANrage
// throws; a library that throws is caught in the adapter that calls it. On the hot path a bad packet is not an error:
// parsers return std::optional and the caller counts the drop.
#pragma once

#include <string>
#include <utility>
#include <variant>

#include "base/check.h"

namespace lanrage {

// What went wrong, as far as a caller or a person can act on it. Order is part of no format; names are (`code_name`).
enum class Code {
  kFailed,       // something else: see the message
  kInvalid,      // the input cannot mean anything
  kUnavailable,  // the other side is not there: no node running, server unreachable
  kNotFound,
  kRefused,  // understood and not allowed
  kTimedOut,
  kConflict,  // contradicts what is already so: name taken, version moved on
  kExpired,
  kExhausted,  // a limit is reached: uses, members, rate
  kIo,         // the operating system said no
};

const char* code_name(Code code);  // "not_found"
int exit_code(Code code);          // process exit code, DESIGN section 6
int http_status(Code code);

struct Error {
  Code code = Code::kFailed;
  std::string message;  // one line, without the hint
  std::string hint{};   // what to do next; may be empty
  int os_errno = 0;
};

// An Error from errno, `message` followed by the system's text.
Error os_error(std::string message, int os_errno);

template <class T>
class [[nodiscard]] Result {
 public:
  using value_type = T;
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool has_value() const { return state_.index() == 0; }
  explicit operator bool() const { return has_value(); }

  T& value() & {
    LR_CHECK(has_value());
    return std::get<0>(state_);
  }
  const T& value() const& {
    LR_CHECK(has_value());
    return std::get<0>(state_);
  }
  T&& value() && {
    LR_CHECK(has_value());
    return std::get<0>(std::move(state_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  const Error& error() const& {
    LR_CHECK(!has_value());
    return std::get<1>(state_);
  }
  Error&& error() && {
    LR_CHECK(!has_value());
    return std::get<1>(std::move(state_));
  }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  using value_type = void;
  Result() = default;
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool has_value() const { return state_.index() == 0; }
  explicit operator bool() const { return has_value(); }
  const Error& error() const& {
    LR_CHECK(!has_value());
    return std::get<1>(state_);
  }
  Error&& error() && {
    LR_CHECK(!has_value());
    return std::get<1>(std::move(state_));
  }

 private:
  std::variant<std::monostate, Error> state_;
};

}  // namespace lanrage

#define LR_CONCAT_INNER(a, b) a##b
#define LR_CONCAT(a, b) LR_CONCAT_INNER(a, b)

// Returns the error of `expression` (a Result) from the enclosing function, if it has one.
#define LR_TRY(expression)                                                                                      \
  do {                                                                                                          \
    if (auto lr_try_result = (expression); !lr_try_result.has_value()) return std::move(lr_try_result).error(); \
  } while (false)

// LR_ASSIGN(auto fd, open_tun(name)): declares or assigns the value, or returns the error.
#define LR_ASSIGN(target, expression) LR_ASSIGN_IMPL(LR_CONCAT(lr_assign_, __LINE__), target, expression)
#define LR_ASSIGN_IMPL(name, target, expression)         \
  auto name = (expression);                              \
  if (!name.has_value()) return std::move(name).error(); \
  target = std::move(name).value()
