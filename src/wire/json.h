// JSON as a plain value: what the control protocol, the local API and `--json` speak.
//
// A seam: the library behind it (Boost.JSON) is named in json.cc alone. Parsing is bounded in size and depth and never
// throws. Objects keep the order of their members. Integers are exact over the whole range of int64.
#pragma once

#include <array>
#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace lanrage::wire {

struct JsonLimits {
  std::size_t text_bytes_max = 4 * 1024 * 1024;
  int depth_max = 16;
};

class Json {
 public:
  using Array = std::vector<Json>;
  using Member = std::pair<std::string, Json>;
  using Object = std::vector<Member>;

  Json() = default;  // null
  Json(std::nullptr_t) {}
  Json(bool v) : value_(v) {}
  template <std::integral T>
  requires(!std::same_as<T, bool>) Json(T v) : value_(static_cast<std::int64_t>(v)) {}
  template <std::floating_point T>
  Json(T v) : value_(static_cast<double>(v)) {}  // written as null when not finite
  Json(const char* v) : value_(std::string(v)) {}
  Json(std::string_view v) : value_(std::string(v)) {}
  Json(std::string v) : value_(std::move(v)) {}
  Json(Array v) : value_(std::move(v)) {}
  Json(Object v) : value_(std::move(v)) {}
  template <class T>
  Json(const std::optional<T>& v) {  // absent: null
    if (v) *this = Json(*v);
  }

  // Json::object({{"name", name}, {"port", 41820}})
  static Json object(std::initializer_list<Member> members = {}) { return Json(Object(members)); }
  static Json array(std::initializer_list<Json> items = {}) { return Json(Array(items)); }
  // An array of what `f` makes of each item.
  template <class Range, class F>
  static Json list(const Range& range, F&& f) {
    Array items;
    for (const auto& item : range) items.emplace_back(f(item));
    return Json(std::move(items));
  }

  // kInvalid for anything but one JSON text within the limits. Of equal keys the last counts.
  static Result<Json> parse(std::string_view text, const JsonLimits& limits = {});
  std::string text() const;  // on one line

  Json& set(std::string key, Json value);  // on an object or null: adds or replaces a member; gives *this
  Json& push(Json value);                  // on an array or null: appends; gives *this

  bool is_null() const { return std::holds_alternative<std::monostate>(value_); }
  const bool* if_bool() const { return std::get_if<bool>(&value_); }
  const std::int64_t* if_integer() const { return std::get_if<std::int64_t>(&value_); }
  std::optional<double> if_number() const;  // integers too
  const std::string* if_string() const { return std::get_if<std::string>(&value_); }
  const Array* if_array() const { return std::get_if<Array>(&value_); }
  const Object* if_object() const { return std::get_if<Object>(&value_); }
  const Json* find(std::string_view key) const;  // a member of an object; null pointer: none, or no object

  friend bool operator==(const Json&, const Json&) = default;

 private:
  std::variant<std::monostate, bool, std::int64_t, double, std::string, Array, Object> value_;
};

// Reads members of an object into typed, bounded values. After the first member that is missing or not as demanded,
// `result()` is that error (kInvalid, naming the field) and every further read gives an empty value: a decoder checks
// once, at the end. Members it does not ask for are ignored, so that newer senders may add some.
class JsonReader {
 public:
  explicit JsonReader(const Json& object);

  std::string string(std::string_view key, std::size_t bytes_max, std::size_t bytes_min = 0);
  std::int64_t integer(std::string_view key, std::int64_t min, std::int64_t max);
  std::uint64_t counter(std::string_view key);  // 0 to 2^63-1
  bool flag(std::string_view key);
  Bytes bytes(std::string_view key, std::size_t bytes_max, std::size_t bytes_min = 0);  // base64url text
  template <std::size_t N>
  std::array<std::uint8_t, N> array(std::string_view key) {  // base64url text of exactly N bytes
    std::array<std::uint8_t, N> out{};
    const Bytes read = bytes(key, N, N);
    if (read.size() == N) std::copy(read.begin(), read.end(), out.begin());
    return out;
  }
  const Json::Array& items(std::string_view key, std::size_t count_max);
  Bytes item_bytes(const Json& item, std::string_view key, std::size_t bytes_max);  // an item that is base64url text
  bool has(std::string_view key) const;                                             // there and not null

  void fail(std::string_view key, std::string_view demand);  // for demands that the reader does not know
  bool ok() const { return !error_; }
  Result<void> result() const;

 private:
  const Json* get(std::string_view key);
  const Json& object_;
  std::optional<Error> error_;
};

}  // namespace lanrage::wire
