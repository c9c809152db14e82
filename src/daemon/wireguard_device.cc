#include "daemon/wireguard_device.h"

#include <sys/socket.h>

#include <algorithm>

#include "base/format.h"
#include "config/folders.h"
#include "net/clock.h"

namespace lanrage::daemon {
namespace {

constexpr Duration kActivityInterval = std::chrono::seconds(1);
// Handshakes travel as AF41, as Linux' own WireGuard sends them.
constexpr std::uint8_t kHandshakeTos = 0x88;

enum Tag : std::uint64_t { kStop = 1, kHandshakes, kWaiting, kAttention, kNetlink };

bool is_zero(ByteView bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::uint8_t b) { return b == 0; });
}

std::string floor_file(const WireguardOptions& options) {
  return format("{}/wireguard-{}.timestamp", options.folder, options.interface);
}

Result<tunnel::Tai64n> load_floor(const WireguardOptions& options, const Logger& log) {
  tunnel::Tai64n floor;
  if (options.folder.empty()) {
    log.info("no state folder (LANRAGE_DIR): only the clock keeps handshake timestamps from going back");
    return floor;
  }
  LR_ASSIGN(const auto text, config::read_file(floor_file(options)));
  const auto bytes = text ? from_hex(*text) : std::nullopt;
  if (text && (!bytes || bytes->size() != floor.bytes.size()))
    log.warn("the kept handshake timestamp is unreadable and is begun anew", {{"file", floor_file(options)}});
  else if (bytes)
    std::copy(bytes->begin(), bytes->end(), floor.bytes.begin());
  return floor;
}

}  // namespace

Result<std::unique_ptr<WireguardDevice>> WireguardDevice::open(const WireguardOptions& options, const Logger& base) {
  const Logger log = base.named("wireguard");
  if (options.interface.empty() || options.interface.size() > 15 || options.interface.find('/') != std::string::npos)
    return Error{Code::kInvalid, format("no interface can be named {}", options.interface),
                 "use up to 15 letters, like wg0"};
  LR_ASSIGN(const tunnel::Tai64n floor, load_floor(options, log));
  tun::AdapterOptions adapter_options;
  adapter_options.kind = tun::Kind::kTun;
  adapter_options.name = options.interface;
  adapter_options.tcp_offload = options.offload;
  adapter_options.udp_offload = options.offload;
  auto opened = tun::open_adapter(adapter_options);
  if (!opened) {
    Error error = std::move(opened).error();
    if (error.code == Code::kConflict) error.hint = "choose another name";
    return error;
  }
  std::unique_ptr<tun::Adapter> adapter = std::move(opened).value();
  LR_ASSIGN(auto poller, net::Poller::create());
  LR_ASSIGN(auto netlink, net::Netlink::open());
  LR_ASSIGN(auto watch, net::NetlinkWatch::open());
  std::unique_ptr<WireguardDevice> self(new WireguardDevice(options, log, std::move(adapter), std::move(poller),
                                                            std::move(netlink), std::move(watch), floor));
  LR_TRY(self->open_sockets(0));
  LR_TRY(self->start_data_plane());
  LR_TRY(self->poller_.add(self->watch_.fd(), kNetlink));
  WireguardDevice* device = self.get();
  LR_ASSIGN(self->uapi_,
            dataplane::UapiServer::open(options.interface, self->poller_, [device](std::string_view request) {
              return device->handle_request(request);
            }));
  return self;
}

WireguardDevice::WireguardDevice(const WireguardOptions& options, const Logger& log,
                                 std::unique_ptr<tun::Adapter> adapter, net::Poller poller, net::Netlink netlink,
                                 net::NetlinkWatch watch, const tunnel::Tai64n& floor)
    : options_(options),
      log_(log),
      now_(net::now()),
      adapter_(std::move(adapter)),
      poller_(std::move(poller)),
      netlink_(std::move(netlink)),
      watch_(std::move(watch)),
      mtu_(adapter_->info().mtu),
      device_({.timestamp_floor = floor}, rng_, log.named("tunnel")) {}

WireguardDevice::~WireguardDevice() = default;

// ---- sockets and threads

Result<void> WireguardDevice::open_sockets(std::uint16_t port) {
  net::UdpOptions udp;
  udp.bind.port = port;
  udp.segmentation = options_.offload;
  udp.coalescing = options_.offload;
  udp.mark = fwmark_;
  udp.may_fragment = true;  // a plain peer cannot tell us what the path carries
  LR_ASSIGN(auto sockets, net::UdpPair::open(udp));
  if (plane_) {
    poller_.remove(plane_->queues().handshakes.fd());
    poller_.remove(plane_->queues().waiting.fd());
    poller_.remove(plane_->queues().attention.fd());
    plane_.reset();
  }
  sockets_.reset();
  sockets_.emplace(std::move(sockets));
  return {};
}

