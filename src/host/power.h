// What this machine runs on.
#pragma once

#include <string>

namespace lanrage::host {

// Whether the machine has a battery, as laptops and handhelds do: an entry of type Battery in `folder` that is not of a
// device attached to it (a mouse). Whether it is plugged in at the moment does not matter.
bool has_battery(const std::string& folder = "/sys/class/power_supply");

}  // namespace lanrage::host
