// A stock WireGuard device: TUN adapter, tunnel::Device, the data threads and `wg`'s configuration socket, composed.
//
// What `lanrage wireguard IFNAME` runs, a drop-in for wireguard-go. All of this object lives on one control thread, the
// one that calls `run`; the data threads are DataPlane's own. It ends when it is told to stop, when the interface is
// deleted or when its socket file is removed, as wireguard-go does.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/log.h"
#include "crypto/random.h"
#include "dataplane/data_plane.h"
#include "dataplane/uapi.h"
#include "dataplane/uapi_server.h"
#include "net/netlink.h"
#include "net/poller.h"
#include "node/forwarding.h"
#include "tun/adapter.h"
#include "tunnel/device.h"

namespace lanrage::daemon {

struct WireguardOptions {
  std::string interface;
  std::string folder;   // where handshake timestamps are kept; empty: nowhere, the clock alone must not go back
  bool offload = true;  // superframes on adapter and sockets
};

class WireguardDevice {
 public:
  static constexpr std::size_t kStagedMax = 128;  // packets per peer that wait for a session

  // kConflict: the name is taken. kRefused: privileges are missing. Errors say what to do.
  static Result<std::unique_ptr<WireguardDevice>> open(const WireguardOptions& options, const Logger& log);
  ~WireguardDevice();
  WireguardDevice(const WireguardDevice&) = delete;
  WireguardDevice& operator=(const WireguardDevice&) = delete;

  // Until `stop_fd` (see stop_signals.h) is readable or the interface is gone.
  void run(int stop_fd);

 private:
  struct Peer {
    std::uint32_t slot = 0;
    std::shared_ptr<node::PeerState> state = std::make_shared<node::PeerState>();
    std::shared_ptr<tunnel::SendKey> send;
    std::map<std::uint32_t, std::shared_ptr<tunnel::SendKey>> unconfirmed;  // by local index
    std::map<std::uint32_t, std::shared_ptr<tunnel::ReceiveKey>> receive;   // by local index
    std::set<IpPrefix> allowed_ips;
    crypto::PresharedKey preshared_key;
    std::uint16_t persistent_keepalive_s = 0;
    std::deque<Bytes> staged;
    bool keepalive_due = false;
    std::uint64_t handshake_bytes_sent = 0;
  };
  using Peers = std::map<crypto::PublicKey, Peer>;

  WireguardDevice(const WireguardOptions& options, const Logger& log, std::unique_ptr<tun::Adapter> adapter,
                  net::Poller poller, net::Netlink netlink, net::NetlinkWatch watch, const tunnel::Tai64n& floor);
  Result<void> open_sockets(std::uint16_t port);
  Result<void> start_data_plane();
  Result<void> add_to_poller();

  void handle_ready(const net::Ready& ready);
  void handle_waiting();
  void report_activity();
  void check_interface();
  void settle();  // takes the device's events and transmits, publishes what changed
  void handle_event(const tunnel::Event& event);
  void send(const tunnel::Transmit& transmit);
  void publish();
  std::shared_ptr<const node::Forwarding> snapshot();
  void save_floor(const tunnel::Tai64n& floor);

  std::string handle_request(std::string_view request);
  int apply(const dataplane::UapiChange& change);  // 0 or an errno
  int apply(const dataplane::UapiPeerChange& change);
  void remove_peer(Peers::iterator peer);
  void allow(const crypto::PublicKey& key, Peer& peer, const IpPrefix& prefix);
  dataplane::UapiDevice describe();

  const WireguardOptions options_;
  Logger log_;
  crypto::SystemRng rng_;
  Now now_;
  std::unique_ptr<tun::Adapter> adapter_;
  net::Poller poller_;
  net::Netlink netlink_;
  net::NetlinkWatch watch_;
  int mtu_;
  std::optional<net::UdpPair> sockets_;
  std::uint32_t fwmark_ = 0;
  tunnel::Device device_;
  std::optional<crypto::PrivateKey> private_key_;
  Peers peers_;
  std::map<IpPrefix, crypto::PublicKey> allowed_ips_;
  std::vector<std::uint32_t> free_slots_;
  std::uint32_t slots_ = 0;
  std::shared_ptr<const tunnel::AllowedIps<>> routes_ = std::make_shared<tunnel::AllowedIps<>>();
  bool routes_changed_ = false;
  bool changed_ = false;  // since the last snapshot
  bool gone_ = false;
  Time activity_at_{};
  std::unique_ptr<dataplane::UapiServer> uapi_;
  std::unique_ptr<dataplane::DataPlane> plane_;  // last: its threads end first
  std::vector<dataplane::ReceivedHandshake> handshakes_;
  std::vector<dataplane::WaitingPacket> waiting_;
};

}  // namespace lanrage::daemon
