// What a person types to let an interface through this machine's firewall. Reads, never changes anything.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace lanrage::net {

// A chain of nftables (iptables' are among them) that packets to this machine pass.
struct InputChain {
  std::string family;  // "inet", "ip", "ip6"
  std::string table;
  std::string name;
  bool drops = false;  // what no rule of it accepts

  friend bool operator==(const InputChain&, const InputChain&) = default;
};

struct Firewall {
  bool ufw = false;        // switched on
  bool firewalld = false;  // running
  std::vector<InputChain> chains{};
};

// As far as it can be seen; needs CAP_NET_ADMIN for the chains.
Firewall read_firewall();
std::string allow_command(const Firewall& firewall, const std::string& interface);

}  // namespace lanrage::net
