// The endpoints under which this node may be reached, in the order in which others should try them.
//
// Interface addresses, server-reflexive and mapped endpoints go in; the list that a PeerSignal carries comes out.
// Finding them is others' work (net: interfaces, stun_client: reflexive). Functions of their arguments; any thread.
#pragma once

#include <vector>

#include "base/ip.h"
#include "wire/signal.h"

namespace lanrage::paths {

using wire::Candidate;
using wire::CandidateKind;

struct InterfaceAddress {
  IpPrefix prefix;       // the address with its network's length
  bool is_ours = false;  // a party's adapter, ours or another node's on this machine: never a candidate
};

struct CandidateSources {
  std::vector<InterfaceAddress> interfaces;
  std::vector<IpPrefix> party_prefixes;  // addresses inside the party: never candidates, on whatever interface
  std::vector<Endpoint> server_reflexive;
  std::vector<Endpoint> mapped;
  std::uint16_t port = 0;       // of the node's UDP socket
  bool allow_loopback = false;  // for nodes of one machine in tests
};

// At most wire::kCandidatesMax, each endpoint once and under its best kind, best first: private and global host
// addresses, then mapped, then server-reflexive ones; IPv6 before IPv4 within a kind. Left out: our own adapters and
// party prefixes, loopback (unless allowed), unspecified, multicast, link-local addresses (IPv6 ones need a scope,
// which endpoints do not have; IPv4 ones stay, they are how two machines on one cable meet), and everything with port
// 0.
std::vector<Candidate> gather_candidates(const CandidateSources& sources);

// What can be probed at all: a unicast address with a port, and none that gather_candidates would refuse from a
// stranger.
bool is_probeable(const Endpoint& endpoint, bool allow_loopback);

}  // namespace lanrage::paths
