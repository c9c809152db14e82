// A party's node on this machine: everything around `node::Node`, constructed, supervised and shut down in reverse.
//
// All of it lives on one control thread, the one that calls `run`: adapter, sockets, netlink, packet capture and state
// files directly; the data threads, the HTTP threads of the API and of the control client reach it by `post`.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "api/api.h"
#include "base/log.h"
#include "config/config.h"
#include "config/folders.h"
#include "control/client.h"
#include "control/server.h"
#include "crypto/random.h"
#include "daemon/lan_search.h"
#include "daemon/party_relay.h"
#include "daemon/process.h"
#include "daemon/router_ports.h"
#include "daemon/state_files.h"
#include "daemon/task_runner.h"
#include "dataplane/data_plane.h"
#include "dataplane/uapi_server.h"
#include "host/kernel_tables.h"
#include "host/lan_capture.h"
#include "host/lan_inject.h"
#include "host/metered.h"
#include "host/resolver.h"
#include "net/icmp_watch.h"
#include "net/netlink.h"
#include "net/poller.h"
#include "net/stream_bridge.h"
#include "node/node.h"
#include "paths/party_relay.h"
#include "tun/adapter.h"

namespace lanrage::daemon {

// Runs a node until SIGTERM, SIGINT or `lanrage down`. Says ready once its API answers, or why it cannot start.
// `config_took` is how long the caller needed to load the configuration, to be timed once there is a log.
Result<void> run_node(const config::Config& config, Duration config_took, const config::Folders& folders,
                      Readiness readiness);

class NodeDaemon {
 public:
  static Result<std::unique_ptr<NodeDaemon>> open(const config::Settings& settings, const config::Folders& folders,
                                                  std::optional<gid_t> group, const Logger& log);
  ~NodeDaemon();
  NodeDaemon(const NodeDaemon&) = delete;
  NodeDaemon& operator=(const NodeDaemon&) = delete;

  void run(int stop_fd);

  // For the routes (node_routes.cc); control thread.
  node::Node& node() { return *node_; }
  Now now() const { return now_; }
  // Answers once what was asked for is on disk, or the disk refuses it.
  api::Respond when_saved(api::Respond respond);
  wire::Json status() const;
  // Of every member, or of that one. kNotFound. (node_quality.cc)
  Result<wire::Json> qualities(const std::string& name) const;
  void check_firewall();  // node_firewall.cc; at most every few seconds, for status
  std::string player_name(const std::string& asked) const;
  // What was asked for, as tasks; each answers once it is over. (node_operations.cc)
  void host(const std::string& party, const std::string& name, const std::string& link, const api::Respond& respond,
            std::function<wire::Json(const node::InviteAnswer&)> answer);
  void join(const party::Invite& invite, const std::string& as, const api::Respond& respond);  // "": any name
  void leave(const api::Respond& respond);
  void kick(const std::string& name, const api::Respond& respond);
  void rekey(const api::Respond& respond);
  void handover(const std::string& name, const api::Respond& respond);
  void push_config(std::function<Result<void>()> apply, const api::Respond& respond,
                   std::function<wire::Json()> answer);
  void restart_network(const api::Respond& respond);
  TaskRunner& work() { return *work_; }
  // The server to host with: the given link, else the configured one, else one of our own, started now; then `done` is
  // called once the router opened a port for it, or refused, at most two seconds later.
  void hosting_server(const std::string& link, std::function<void(Result<party::ServerInfo>)> done);
  // How friends reach a server of our own; empty when we use another's.
  std::string reach() const;
  Result<void> save_rules();
  Result<std::vector<std::string>> log_lines(std::size_t count) const;
  void stop() { stopping_ = true; }
  const config::Settings& settings() const { return settings_; }
  // `self.nat` of the status; null where nothing is known.
  wire::Json nat_json() const;
  // `self.port_mapping` of the status: what the router did; null where none was asked, or is being asked just now.
  wire::Json port_mapping_json() const;
  // `self.relay` of the status: whether this machine relays for its party, and why it does not. (node_relay.cc)
  wire::Json relay_json() const;
  // Looks at this network anew; `done` is called within about three seconds.
  void netcheck(std::function<void(wire::Json)> done);
  std::string metrics() const;
  std::string page_link() { return api_->page_link(); }
  std::uint16_t port() const { return sockets_->port(); }

