// The party's names for other programs on this machine: what a DNS question about NAME.lanrage.internal, or about a
// party address, is answered with.
//
// A member is found by its name in the party and, where nobody has that name, by its computer's host name, since some
// games announce that. Names in DNS are letters, digits and '-': other characters become '-'. Pure; owned by nobody.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip.h"
#include "wire/dns.h"

namespace lanrage::node {

inline constexpr std::string_view kNameDomain = "lanrage.internal";
inline constexpr std::uint32_t kNameSeconds = 10;  // how long an answer may be kept: members come and go

struct NamedMember {
  std::string name;
  std::string hostname;  // may be empty
  std::vector<IpAddress> addresses;
};

// "Bob Smith" -> "bob-smith". Empty: nothing of it can be in DNS, or it is a name that machines ask for by themselves
// (wpad, isatap, localhost), which a member must not be able to answer.
std::string dns_label(std::string_view name);
// The zone of reverse questions about a network: "7.66.10.in-addr.arpa". Its length is cut to whole labels.
std::string reverse_zone(const IpPrefix& network);

// The answer to one datagram; nothing: silence. `networks` are the party's.
std::optional<Bytes> answer_name(const std::vector<NamedMember>& members, const std::vector<IpPrefix>& networks,
                                 ByteView query);

}  // namespace lanrage::node
