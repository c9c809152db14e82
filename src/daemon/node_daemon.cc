#include "daemon/node_daemon.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "base/format.h"
#include "crypto/hash.h"
#include "daemon/server_api.h"
#include "daemon/stop_signals.h"
#include "dataplane/uapi.h"
#include "net/clock.h"
#include "observe/prometheus.h"
#include "party/ipam.h"
#include "party/name.h"
#include "wire/demux.h"

namespace lanrage::daemon {
namespace {

enum Tag : std::uint64_t {
  kStop = 1,
  kTasks,
  kHandshakes,
  kMessages,
  kFrames,
  kWaiting,
  kAttention,
  kNetlink,
  kCapture,
  kSearch,
  kIcmp,
  kIcmp6
};

constexpr std::size_t kTasksMax = 4096;
constexpr int kServerPortsTried = 20;

std::string hostname() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "";
}

Result<std::unique_ptr<Log>> open_log(const config::Settings& settings) {
  LR_ASSIGN(const LogOptions options, settings.log_options());
  return Log::open(options);
}

std::shared_ptr<const node::Forwarding> nothing() { return std::make_shared<node::Forwarding>(); }

}  // namespace

Result<void> run_node(const config::Config& config, Duration config_took, const config::Folders& folders,
                      Readiness readiness) {
  harden_process();
  auto opened = open_log(config.settings());
  if (!opened) {
    readiness.failed(opened.error());
    return std::move(opened).error();
  }
  const std::unique_ptr<Log> log = std::move(*opened);
  const Logger logger(*log, "daemon");
  logger.timed(op::kConfigLoad, config_took);
  auto serve = [&]() -> Result<void> {
    {
      const Timed timed(logger, op::kPrivilegeCheck);
      LR_TRY(require_network_privileges());
    }
    permit_raised_priority();
    const std::optional<gid_t> group = join_users_group();
    LR_TRY(keep_network_privileges());
    LR_TRY(raise_descriptor_limit());
    LR_ASSIGN(const auto stop, StopSignals::take());
    LR_ASSIGN(const auto daemon, NodeDaemon::open(config.settings(), folders, group, logger));
    readiness.ready();
    logger.info("the node is up", {{"version", LANRAGE_VERSION}});
    daemon->run(stop.fd());
    logger.info("the node stops");
    return {};
  };
  auto served = serve();
  if (!served) {
    logger.error("the node cannot start", {{"problem", served.error().message}});
    readiness.failed(served.error());
  }
  return served;
}

// --- construction --------------------------------------------------------------------------------------------------

Result<std::unique_ptr<NodeDaemon>> NodeDaemon::open(const config::Settings& settings, const config::Folders& folders,
                                                     std::optional<gid_t> group, const Logger& log) {
  const Timed timed(log, op::kNodeStart);
  LR_ASSIGN(FolderLock lock, FolderLock::take(folders.state));
  LR_ASSIGN(auto poller, net::Poller::create());
  LR_ASSIGN(auto netlink, net::Netlink::open());
  LR_ASSIGN(auto watch, net::NetlinkWatch::open());
  std::unique_ptr<NodeDaemon> self(
      new NodeDaemon(settings, folders, log, std::move(lock), std::move(poller), std::move(netlink), std::move(watch)));
  self->group_ = group;
  LR_TRY(self->open_parts());
  return self;
}

NodeDaemon::NodeDaemon(const config::Settings& settings, const config::Folders& folders, const Logger& log,
                       FolderLock lock, net::Poller poller, net::Netlink netlink, net::NetlinkWatch watch)
    : settings_(settings),
      folders_(folders),
      log_(log),
      lock_(std::move(lock)),
      now_(net::now()),
      poller_(std::move(poller)),
      netlink_(std::move(netlink)),
      watch_(std::move(watch)),
      files_(
          std::chrono::milliseconds(settings.write_window),
          {.content = [this](const std::string& file) { return content_of(file); },
           .write = [this](const std::string& file, std::string_view content) { return write_state(file, content); }}) {
}

NodeDaemon::~NodeDaemon() {
  const Timed timed(log_, op::kNodeStop);
  api_.reset();
  router_ports_.reset();
  metered_.reset();
  resolver_.reset();
  streams_.clear();
  relay_.reset();
  plane_.reset();
  client_.reset();
  server_api_.reset();
  server_.reset();
  if (!configured_.addresses.empty()) clear_adapter();
}

