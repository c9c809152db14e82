// WireGuard's cross-platform userspace configuration protocol, as text: what `wg` says to a userspace implementation
// through /var/run/wireguard/IFNAME.sock (https://www.wireguard.com/xplatform/#configuration-protocol).
//
// Requests and answers are lines `key=value` up to an empty line; keys are in hexadecimal. Pure: parsing and printing,
// no socket (uapi_server.h) and no device (daemon/wireguard_device.h). A set request is parsed as a whole before any of
// it is applied, so a refused one changes nothing.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip.h"
#include "base/time.h"
#include "crypto/keys.h"

namespace lanrage::dataplane {

// One request may be this long (a configuration of about ten thousand peers).
inline constexpr std::size_t kUapiRequestBytesMax = 4 << 20;

struct UapiAllowedIp {
  IpPrefix prefix;
  bool remove = false;  // "-10.0.0.0/8"
  friend bool operator==(const UapiAllowedIp&, const UapiAllowedIp&) = default;
};

// What a set request changes of one peer; what is not there stays as it is.
struct UapiPeerChange {
  crypto::PublicKey public_key;
  bool remove = false;
  bool update_only = false;  // do nothing when there is no such peer
  bool replace_allowed_ips = false;
  std::optional<crypto::PresharedKey> preshared_key;  // all zero: none
  std::optional<Endpoint> endpoint;
  std::optional<std::uint16_t> persistent_keepalive_s;  // 0: off
  std::vector<UapiAllowedIp> allowed_ips;
};

struct UapiChange {
  std::optional<crypto::PrivateKey> private_key;  // all zero: none
  std::optional<std::uint16_t> listen_port;       // 0: any free one
  std::optional<std::uint32_t> fwmark;            // 0: none
  bool replace_peers = false;
  std::vector<UapiPeerChange> peers;
};

struct UapiRequest {
  std::optional<UapiChange> set;  // nothing: a get request
};

struct UapiPeer {
  crypto::PublicKey public_key;
  crypto::PresharedKey preshared_key;
  std::optional<Endpoint> endpoint;
  std::optional<WallTime> last_handshake;
  std::uint64_t tx_bytes = 0;
  std::uint64_t rx_bytes = 0;
  std::uint16_t persistent_keepalive_s = 0;
  std::vector<IpPrefix> allowed_ips;
};

struct UapiDevice {
  std::optional<crypto::PrivateKey> private_key;
  std::uint16_t listen_port = 0;
  std::uint32_t fwmark = 0;
  std::vector<UapiPeer> peers;
};

// Bytes at the front of `buffered` that are one whole request, its empty line included; 0: more must come.
std::size_t uapi_request_size(std::string_view buffered);

// Nothing when the request is malformed (answer EINVAL).
std::optional<UapiRequest> parse_uapi(std::string_view request);

std::string format_uapi(const UapiChange& change);  // as `wg` would ask for it
// The whole answer to a get request. Holds the private key: for the socket's peer alone.
std::string format_uapi(const UapiDevice& device);
// The whole answer to a set request, or to a failed one: 0 or a positive errno.
std::string format_uapi_result(int os_errno);

}  // namespace lanrage::dataplane