 private:
  static constexpr std::uint64_t kNamesTag = 100;  // the poller's, beside those of node_daemon.cc

  // What connections of this machine depend on.
  struct Network {
    std::vector<IpPrefix> addresses;
    std::vector<std::pair<unsigned, std::optional<IpAddress>>> ways_out;  // interface and gateway
    friend bool operator==(const Network&, const Network&) = default;
  };

  struct RelayStream {
    wire::RelayInfo relay;
    std::unique_ptr<net::StreamBridge> bridge{};
    std::optional<Endpoint> entrance{};  // while it is open
    std::uint64_t number = 0;            // of this bridge
    Duration backoff{};                  // since the last that opened
    Time again = kNever;                 // to be opened
  };

  struct Saved {
    party::IdentitySeed seed;
    tunnel::Tai64n floor;
    std::string party;
    std::string contacts;
    std::string quality;
    std::uint16_t port = 0;  // UDP, that members know; 0: none yet
  };
  NodeDaemon(const config::Settings& settings, const config::Folders& folders, const Logger& log, FolderLock lock,
             net::Poller poller, net::Netlink netlink, net::NetlinkWatch watch);
  Result<void> open_parts();
  Result<void> open_adapter();
  Result<void> open_lan();
  Result<void> open_inject();
  Result<void> open_api();

  void post(std::function<void()> task);
  void handle_ready(const net::Ready& ready);
  void drain_queues();
  void settle();
  void answer();  // what waits for the disk, if it need not any more
  void handle_event(const node::NodeEvent& event);
  void deliver(const lan::Delivery& delivery);
  void publish();
  void publish_quality();
  void connect_control();
  Result<void> start_server();
  std::vector<std::string> notices(const node::NodeStatus& status) const;
  Result<void> open_sockets(const Saved& saved);
  std::string describe_wireguard() const;
  // node_state.cc
  Result<Saved> load();
  Result<void> load_rules();
  void restore(const Saved& saved);
  void save(const std::string& file, StateFiles::Class kind = StateFiles::Class::kAnswered);
  void save();  // all that waits
  std::string content_of(const std::string& file) const;
  Result<void> write_state(const std::string& file, std::string_view content);
  // node_operations.cc
  using Ended = std::function<void(Result<void>)>;
  Ended ends(tasks::Attempt attempt);
  tasks::TaskSpec once(const std::string& name, tasks::Priority priority, std::function<void(Ended)> run);
  void submit(tasks::GraphSpec spec, const api::Respond& respond, std::function<wire::Json()> answer);
  void operate(tasks::OperationType type, tasks::Priority priority, const std::string& subject,
               std::function<void(Ended)> run, const api::Respond& respond);
  void submit_network(const std::string& name, tasks::OperationType type, tasks::Priority priority,
                      std::function<Result<void>()> apply, const api::Respond& respond);
  void configure_network();
  void give_up_entering(Ended done);
  // node_network.cc
  Result<void> configure_adapter();
  void clear_adapter();
  Result<void> open_games();
  void take_back_network();
  void note_network(const std::vector<IpPrefix>& addresses);
  static std::vector<net::Rule> rules_of(std::uint32_t table, const IpPrefix& address);
  Result<void> add_rules(const IpPrefix& address);
  Result<void> remove_rules(const IpPrefix& address);
  void read_interfaces();
  // node_discovery.cc
  static constexpr std::uint64_t kDiscoveryTag = 64;  // and the next
  void open_discovery();
  void close_discovery();
  void read_discovery(std::size_t index);
  void send_discovery();
  void answer_netchecks();
  wire::Json netcheck_json() const;
  // node_ports.cc
  std::vector<paths::PortToMap> ports_to_map() const;
  void update_ports();
  void take_mappings();
  std::optional<Endpoint> outside_of(paths::PortTransport transport, std::uint16_t port) const;
  void use_mapping();
  void answer_hosting();
  // node_relay.cc
  paths::RelayPlace relay_place() const;
  void update_relay();
  void start_relay(const party::PartyId& party);
  void stop_relay(Duration patience);
  void end_relay();
  // node_streams.cc
  void update_streams();
  void open_stream(RelayStream& stream);
  void stream_closed(std::uint64_t number, const Error& why);
  void reopen_streams();
  void retry_streams();
  Time streams_due() const;
  RelayStream* stream_numbered(std::uint64_t number);
  // node_names.cc
  void update_names();
  void answer_names();
  // node_sockets.cc
  void open_extra_sockets();
  void send(const node::OutDatagram& datagram);
  void hear_icmp(bool v6);