Result<void> NodeDaemon::open_parts() {
  LR_ASSIGN(auto tasks_event, net::Event::create());
  tasks_ = std::make_unique<net::Queue<std::function<void()>>>(std::move(tasks_event), kTasksMax);
  LR_ASSIGN(const Saved saved, load());
  LR_TRY(open_adapter());
  LR_TRY(open_sockets(saved));
  LR_TRY(open_lan());
  node::NodeOptions options;
  options.hostname = hostname();
  options.adapter_index = static_cast<int>(adapter_->info().index);
  options.redundancy = paths::parse_redundancy(settings_.redundancy).value_or(paths::Redundancy::kAuto);
  node_ = std::make_unique<node::Node>(options, party::Identity(saved.seed), saved.floor, *tables_, rng_, log_);
  work_ = std::make_unique<TaskRunner>(rng_, log_.named("tasks"), [this](const wire::Json& event) {
    if (api_) api_->publish(event);
  });
  take_back_network();
  LR_TRY(load_rules());
  LR_ASSIGN(plane_, dataplane::DataPlane::start({}, *adapter_, *sockets_, nothing(), log_.named("dataplane")));
  dataplane::ControlQueues& queues = plane_->queues();
  LR_TRY(poller_.add(tasks_->fd(), kTasks));
  LR_TRY(poller_.add(queues.handshakes.fd(), kHandshakes));
  LR_TRY(poller_.add(queues.messages.fd(), kMessages));
  LR_TRY(poller_.add(queues.frames.fd(), kFrames));
  LR_TRY(poller_.add(queues.waiting.fd(), kWaiting));
  LR_TRY(poller_.add(queues.attention.fd(), kAttention));
  LR_TRY(poller_.add(watch_.fd(), kNetlink));
  LR_TRY(poller_.add(capture_->fd(), kCapture));
  LR_ASSIGN(auto icmp, net::IcmpWatch::open());
  icmp_.emplace(std::move(icmp));
  LR_TRY(poller_.add(icmp_->fd4(), kIcmp));
  if (const auto fd = icmp_->fd6()) LR_TRY(poller_.add(*fd, kIcmp6));
  // A second node with the same interface name elsewhere, or no /var/run/wireguard: the party works without `wg show`.
  auto uapi = dataplane::UapiServer::open(adapter_->info().name, poller_, [this](std::string_view request) {
    return request.rfind("get=1", 0) == 0 ? describe_wireguard() : dataplane::format_uapi_result(EPERM);
  });
  if (uapi) {
    uapi_ = std::move(*uapi);
  } else {
    log_.info("`wg show` cannot show this interface", {{"problem", uapi.error().message}});
  }
  auto search = LanSearch::open();
  if (search && poller_.add(search->fd(), kSearch)) {
    search_.emplace(std::move(*search));
  } else {
    log_.info("members on this LAN cannot be heard without the server",
              {{"problem", search ? "the poller is full" : search.error().message}});
  }
  const Bytes secret = crypto::hkdf_sha256(saved.seed.bytes(), {}, as_bytes("lanrage v1 router ports"), 32);
  LR_ASSIGN(router_ports_, RouterPorts::create(poller_, secret, rng_, log_.named("router")));
  if (settings_.relay_for_party == "auto") {
    metered_ = std::make_unique<host::MeteredWatch>([this](bool metered) {
      post([this, metered] {
        is_metered_ = metered;
        update_relay();
      });
    });
  }
  read_interfaces();
  restore(saved);
  LR_TRY(open_api());
  settle();
  return {};
}

Result<void> NodeDaemon::open_adapter() {
  const Timed timed(log_, op::kNetworkInit);
  tun::AdapterOptions options;
  options.kind = tun::Kind::kTap;
  options.name = settings_.interface;
  options.mtu = node::kInnerMtu;
  options.tcp_offload = options.udp_offload = settings_.offload;
  LR_ASSIGN(adapter_, tun::open_adapter(options));
  return {};
}

// The port it had before, so that members who look there find it again; else any that is free.
Result<void> NodeDaemon::open_sockets(const Saved& saved) {
  net::UdpOptions udp;
  udp.segmentation = udp.coalescing = settings_.offload;
  if (settings_.port == 0 && saved.port != 0) {
    udp.bind.port = saved.port;
    if (auto same = net::UdpPair::open(udp)) {
      sockets_.emplace(std::move(*same));
      return {};
    }
  }
  udp.bind.port = settings_.port;
  LR_ASSIGN(auto sockets, net::UdpPair::open(udp));
  sockets_.emplace(std::move(sockets));
  if (sockets_->port() != saved.port) save("port", StateFiles::Class::kAtOnce);
  return {};
}