Result<void> WireguardDevice::start_data_plane() {
  dataplane::DataPlaneOptions options;
  options.other_protocols = false;
  LR_ASSIGN(plane_, dataplane::DataPlane::start(options, *adapter_, *sockets_, snapshot(), log_));
  LR_TRY(poller_.add(plane_->queues().handshakes.fd(), kHandshakes));
  LR_TRY(poller_.add(plane_->queues().waiting.fd(), kWaiting));
  return poller_.add(plane_->queues().attention.fd(), kAttention);
}

// ---- the loop

void WireguardDevice::run(int stop_fd) {
  if (const auto added = poller_.add(stop_fd, kStop); !added) return log_.error(added.error().message);
  while (!gone_) {
    const Time deadline = std::min(device_.next_timeout().value_or(kNever), activity_at_);
    const auto ready = poller_.wait(now_.time, deadline);
    now_ = net::now();
    for (const net::Ready& one : ready) {
      if (one.tag == kStop) gone_ = true;
      handle_ready(one);
    }
    if (now_.time >= activity_at_) {
      activity_at_ = now_.time + kActivityInterval;
      report_activity();
      if (!uapi_->is_reachable()) {
        log_.info("the configuration socket was removed: ending");
        gone_ = true;
      }
    }
    device_.handle_timeout(now_);
    settle();
  }
}

void WireguardDevice::handle_ready(const net::Ready& ready) {
  if (ready.tag >= dataplane::UapiServer::kTagBase) return uapi_->handle_ready(ready);
  switch (ready.tag) {
    case kHandshakes:
      plane_->queues().handshakes.drain(handshakes_);
      // What the data threads saw is older than these.
      report_activity();
      for (const dataplane::ReceivedHandshake& one : handshakes_) device_.handle_packet(now_, one.from, one.datagram);
      return;
    case kWaiting:
      return handle_waiting();
    case kAttention:
      plane_->queues().attention.clear();
      report_activity();
      if (!plane_->adapter_open()) {
        log_.info("the interface was deleted: ending", {{"interface", options_.interface}});
        gone_ = true;
      }
      return;
    case kNetlink:
      if (watch_.take_changes()) check_interface();
      return;
    default:
      return;
  }
}

void WireguardDevice::handle_waiting() {
  plane_->queues().waiting.drain(waiting_);
  for (dataplane::WaitingPacket& packet : waiting_) {
    const auto peer = peers_.find(packet.peer);
    if (peer == peers_.end()) continue;
    if (peer->second.staged.size() >= kStagedMax) peer->second.staged.pop_front();
    peer->second.staged.push_back(std::move(packet.packet));
    device_.handle_outbound(now_, packet.peer);
  }
}

void WireguardDevice::report_activity() {
  for (const auto& [key, peer] : peers_) device_.handle_activity(now_, key, peer.state->counters.read());
}

void WireguardDevice::check_interface() {
  const auto interface = netlink_.find(options_.interface);
  if (!interface || interface->mtu == mtu_) return;
  mtu_ = interface->mtu;
  changed_ = true;
}

void WireguardDevice::settle() {
  while (auto event = device_.poll_event()) handle_event(*event);
  while (const auto transmit = device_.poll_transmit()) send(*transmit);
  publish();
}

void WireguardDevice::handle_event(const tunnel::Event& event) {
  if (const auto* raised = std::get_if<tunnel::TimestampFloorRaised>(&event)) return save_floor(raised->floor);
  const crypto::PublicKey key = std::visit(
      [](const auto& e) {
        if constexpr (requires { e.peer; })
          return e.peer;
        else
          return crypto::PublicKey();
      },
      event);
  const auto found = peers_.find(key);
  if (found == peers_.end()) return;
  Peer& peer = found->second;
  if (const auto* ready = std::get_if<tunnel::SessionReady>(&event)) {
    peer.receive[ready->receive->local_index()] = ready->receive;
    if (ready->initiator)
      peer.send = ready->send;
    else
      peer.unconfirmed[ready->send->local_index()] = ready->send;
    changed_ = true;
  } else if (const auto* confirmed = std::get_if<tunnel::SessionConfirmed>(&event)) {
    const auto send = peer.unconfirmed.find(confirmed->local_index);
    if (send == peer.unconfirmed.end()) return;
    peer.send = send->second;
    peer.unconfirmed.erase(send);
    changed_ = true;
  } else if (const auto* retired = std::get_if<tunnel::SessionRetired>(&event)) {
    peer.receive.erase(retired->local_index);
    peer.unconfirmed.erase(retired->local_index);
    if (peer.send && peer.send->local_index() == retired->local_index) peer.send.reset();
    changed_ = true;
  } else if (std::holds_alternative<tunnel::KeepaliveDue>(event)) {
    peer.keepalive_due = true;
  } else if (std::holds_alternative<tunnel::PathChanged>(event)) {
    changed_ = true;
  } else if (std::holds_alternative<tunnel::HandshakeFailed>(event)) {
    peer.staged.clear();
  }
}

