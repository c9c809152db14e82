#include "wire/json.h"

#include <boost/json.hpp>

#include <cmath>
#include <limits>

#include "base/format.h"

namespace lanrage::wire {
namespace {

namespace bj = boost::json;

Json from_library(const bj::value& value) {
  switch (value.kind()) {
    case bj::kind::null:
      return {};
    case bj::kind::bool_:
      return value.get_bool();
    case bj::kind::int64:
      return value.get_int64();
    case bj::kind::uint64:  // only above the range of int64
      return static_cast<double>(value.get_uint64());
    case bj::kind::double_:
      return value.get_double();
    case bj::kind::string:
      return std::string_view(value.get_string().data(), value.get_string().size());
    case bj::kind::array: {
      Json::Array items;
      items.reserve(value.get_array().size());
      for (const auto& item : value.get_array()) items.push_back(from_library(item));
      return items;
    }
    case bj::kind::object: {
      Json::Object members;
      members.reserve(value.get_object().size());
      for (const auto& member : value.get_object())
        members.emplace_back(std::string(member.key().data(), member.key().size()), from_library(member.value()));
      return members;
    }
  }
  return {};
}

void append_string(std::string& out, std::string_view text) {
  out += bj::serialize(bj::string_view(text.data(), text.size()));
}

void append_value(std::string& out, const Json& value) {
  if (value.is_null()) {
    out += "null";
  } else if (const bool* flag = value.if_bool()) {
    out += *flag ? "true" : "false";
  } else if (const std::int64_t* integer = value.if_integer()) {
    out += std::to_string(*integer);
  } else if (const std::string* text = value.if_string()) {
    append_string(out, *text);
  } else if (const Json::Array* items = value.if_array()) {
    char separator = '[';
    for (const Json& item : *items) {
      out += separator;
      append_value(out, item);
      separator = ',';
    }
    out += items->empty() ? "[]" : "]";
  } else if (const Json::Object* members = value.if_object()) {
    char separator = '{';
    for (const auto& [key, member] : *members) {
      out += separator;
      append_string(out, key);
      out += ':';
      append_value(out, member);
      separator = ',';
    }
    out += members->empty() ? "{}" : "}";
  } else {
    const double number = *value.if_number();
    out += std::isfinite(number) ? format("{}", number) : "null";
  }
}

}  // namespace

Result<Json> Json::parse(std::string_view text, const JsonLimits& limits) {
  if (text.size() > limits.text_bytes_max) return Error{Code::kInvalid, "JSON text is too long"};
  try {
    bj::parse_options options;
    options.max_depth = static_cast<std::size_t>(limits.depth_max);
    bj::error_code error;
    bj::monotonic_resource memory;
    const bj::value value = bj::parse(bj::string_view(text.data(), text.size()), error, &memory, options);
    if (error) return Error{Code::kInvalid, "not valid JSON: " + error.message()};
    return from_library(value);
  } catch (const std::exception& e) {
    return Error{Code::kInvalid, std::string("not valid JSON: ") + e.what()};
  }
}

std::string Json::text() const {
  std::string out;
  append_value(out, *this);
  return out;
}

Json& Json::set(std::string key, Json value) {
  if (is_null()) value_ = Object{};
  auto* members = std::get_if<Object>(&value_);
  LR_CHECK(members != nullptr);
  for (Member& member : *members) {
    if (member.first != key) continue;
    member.second = std::move(value);
    return *this;
  }
  members->emplace_back(std::move(key), std::move(value));
  return *this;
}

Json& Json::push(Json value) {
  if (is_null()) value_ = Array{};
  auto* items = std::get_if<Array>(&value_);
  LR_CHECK(items != nullptr);
  items->push_back(std::move(value));
  return *this;
}

std::optional<double> Json::if_number() const {
  if (const auto* integer = if_integer()) return static_cast<double>(*integer);
  if (const auto* number = std::get_if<double>(&value_)) return *number;
  return std::nullopt;
}

const Json* Json::find(std::string_view key) const {
  const Object* members = if_object();
  if (!members) return nullptr;
  for (const auto& member : *members)
    if (member.first == key) return &member.second;
  return nullptr;
}

JsonReader::JsonReader(const Json& object) : object_(object) {
  if (!object.if_object()) error_ = Error{Code::kInvalid, "not a JSON object"};
}

void JsonReader::fail(std::string_view key, std::string_view demand) {
  if (!error_) error_ = Error{Code::kInvalid, format("field \"{}\" must be {}", key, demand)};
}

Result<void> JsonReader::result() const {
  if (error_) return *error_;
  return {};
}

const Json* JsonReader::get(std::string_view key) {
  if (error_) return nullptr;
  const Json* found = object_.find(key);
  if (!found) error_ = Error{Code::kInvalid, format("field \"{}\" is missing", key)};
  return found;
}

bool JsonReader::has(std::string_view key) const {
  const Json* found = object_.find(key);
  return found && !found->is_null();
}

std::string JsonReader::string(std::string_view key, std::size_t bytes_max, std::size_t bytes_min) {
  const Json* found = get(key);
  if (!found) return {};
  const std::string* text = found->if_string();
  if (text && text->size() <= bytes_max && text->size() >= bytes_min) return *text;
  fail(key, format("a string of {} to {} bytes", bytes_min, bytes_max));
  return {};
}

std::int64_t JsonReader::integer(std::string_view key, std::int64_t min, std::int64_t max) {
  const Json* found = get(key);
  if (!found) return {};
  const std::int64_t* number = found->if_integer();
  if (number && *number >= min && *number <= max) return *number;
  fail(key, format("an integer from {} to {}", min, max));
  return {};
}

std::uint64_t JsonReader::counter(std::string_view key) {
  return static_cast<std::uint64_t>(integer(key, 0, std::numeric_limits<std::int64_t>::max()));
}

bool JsonReader::flag(std::string_view key) {
  const Json* found = get(key);
  if (!found) return false;
  if (const bool* flag = found->if_bool()) return *flag;
  fail(key, "true or false");
  return false;
}

Bytes JsonReader::bytes(std::string_view key, std::size_t bytes_max, std::size_t bytes_min) {
  const Json* found = get(key);
  if (!found) return {};
  Bytes read = item_bytes(*found, key, bytes_max);
  if (ok() && read.size() < bytes_min) fail(key, format("base64url of at least {} bytes", bytes_min));
  return ok() ? read : Bytes{};
}

Bytes JsonReader::item_bytes(const Json& item, std::string_view key, std::size_t bytes_max) {
  if (error_) return {};
  const std::string* text = item.if_string();
  if (text && text->size() <= (bytes_max * 4 + 2) / 3) {
    if (auto decoded = from_base64url(*text); decoded && decoded->size() <= bytes_max) return *std::move(decoded);
  }
  fail(key, format("base64url of at most {} bytes", bytes_max));
  return {};
}

const Json::Array& JsonReader::items(std::string_view key, std::size_t count_max) {
  static const Json::Array none;
  const Json* found = get(key);
  if (!found) return none;
  const Json::Array* array = found->if_array();
  if (array && array->size() <= count_max) return *array;
  fail(key, format("an array of at most {} items", count_max));
  return none;
}

}  // namespace lanrage::wire