Result<void> NodeDaemon::open_lan() {
  const Timed timed(log_, op::kLanCaptureStart);
  LR_ASSIGN(tables_, host::KernelTables::open(log_.named("host")));
  LR_ASSIGN(auto capture, host::LanCapture::open({adapter_->info().index, "lanrage"}, log_.named("host")));
  capture_.emplace(std::move(capture));
  return open_inject();
}

Result<void> NodeDaemon::open_inject() {
  LR_ASSIGN(auto inject, host::LanInject::open(adapter_->info().index, log_.named("host")));
  inject_.emplace(std::move(inject));
  return {};
}

Result<void> NodeDaemon::open_api() {
  api::Options options;
  options.socket = folders_.socket();
  if (!settings_.api.empty()) {
    options.page = Endpoint::parse(settings_.api);
    if (!options.page || !options.page->address.is_loopback()) {
      return Error{Code::kInvalid, format("api cannot be \"{}\"", settings_.api),
                   "use an address of this machine alone, like 127.0.0.1:8666"};
    }
  }
  options.group = group_;
  if (group_ && (::chown(folders_.run.c_str(), static_cast<uid_t>(-1), *group_) != 0 ||
                 ::chmod(folders_.run.c_str(), 0710) != 0))  // through it to the socket; not to see what is there
    return os_error(format("cannot open {} to the group lanrage", folders_.run), errno);
  options.post = [this](std::function<void()> task) { post(std::move(task)); };
  options.metrics = [this] { return metrics(); };
  LR_ASSIGN(api_, api::Api::start(std::move(options), node_routes(*this), rng_, log_));
  return {};
}

// --- the loop ------------------------------------------------------------------------------------------------------

// What the task leads to at once (files, the adapter, requests) is of the same operation.
void NodeDaemon::post(std::function<void()> task) {
  tasks_->push([this, task = std::move(task), context = Context::current()] {
    const ContextScope operation(context);
    const ContextScope party(node_->context());
    task();
    const ContextScope party_by_now(node_->context());
    settle();
  });
}

void NodeDaemon::run(int stop_fd) {
  if (!poller_.add(stop_fd, kStop)) return;
  for (bool ending = false; !stopping_ || relay_;) {
    if (stopping_ && !std::exchange(ending, true)) {
      poller_.remove(stop_fd);  // it stays readable
      end_relay();
    }
    const std::span<const net::Ready> ready = poller_.wait(
        now_.time,
        std::min({node_->next_timeout().value_or(kNever), router_ports_->next_timeout().value_or(kNever),
                  hosting_until_, netchecks_until_, files_.due(), streams_due(), relay_due_, work_->next_timeout()}));
    now_ = net::now();
    const ContextScope party(node_->context());
    if (hosting_until_ <= now_.time) answer_hosting();
    if (streams_due() <= now_.time) retry_streams();
    if (relay_due_ <= now_.time) update_relay();
    if (work_->next_timeout() <= now_.time) work_->handle_timeout(now_.time);
    for (const net::Ready& one : ready) handle_ready(one);
    drain_queues();
    if (const auto due = node_->next_timeout(); due && *due <= now_.time) node_->handle_timeout(now_);
    if (const auto due = router_ports_->next_timeout(); due && *due <= now_.time)
      router_ports_->handle_timeout(now_.time);
    settle();
  }
  node_->stop(now_);
  settle();
  save("quality", StateFiles::Class::kSoft);
  save();
  answer();
}