void WireguardDevice::send(const tunnel::Transmit& transmit) {
  std::optional<Path> path = transmit.path;
  if (transmit.peer && !path) path = device_.path(*transmit.peer);
  if (!path) return;
  const auto report =
      sockets_->send(net::SendItem{.destination = path->endpoint, .bytes = transmit.datagram, .tos = kHandshakeTos});
  if (report.sent == 0 || !transmit.peer) return;
  if (const auto peer = peers_.find(*transmit.peer); peer != peers_.end())
    peer->second.handshake_bytes_sent += transmit.datagram.size();
}

void WireguardDevice::save_floor(const tunnel::Tai64n& floor) {
  if (options_.folder.empty()) return;
  if (const auto saved = config::write_file(floor_file(options_), to_hex(floor.bytes)); !saved)
    log_.warn("cannot keep the handshake timestamp", {{"error", saved.error().message}});
}

// ---- snapshots

void WireguardDevice::publish() {
  std::vector<dataplane::ClearPacket> staged;
  for (auto& [key, peer] : peers_) {
    const bool sendable = peer.send && peer.send->created() + tunnel::kRejectAfterTime > now_.time;
    if (!sendable) {
      peer.keepalive_due = false;
      continue;
    }
    if (peer.keepalive_due && peer.staged.empty()) staged.push_back({key, peer.slot, {}});
    peer.keepalive_due = false;
    for (Bytes& packet : peer.staged) staged.push_back({key, peer.slot, std::move(packet)});
    peer.staged.clear();
  }
  if (changed_)
    plane_->publish(snapshot(), std::move(staged));
  else
    for (dataplane::ClearPacket& packet : staged) plane_->queues().clear.push(std::move(packet));
}

std::shared_ptr<const node::Forwarding> WireguardDevice::snapshot() {
  changed_ = false;
  if (routes_changed_) {
    auto routes = std::make_shared<tunnel::AllowedIps<>>();
    for (const auto& [prefix, key] : allowed_ips_) routes->insert(prefix, peers_.at(key).slot);
    routes_ = std::move(routes);
    routes_changed_ = false;
  }
  auto forwarding = std::make_shared<node::Forwarding>();
  forwarding->identity = device_.public_key();
  forwarding->routes = routes_;
  forwarding->peers.resize(slots_);
  std::vector<node::SessionTable::Session> sessions;
  for (const auto& [key, peer] : peers_) {
    node::Peer& entry = forwarding->peers[peer.slot];
    entry.key = key;
    entry.state = peer.state;
    entry.send = peer.send;
    entry.path_mtu = static_cast<std::uint16_t>(std::clamp(mtu_, 0, 65535));
    if (const auto path = device_.path(key)) {
      entry.paths[0] = *path;
      entry.path_count = 1;
    }
    for (const auto& [index, receive] : peer.receive) sessions.push_back({receive, peer.slot});
  }
  forwarding->sessions = node::SessionTable(std::move(sessions));
  return forwarding;
}

// ---- configuration

std::string WireguardDevice::handle_request(std::string_view text) {
  const auto request = dataplane::parse_uapi(text);
  if (!request) return dataplane::format_uapi_result(EINVAL);
  if (!request->set) {
    report_activity();
    return dataplane::format_uapi(describe());
  }
  const int error = apply(*request->set);
  settle();
  return dataplane::format_uapi_result(error);
}

int WireguardDevice::apply(const dataplane::UapiChange& change) {
  // The key we have already is what `wg syncconf` sends: sessions must not end for it.
  if (change.private_key &&
      !(private_key_ && crypto::secure_equal(private_key_->bytes(), change.private_key->bytes()))) {
    private_key_ = is_zero(change.private_key->bytes()) ? std::nullopt : change.private_key;
    device_.set_private_key(now_, private_key_);
    if (const auto self = device_.public_key(); self && peers_.contains(*self)) remove_peer(peers_.find(*self));
    changed_ = true;
  }
  if (change.fwmark && *change.fwmark != fwmark_) {
    const int mark = static_cast<int>(*change.fwmark);
    for (net::UdpSocket* socket : {sockets_->v4(), sockets_->v6()})
      if (socket != nullptr && ::setsockopt(socket->fd(), SOL_SOCKET, SO_MARK, &mark, sizeof mark) != 0) return errno;
    fwmark_ = *change.fwmark;
  }
  if (change.listen_port && *change.listen_port != sockets_->port()) {
    if (const auto opened = open_sockets(*change.listen_port); !opened)
      return opened.error().os_errno != 0 ? opened.error().os_errno : EADDRINUSE;
    if (const auto started = start_data_plane(); !started) {
      log_.error("the data threads do not start", {{"error", started.error().message}});
      gone_ = true;
      return EIO;
    }
  }
  if (change.replace_peers)
    while (!peers_.empty()) remove_peer(peers_.begin());
  for (const dataplane::UapiPeerChange& peer : change.peers)
    if (const int error = apply(peer); error != 0) return error;
  return 0;
}

