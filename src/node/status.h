// How a node is, as every surface shows it: the values behind `status --json` (docs/api.md). Plain values made by
// `Node` for whoever asks; what is not known is absent, never invented.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/ip.h"
#include "base/time.h"
#include "paths/quality.h"

namespace lanrage::node {

enum class NodeState { kIdle, kConnecting, kInParty, kDegraded };
enum class Reach { kConnecting, kConnected, kUnreachable };

struct PathStatus {
  bool relayed = false;
  Endpoint endpoint;
  std::optional<std::string> relay;  // the relay's id
  std::string relay_member;          // whose it is; empty: the server names it
  bool tls = false;                  // the relay is reached over TLS; `endpoint` is its address for UDP
};

// What paths::Quality holds, as every surface shows it.
struct QualityStatus {
  std::optional<double> rtt_ms, rtt_ema_ms, jitter_ms, loss_percent;
  std::optional<paths::Bandwidth> bandwidth;
  std::optional<double> stability_percent, stability_hour_percent;
  std::optional<double> score;
  std::optional<char> grade;
  std::optional<std::string> trend;
};
QualityStatus status_of(const paths::Quality& quality);

// A relay as it serves the pair of this node and a member.
struct PairRelayStatus {
  std::string id;
  std::string member;  // whose it is; empty: the server names it
  std::string region;
  std::string role;                              // "primary", "secondary", "tertiary" or empty
  std::optional<double> our_score, peer_score;   // of each end's way to it
  std::optional<double> health;                  // as the relay says; not known counts as 100
  std::optional<double> score, expected_rtt_ms;  // when both ends measure it
  std::optional<double> rtt_ms;                  // measured through it, the newest
};

// A relay as this node sees it.
struct RelayStatus {
  std::string id;
  std::string member;  // whose it is; empty: the server names it
  std::string region;
  std::string role;
  std::vector<Endpoint> addresses;
  bool registered = false;
  bool by_stream = false;  // and that over TLS
  QualityStatus quality;
  std::optional<double> health, load;
  std::optional<double> score;  // as if the other end were as far from it
};

// A relayed path beside a direct one that works, too.
struct RelayHelp {
  double direct_rtt_ms = 0, relayed_rtt_ms = 0;
};

struct PeerStatus {
  std::string name;
  std::string public_key;  // base64
  std::vector<std::string> addresses;
  bool plain_wireguard = false;
  bool online = false;  // the server hears from it
  Reach state = Reach::kConnecting;
  std::optional<PathStatus> path;
  std::string why;                      // one sentence; empty when the path is direct and there is nothing to say
  QualityStatus quality;                // an unreachable peer has score 0, F and no trend
  std::vector<PairRelayStatus> relays;  // best first
  std::optional<RelayHelp> relay_help;  // while relayed although a direct path works
  std::uint64_t rx_bytes = 0;
  std::uint64_t tx_bytes = 0;
  std::optional<PathStatus> second_path;  // game packets go this way too
  std::uint64_t copied_packets = 0;       // that did, since the peer is known
  std::uint64_t copied_bytes = 0;         // not among tx_bytes
  std::optional<double> last_handshake_s;
};

struct NatStatus {
  std::string type;     // paths::nat_type; empty: not known
  std::string mapping;  // paths::mapping_name_of; likewise
  std::string words;    // the type in a sentence
  std::vector<std::string> public_endpoints;
};

struct NodeStatus {
  NodeState state = NodeState::kIdle;
  std::string name;
  std::string public_key;
  std::vector<std::string> addresses;
  std::optional<NatStatus> nat;
  struct Party {
    std::string id;
    std::string name;
    std::string role;  // "owner" or "member"
    std::uint32_t epoch = 0;
    std::string network;  // "10.66.7.0/24"
  };
  std::optional<Party> party;
  struct Server {
    std::string url;    // without the key
    std::string state;  // "connected", "connecting", "unreachable"
    std::string problem;
    QualityStatus quality;
  };
  std::optional<Server> server;
  std::vector<PeerStatus> peers;
  std::vector<std::string> notices;  // what a person should know: clashes, refused records
};

}  // namespace lanrage::node