void NodeDaemon::handle_ready(const net::Ready& ready) {
  if (ready.tag >= dataplane::UapiServer::kTagBase) {
    if (uapi_) uapi_->handle_ready(ready);
    return;
  }
  switch (ready.tag) {
    case kStop:
      stopping_ = true;
      break;
    case kTasks: {
      std::vector<std::function<void()>> tasks;
      tasks_->drain(tasks);
      for (const auto& task : tasks) task();
      break;
    }
    case kAttention:
      plane_->queues().attention.clear();
      node_->handle_counters(now_);
      if (!plane_->adapter_open()) {
        log_.error("the adapter is gone; the node stops");
        stopping_ = true;
      }
      break;
    case kNetlink:
      if (watch_.take_changes()) read_interfaces();
      break;
    case kIcmp:
    case kIcmp6:
      hear_icmp(ready.tag == kIcmp6);
      break;
    case kCapture:
      capture_->read([this](unsigned interface, ByteView packet) {
        node_->handle_captured(now_, static_cast<int>(interface), packet);
      });
      break;
    case kSearch:
      search_->read([this](const Endpoint& source, ByteView datagram) {
        if (wire::protocol_of(datagram) == wire::Protocol::kProbe) node_->handle_datagram(now_, source, datagram);
      });
      break;
    case kDiscoveryTag:
    case kDiscoveryTag + 1:
      read_discovery(ready.tag - kDiscoveryTag);
      break;
    case kNamesTag:
      answer_names();
      break;
    default:
      router_ports_->handle_ready(now_.time, ready);
      break;
  }
}

void NodeDaemon::drain_queues() {
  dataplane::ControlQueues& queues = plane_->queues();
  std::vector<dataplane::ReceivedHandshake> handshakes;
  queues.handshakes.drain(handshakes);
  for (const auto& one : handshakes) node_->handle_datagram(now_, one.from.endpoint, one.datagram, one.from.socket);
  std::vector<dataplane::ReceivedMessage> messages;
  queues.messages.drain(messages);
  for (const auto& one : messages) node_->handle_datagram(now_, one.from.endpoint, one.datagram, one.from.socket);
  std::vector<dataplane::ReceivedFrame> frames;
  queues.frames.drain(frames);
  for (const auto& one : frames) {
    if (!one.bare) node_->handle_frame(now_, one.peer, one.frame);
  }
  std::vector<dataplane::WaitingPacket> waiting;
  queues.waiting.drain(waiting);
  for (const auto& one : waiting) {
    if (one.group) {
      node_->handle_group_packet(now_, one.packet);
    } else {
      node_->handle_waiting(now_, one.peer, one.packet);
    }
  }
}

void NodeDaemon::settle() {
  take_mappings();
  do {
    while (auto event = node_->poll_event()) handle_event(*event);
  } while (work_->make_calls());
  if (files_.due() <= now_.time) save();
  while (auto inner = node_->poll_inner())
    staged_.push_back({inner->peer, inner->slot, std::move(inner->inner), inner->lane});
  publish();
  while (auto datagram = node_->poll_datagram()) send(*datagram);
  send_discovery();
  answer_netchecks();
  while (auto delivery = node_->poll_delivery()) deliver(*delivery);
  while (auto request = node_->poll_request()) {
    const ContextScope operation(request->context);
    if (client_) {
      client_->request(std::move(request->request), [this, id = request->id](Result<wire::Response> response) {
        node_->handle_response(now_, id, std::move(response));
      });
    } else {
      node_->handle_response(now_, request->id, Error{Code::kUnavailable, "there is no server to ask", "try again"});
    }
  }
  answer();
}

api::Respond NodeDaemon::when_saved(api::Respond respond) {
  return [this, respond = std::move(respond)](Result<wire::Json> result) {
    answers_.push_back([respond, result = std::move(result)]() mutable { respond(std::move(result)); });
  };
}

void NodeDaemon::answer() {
  if (files_.holds_answers()) return;
  for (const auto& answer : std::exchange(answers_, {})) answer();
}

void NodeDaemon::handle_event(const node::NodeEvent& event) {
  if (std::holds_alternative<node::SaveParty>(event)) {
    save("party");
    if (node_->server()) damaged_.clear();  // in a party again
  } else if (std::holds_alternative<node::SaveContacts>(event)) {
    save("contacts", StateFiles::Class::kSoft);
  } else if (std::holds_alternative<node::SaveQuality>(event)) {
    save("quality", StateFiles::Class::kSoft);
  } else if (std::holds_alternative<node::QualityChanged>(event)) {
    publish_quality();
  } else if (std::holds_alternative<node::SaveTimestampFloor>(event)) {
    save("timestamp", StateFiles::Class::kAtOnce);
  } else if (std::holds_alternative<node::ServerChanged>(event)) {
    connect_control();
    update_ports();
    update_relay();
  } else if (std::holds_alternative<node::AdapterChanged>(event)) {
    configure_network();
  } else if (std::holds_alternative<node::ForwardingChanged>(event)) {
    publish_ = true;
  } else if (std::holds_alternative<node::RelayStreamsChanged>(event)) {
    update_streams();
  } else if (std::holds_alternative<node::OpenDiscovery>(event)) {
    open_discovery();
  } else if (std::holds_alternative<node::CloseDiscovery>(event)) {
    close_discovery();
  } else if (std::holds_alternative<node::ExtraSocketsChanged>(event)) {
    open_extra_sockets();
  } else {
    update_relay();
    if (api_) api_->publish(wire::Json::object({{"event", "status"}}));
  }
}

