#include "host/groups.h"

#include <charconv>
#include <cstring>

#include "host/proc_file.h"

namespace lanrage::host {
namespace {

std::optional<int> decimal(std::string_view text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}

}  // namespace

std::vector<lan::GroupMembership> parse_igmp(std::string_view text) {
  std::vector<lan::GroupMembership> out;
  int interface = 0;
  for_each_line(text, [&](std::string_view line) {
    const auto words = words_of(line);
    if (words.size() < 2) return;
    if (line.front() != '\t') {  // a card; its groups follow, indented
      interface = decimal(words[0]).value_or(0);
      return;
    }
    std::uint32_t word = 0;
    const std::string_view group = words[0];
    const auto [end, error] = std::from_chars(group.data(), group.data() + group.size(), word, 16);
    const auto users = decimal(words[1]);
    if (error != std::errc() || end != group.data() + group.size() || !users || interface == 0) return;
    std::array<std::uint8_t, 4> bytes{};
    std::memcpy(bytes.data(), &word, bytes.size());  // printed as a number of this machine's byte order
    out.push_back({*IpAddress::from_bytes(bytes), interface, *users});
  });
  return out;
}

std::vector<lan::GroupMembership> parse_igmp6(std::string_view text) {
  std::vector<lan::GroupMembership> out;
  for_each_line(text, [&](std::string_view line) {
    // index, name, group, users, flags, timer
    const auto words = words_of(line);
    if (words.size() < 4) return;
    const auto interface = decimal(words[0]);
    const auto group = from_hex(words[2]);
    const auto users = decimal(words[3]);
    if (!interface || !users || !group || group->size() != 16) return;
    out.push_back({*IpAddress::from_bytes(*group), *interface, *users});
  });
  return out;
}

std::vector<lan::GroupMembership> read_groups() {
  auto out = parse_igmp(read_proc_file("/proc/thread-self/net/igmp"));
  for (const lan::GroupMembership& joined : parse_igmp6(read_proc_file("/proc/thread-self/net/igmp6")))
    out.push_back(joined);
  return out;
}

}  // namespace lanrage::host