int WireguardDevice::apply(const dataplane::UapiPeerChange& change) {
  auto found = peers_.find(change.public_key);
  if (change.remove) {
    if (found != peers_.end()) remove_peer(found);
    return 0;
  }
  if (found == peers_.end() && change.update_only) return 0;
  // Ourselves as a peer is what a configuration shared by all machines has: not an error, and of no effect.
  if (device_.public_key() == change.public_key) return 0;
  const bool added = found == peers_.end();
  if (added) {
    found = peers_.emplace(change.public_key, Peer{}).first;
    if (free_slots_.empty()) {
      found->second.slot = slots_++;
    } else {
      found->second.slot = free_slots_.back();
      free_slots_.pop_back();
    }
  }
  Peer& peer = found->second;
  if (change.preshared_key) peer.preshared_key = *change.preshared_key;
  if (change.persistent_keepalive_s) peer.persistent_keepalive_s = *change.persistent_keepalive_s;
  tunnel::PeerOptions options;
  options.preshared_keys = {peer.preshared_key};
  if (change.endpoint) options.path = Path{*change.endpoint, false};
  options.keepalive = std::chrono::seconds(peer.persistent_keepalive_s);
  const auto applied = added ? device_.add_peer(now_, change.public_key, options)
                             : device_.update_peer(now_, change.public_key, options);
  if (!applied) {
    if (added) remove_peer(found);
    return applied.error().code == Code::kExhausted ? ENOSPC : EINVAL;
  }
  if (change.replace_allowed_ips) {
    for (const IpPrefix& prefix : peer.allowed_ips) allowed_ips_.erase(prefix);
    peer.allowed_ips.clear();
    routes_changed_ = true;
  }
  for (const dataplane::UapiAllowedIp& allowed : change.allowed_ips) {
    if (!allowed.remove) {
      allow(change.public_key, peer, allowed.prefix);
    } else if (peer.allowed_ips.erase(allowed.prefix) != 0) {
      allowed_ips_.erase(allowed.prefix);
      routes_changed_ = true;
    }
  }
  changed_ = true;
  return 0;
}

void WireguardDevice::remove_peer(Peers::iterator peer) {
  device_.remove_peer(peer->first);
  for (const IpPrefix& prefix : peer->second.allowed_ips) allowed_ips_.erase(prefix);
  free_slots_.push_back(peer->second.slot);
  peers_.erase(peer);
  routes_changed_ = true;
  changed_ = true;
}

// A prefix belongs to one peer, the last it was given to.
void WireguardDevice::allow(const crypto::PublicKey& key, Peer& peer, const IpPrefix& prefix) {
  const auto [owner, fresh] = allowed_ips_.emplace(prefix, key);
  if (!fresh && owner->second != key) {
    if (const auto other = peers_.find(owner->second); other != peers_.end()) other->second.allowed_ips.erase(prefix);
    owner->second = key;
  }
  peer.allowed_ips.insert(prefix);
  routes_changed_ = true;
}

dataplane::UapiDevice WireguardDevice::describe() {
  dataplane::UapiDevice out;
  out.private_key = private_key_;
  out.listen_port = sockets_->port();
  out.fwmark = fwmark_;
  for (const auto& [key, peer] : peers_) {
    dataplane::UapiPeer& shown = out.peers.emplace_back();
    shown.public_key = key;
    shown.preshared_key = peer.preshared_key;
    shown.persistent_keepalive_s = peer.persistent_keepalive_s;
    shown.allowed_ips.assign(peer.allowed_ips.begin(), peer.allowed_ips.end());
    const auto status = device_.status(now_, key);
    if (!status) continue;
    if (status->path) shown.endpoint = status->path->endpoint;
    if (status->last_handshake) shown.last_handshake = status->last_handshake->wall;
    shown.tx_bytes = status->activity.sent_bytes + peer.handshake_bytes_sent;
    shown.rx_bytes = status->activity.received_bytes;
  }
  return out;
}

}  // namespace lanrage::daemon