void NodeDaemon::publish() {
  if (publish_) {
    publish_ = false;
    plane_->publish(node_->forwarding(), std::exchange(staged_, {}), extra_sockets_);
    return;
  }
  for (dataplane::ClearPacket& packet : staged_) plane_->queues().clear.push(std::move(packet));
  staged_.clear();
}

void NodeDaemon::deliver(const lan::Delivery& delivery) {
  const Timed timed(log_, op::kLanInject);
  if (delivery.kind == lan::Delivery::Kind::kWrite) {
    adapter_->write_packet(delivery.packet);
    return;
  }
  if (auto handled = inject_->handle(delivery); !handled && delivery.kind == lan::Delivery::Kind::kJoin) {
    node_->handle_join_failed(delivery.group, handled.error().message);
  }
}

// --- the control link ----------------------------------------------------------------------------------------------

void NodeDaemon::connect_control() {
  client_.reset();
  const auto& server = node_->server();
  if (!server) return;
  control::ClientOptions options;
  options.server = *server;
  // A server of our own is here, whatever becomes of the addresses that others reach it by.
  if (server_ && server_->info().key == server->key)
    options.server.addresses = {
        party::ServerAddress::of({IpAddress::v4(127, 0, 0, 1), server_->listening().front().port})};
  options.key = node_->identity().private_key();
  control::Client::Handlers handlers;
  handlers.on_link = [this](const control::LinkStatus& status) {
    const auto state = status.state == control::LinkState::kOnline    ? node::LinkState::kConnected
                       : status.state == control::LinkState::kWaiting ? node::LinkState::kDown
                                                                      : node::LinkState::kConnecting;
    node_->handle_link(now_, state, status.why);
  };
  handlers.on_reached = [this] { node_->handle_server_reached(now_); };
  handlers.on_measured = [this](Time sent, std::optional<Duration> rtt) {
    node_->handle_server_measured(now_, sent, rtt);
  };
  handlers.on_event = [this](const wire::Event& event) { node_->handle_event(now_, event); };
  client_ = control::Client::create(
      std::move(options), std::move(handlers), [this](std::function<void()> task) { post(std::move(task)); },
      std::make_unique<crypto::SystemRng>(), log_);
}

Result<void> NodeDaemon::start_server() {
  control::ServerOptions options;
  options.folder = folders_.state + "/server";
  options.write_window = std::chrono::milliseconds(settings_.write_window);
  options.offload = settings_.offload;
  LR_TRY((config::Folders{options.folder, options.folder}.create()));
  // The port it had before, so that its links stay good; else the usual one; else the next that is free.
  std::uint16_t port = party::kServerPort;
  LR_ASSIGN(const auto before, config::read_file(options.folder + "/port"));
  if (before) std::from_chars(before->data(), before->data() + before->size(), port);
  Error last;
  for (int i = 0; i < kServerPortsTried; ++i, ++port) {
    options.listen = {{IpAddress::v4(0), port}, {IpAddress::v6({}), port}};
    auto started = control::Server::start(options, log_);
    if (started) {
      server_ = std::move(*started);
      LR_ASSIGN(server_api_, open_server_api(
                                 *server_, folders_.server_socket(), [] { return wire::Json(); }, rng_, log_));
      LR_TRY(server_->write_link());
      return config::write_file(options.folder + "/port", std::to_string(port));
    }
    last = std::move(started).error();
    if (last.code != Code::kConflict) break;
  }
  return last;
}

std::string NodeDaemon::player_name(const std::string& asked) const {
  for (const std::string& name : {asked, settings_.name, hostname()}) {
    if (!name.empty() && (name == asked || name == settings_.name || party::check_name(name))) return name;
  }
  return "player";
}

// --- how it is -----------------------------------------------------------------------------------------------------