  const config::Settings settings_;
  const config::Folders folders_;
  std::optional<gid_t> group_;  // may use the API, too
  Logger log_;
  FolderLock lock_;
  crypto::SystemRng rng_;
  Now now_;
  net::Poller poller_;
  net::Netlink netlink_;
  net::NetlinkWatch watch_;
  std::unique_ptr<net::Queue<std::function<void()>>> tasks_;
  std::unique_ptr<tun::Adapter> adapter_;
  std::optional<LanSearch> search_;
  std::array<std::optional<net::UdpPair>, 2> discovery_;    // while this network is looked at
  std::vector<std::function<void(wire::Json)>> netchecks_;  // wait for that
  Time netchecks_until_ = kNever;
  std::optional<net::UdpPair> sockets_;
  std::shared_ptr<const dataplane::ExtraSockets> extra_sockets_ = std::make_shared<dataplane::ExtraSockets>();
  std::unique_ptr<host::KernelTables> tables_;
  std::optional<host::LanCapture> capture_;
  std::optional<net::IcmpWatch> icmp_;
  std::optional<host::LanInject> inject_;
  std::unique_ptr<node::Node> node_;
  std::unique_ptr<control::Server> server_;  // of our own
  std::unique_ptr<api::Api> server_api_;     // and its answers to `server status`
  std::unique_ptr<control::Client> client_;
  std::unique_ptr<dataplane::UapiServer> uapi_;
  std::unique_ptr<dataplane::DataPlane> plane_;
  std::unique_ptr<RouterPorts> router_ports_;
  std::shared_ptr<net::IoLoop> stream_loop_;
  std::vector<RelayStream> streams_;
  std::uint64_t last_stream_ = 0;
  std::unique_ptr<PartyRelay> relay_;  // for our party, or on its way out
  Time relay_due_ = kNever;            // to be looked after
  Time relay_again_{};                 // not to be tried before, since it failed
  std::optional<bool> has_battery_;    // once it was looked at
  std::string why_no_relay_;
  paths::DiscoveryReport heard_network_;  // the newest that servers answered
  std::unique_ptr<host::MeteredWatch> metered_;
  bool is_metered_ = false;
  Network network_;
  paths::PortMapper::Outcome mapping_;  // the router's newest
  bool mapping_known_ = true;           // it is of what is wanted now, or nothing is wanted of a router
  std::vector<std::function<void(Result<party::ServerInfo>)>> hosting_;  // wait for that answer
  Time hosting_until_ = kNever;
  std::optional<net::UdpSocket> names_;  // answers questions about the party's names
  std::unique_ptr<host::Resolver> resolver_;
  std::optional<std::string> names_problem_;  // why other programs do not know them; empty: they do; nothing: not known
  std::optional<Time> firewall_checked_;
  std::string firewall_problem_;  // for a person; empty: it lets members in
  std::unique_ptr<api::Api> api_;
  std::unique_ptr<TaskRunner> work_;
  std::uint64_t last_submission_ = 0;  // of those that are like no other
  bool configure_waits_ = false;       // a task that makes the adapter as it is wanted has not begun
  node::AdapterConfig configured_;
  bool games_stale_ = false;  // the groups that were joined for games are another network's
  std::vector<dataplane::ClearPacket> staged_;
  StateFiles files_;
  std::vector<std::function<void()>> answers_;  // that wait until what they say is on disk
  std::string damaged_;                         // what a person should know of the state that was found
  std::int64_t quality_version_ = 0;            // of the last event
  bool publish_ = false;
  bool stopping_ = false;
};

// As peers, relays, the server and events have it. (node_quality.cc)
wire::Json quality_json(const node::QualityStatus& quality);

// The local API of a node.
std::vector<api::Route> node_routes(NodeDaemon& daemon);

}  // namespace lanrage::daemon
