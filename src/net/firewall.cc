#include "net/firewall.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <memory>

#include "base/format.h"

namespace lanrage::net {
namespace {

constexpr std::size_t kChainsMax = 64;

const char* family_name(int family) {
  if (family == NFPROTO_INET) return "inet";
  if (family == NFPROTO_IPV4) return "ip";
  return family == NFPROTO_IPV6 ? "ip6" : "";
}

// One chain of the kernel's list, kept where it is at the input hook of an IP family.
int add_chain(nl_msg* message, void* into) {
  auto& chains = *static_cast<std::vector<InputChain>*>(into);
  nlmsghdr* header = nlmsg_hdr(message);
  nlattr* chain[NFTA_CHAIN_MAX + 1] = {};
  nlattr* hook[NFTA_HOOK_MAX + 1] = {};
  if (nlmsg_parse(header, sizeof(nfgenmsg), chain, NFTA_CHAIN_MAX, nullptr) < 0) return NL_SKIP;
  if (!chain[NFTA_CHAIN_TABLE] || !chain[NFTA_CHAIN_NAME] || !chain[NFTA_CHAIN_HOOK]) return NL_SKIP;
  if (nla_parse_nested(hook, NFTA_HOOK_MAX, chain[NFTA_CHAIN_HOOK], nullptr) < 0) return NL_SKIP;
  const std::string family = family_name(static_cast<nfgenmsg*>(nlmsg_data(header))->nfgen_family);
  if (family.empty() || !hook[NFTA_HOOK_HOOKNUM] || ntohl(nla_get_u32(hook[NFTA_HOOK_HOOKNUM])) != NF_INET_LOCAL_IN)
    return NL_SKIP;
  const bool drops = chain[NFTA_CHAIN_POLICY] != nullptr && ntohl(nla_get_u32(chain[NFTA_CHAIN_POLICY])) == NF_DROP;
  if (chains.size() < kChainsMax)
    chains.push_back({family, nla_get_string(chain[NFTA_CHAIN_TABLE]), nla_get_string(chain[NFTA_CHAIN_NAME]), drops});
  return NL_OK;
}

std::vector<InputChain> input_chains() {
  std::vector<InputChain> chains;
  const std::unique_ptr<nl_sock, decltype(&nl_socket_free)> socket(nl_socket_alloc(), nl_socket_free);
  if (!socket || nl_connect(socket.get(), NETLINK_NETFILTER) < 0) return chains;
  nl_socket_modify_cb(socket.get(), NL_CB_VALID, NL_CB_CUSTOM, add_chain, &chains);
  nfgenmsg all{NFPROTO_UNSPEC, NFNETLINK_V0, 0};
  if (nl_send_simple(socket.get(), (NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_GETCHAIN, NLM_F_DUMP, &all, sizeof all) >= 0)
    nl_recvmsgs_default(socket.get());
  return chains;
}

bool has_line(const char* file, const std::string& wanted) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    if (line == wanted) return true;
  }
  return false;
}

}  // namespace

Firewall read_firewall() {
  return {has_line("/etc/ufw/ufw.conf", "ENABLED=yes"), ::access("/run/firewalld.pid", F_OK) == 0, input_chains()};
}

std::string allow_command(const Firewall& firewall, const std::string& interface) {
  if (firewall.firewalld) return format("firewall-cmd --zone=trusted --add-interface={}", interface);
  if (firewall.ufw) return format("ufw allow in on {}", interface);
  // Each of the chains that drop has its own say; where none does by itself, a rule of any of them did.
  const bool by_policy = std::any_of(firewall.chains.begin(), firewall.chains.end(), [](auto& c) { return c.drops; });
  std::string out;
  for (const InputChain& chain : firewall.chains) {
    if (by_policy && !chain.drops) continue;
    out += format("{}nft insert rule {} {} {} iifname {} accept", out.empty() ? "" : " && ", chain.family, chain.table,
                  chain.name, interface);
  }
  return out.empty() ? format("iptables -I INPUT -i {} -j ACCEPT", interface) : out;
}

}  // namespace lanrage::net