std::string NodeDaemon::describe_wireguard() const {
  dataplane::UapiDevice out;
  out.listen_port = sockets_->port();
  const node::NodeStatus status = node_->status(now_);
  for (const node::PeerStatus& peer : status.peers) {
    const auto key = crypto::PublicKey::from_base64(peer.public_key);
    if (!key) continue;
    dataplane::UapiPeer& shown = out.peers.emplace_back();
    shown.public_key = *key;
    if (peer.path) shown.endpoint = peer.path->endpoint;
    for (const std::string& address : peer.addresses) {
      if (const auto prefix = IpPrefix::parse(address)) shown.allowed_ips.push_back(*prefix);
    }
    if (peer.last_handshake_s)
      shown.last_handshake =
          now_.wall - std::chrono::duration_cast<Duration>(std::chrono::duration<double>(*peer.last_handshake_s));
    shown.rx_bytes = peer.rx_bytes;
    shown.tx_bytes = peer.tx_bytes;
  }
  return dataplane::format_uapi(out);
}

std::string NodeDaemon::metrics() const {
  observe::MetricsText out;
  const node::NodeStatus status = node_->status(now_);
  out.gauge("lanrage_peers", "Other members of the party.", static_cast<double>(status.peers.size()));
  const auto connected = std::count_if(status.peers.begin(), status.peers.end(),
                                       [](const node::PeerStatus& p) { return p.state == node::Reach::kConnected; });
  out.gauge("lanrage_peers_connected", "Members with a session and a proven path.", static_cast<double>(connected));
  const auto relay = relay_ ? relay_->stats() : control::UdpService::Stats();
  out.gauge("lanrage_party_relay_members", "Members registered at this node's relay for its party.",
            static_cast<double>(relay.sessions));
  out.counter("lanrage_party_relay_bytes_total", "Bytes that it forwarded; from 0 again when it begins anew.",
              relay.relay.bytes_forwarded);
  const StateFiles::Stats& saved = files_.stats();
  out.counter("lanrage_state_requests_total", "Changes of this node's state files.", saved.requests);
  out.counter("lanrage_state_merged_total", "Of them written together with another of the same file.", saved.merged);
  out.counter("lanrage_state_unchanged_total", "Not written: the file held it already.", saved.unchanged);
  out.counter("lanrage_state_saved_bytes_total", "Bytes that were not written for these two reasons.",
              saved.bytes_saved);
  out.counter("lanrage_state_writes_total", "State files replaced.", saved.writes);
  out.counter("lanrage_state_written_bytes_total", "Their bytes.", saved.bytes);
  out.gauge("lanrage_state_failing", "1 while the state cannot be saved.", files_.problem().empty() ? 0 : 1);
  const lan::LanStatus lan = node_->lan_status();
  out.counter("lanrage_lan_captured_total", "Broadcasts and multicasts of local programs.", lan.captured);
  out.counter("lanrage_lan_sent_total", "Of them given to the party.", lan.sent);
  out.counter("lanrage_lan_received_total", "Envelopes of members.", lan.received);
  out.counter("lanrage_lan_delivered_total", "Of them handed to this machine.", lan.delivered);
  out.counter("lanrage_lan_duplicates_total", "Second copies, dropped.", lan.duplicates);
  for (std::size_t i = 0; i < lan.dropped.size(); ++i) {
    out.counter("lanrage_lan_dropped_total", "Broadcasts and multicasts that went no further.", lan.dropped[i],
                {{"reason", lan::drop_name(static_cast<lan::Drop>(i))}});
  }
  const dataplane::DataPlaneStats plane = plane_->stats();
  out.counter("lanrage_tx_packets_total", "Packets sealed.", plane.tx.packets);
  for (std::size_t i = 0; i < plane.tx.dropped.size(); ++i) {
    out.counter("lanrage_tx_dropped_total", "Outgoing packets dropped.", plane.tx.dropped[i],
                {{"reason", node::drop_name(static_cast<node::OutboundDrop>(i))}});
  }
  out.counter("lanrage_rx_delivered_total", "Packets given to the adapter.", plane.rx.delivered);
  for (std::size_t i = 0; i < plane.rx.dropped.size(); ++i) {
    out.counter("lanrage_rx_dropped_total", "Incoming packets dropped.", plane.rx.dropped[i],
                {{"reason", node::drop_name(static_cast<node::InboundDrop>(i))}});
  }
  out.timings(log_.log().timings());
  return out.text();
}

}  // namespace lanrage::daemon
