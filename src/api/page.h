// The page of the local API in its first form: who is here, on which path, and why. Embedded as text.
#pragma once

#include <string_view>

namespace lanrage::api {

extern const std::string_view kPage;
extern const std::string_view kPageScript;
extern const std::string_view kPageStyle;

}  // namespace lanrage::api
