#include "host/power.h"

#include <filesystem>

#include "host/proc_file.h"

namespace lanrage::host {
namespace {

// The first word of an attribute; empty: there is none.
std::string attribute(const std::filesystem::path& entry, const char* name) {
  const std::string text = read_proc_file((entry / name).c_str());
  return text.substr(0, text.find_first_of(" \t\n"));
}

}  // namespace

bool has_battery(const std::string& folder) {
  std::error_code failure;
  std::filesystem::directory_iterator entry(folder, failure);
  for (; !failure && entry != std::filesystem::directory_iterator(); entry.increment(failure)) {
    // Few drivers of a machine's own battery say that its scope is System; those of devices say Device.
    if (attribute(entry->path(), "type") == "Battery" && attribute(entry->path(), "scope") != "Device") return true;
  }
  return false;
}

}  // namespace lanrage::host
