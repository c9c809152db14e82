// One whole client, as pure code: its device identity, its party, and a link to every other member.
//
// It composes tunnel (handshakes), paths (how each member is reached), lan (broadcast and multicast) and party (who is
// who), and decides; it opens nothing. Who drives it (daemon/node_daemon on the control thread, or the simulator) calls
// a `handle_*` or an operation with the time, then `poll_event()` until empty (saving what it is told to save before
// going on), then the other polls, then sleeps until `next_timeout()`.
//
// Data packets never come by here: they run through `forwarding()` on the data threads (outbound.h, inbound.h). What
// these cannot decide comes in: datagrams that are no data message, inner frames that are no IP packet, broadcasts from
// the adapter, packets that wait for a session.
//
// An operation that needs the server takes a callback, which is called once, from inside a later call into the node.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>

#include "base/log.h"
#include "base/result.h"
#include "base/rng.h"
#include "lan/forwarder.h"
#include "node/filter.h"
#include "node/forwarding.h"
#include "node/names.h"
#include "node/outbound.h"
#include "node/quality_history.h"
#include "node/status.h"
#include "party/roster.h"
#include "paths/binding_lifetime.h"
#include "paths/nat_discovery.h"
#include "paths/netcheck.h"
#include "paths/punch.h"
#include "paths/relay_choice.h"
#include "paths/relay_client.h"
#include "paths/selector.h"
#include "paths/stun_client.h"
#include "tunnel/device.h"
#include "wire/control.h"

namespace lanrage::node {

inline constexpr std::uint16_t kInnerMtu = 1420;  // of the adapter, whatever the paths are (DESIGN section 4)
// A larger packet travels in two datagrams: sealed, by UDP and IPv6, it has 1280 bytes, which every path must carry.
inline constexpr std::uint16_t kDatagramInner = 1200;
inline constexpr std::size_t kWaitingPacketsMax = 128;                    // per member, while a session is being made
inline constexpr std::size_t kQuestionsMax = 64;                          // requests to the server in flight
inline constexpr Duration kSearchFirst = std::chrono::milliseconds{250};  // between two searches of the LAN; doubles
inline constexpr Duration kSearchGapMax = std::chrono::seconds{30};
inline constexpr Duration kContactsSaved = std::chrono::seconds{10};  // after their first change at the latest
inline constexpr Duration kHistorySaved = std::chrono::minutes{10};   // likewise
inline constexpr Duration kQualityGap = std::chrono::milliseconds{50};
inline constexpr Duration kUdpPatience = std::chrono::milliseconds{50};  // that an answer may take on a near line, too
inline constexpr Duration kEarlyStream = std::chrono::seconds{5};        // a stream is kept for a relay not named yet
inline constexpr Duration kSessionless = std::chrono::seconds{5};        // how long packets wait for a session

enum class LinkState { kDown, kConnecting, kConnected };

struct NodeOptions {
  std::string hostname;         // this machine's, for records; may be empty
  int adapter_index = 0;        // the party adapter's interface
  bool allow_loopback = false;  // members on one machine's loopback may connect (tests)
  paths::Redundancy redundancy = paths::Redundancy::kAuto;
};

// --- what the driver is to do --------------------------------------------------------------------------------------

// A datagram for a UDP socket, as it is: the node's own, or one of extra_sockets().
struct OutDatagram {
  Endpoint to;
  Bytes bytes;
  IpAddress from{};  // of ours, to go out by its interface; 0.0.0.0: the kernel chooses
  std::uint16_t socket = 0;
};
// Something for TX to seal: an IP packet that waited, one of our frames, or nothing (a keepalive).
struct OutInner {
  std::uint32_t slot = 0;
  crypto::PublicKey peer;
  Lane lane = Lane::kGame;
  Bytes inner;
};
// A request for the control link; the answer comes by handle_response with the same number. 0: nobody waits for it.
struct OutRequest {
  std::uint64_t id = 0;
  wire::Request request;
  Context context;  // of the operation that asks
};

// The party, or what the owner keeps of it, changed: write saved_party() to disk, or remove the file when it is empty.
struct SaveParty {};
// Write contacts() to disk when convenient, or remove the file when it is empty.
struct SaveContacts {};
// Write timestamp_floor() to disk before sending any datagram that waits.
struct SaveTimestampFloor {};
// Connect the control link to server(); none: let go of it.
struct ServerChanged {};
// The adapter's addresses or neighbours changed: adapter().
struct AdapterChanged {};
// forwarding() is a new snapshot.
struct ForwardingChanged {};
// Write quality_history() to disk when convenient, or remove the file when it is empty.
struct SaveQuality {};
// Something was measured: measured(). At most every kQualityGap.
struct QualityChanged {};
// Something a person would see changed: status().
struct StatusChanged {};
// relay_streams() is another list: open those that are new, say handle_relay_stream, and close the others. One that
// shows the TLS key of an open one is that one, by another description.
struct RelayStreamsChanged {};
// Open two fresh pairs of UDP sockets for discovery in place of those there are, and say handle_discovery_sockets.
struct OpenDiscovery {};
// They are of no more use.
struct CloseDiscovery {};
// Open and close IPv4 UDP sockets, each at a port that is free, so that there are those of extra_sockets() and no more.
struct ExtraSocketsChanged {};
using NodeEvent = std::variant<SaveParty, SaveContacts, SaveTimestampFloor, ServerChanged, AdapterChanged,
                               ForwardingChanged, SaveQuality, QualityChanged, StatusChanged, RelayStreamsChanged,
                               OpenDiscovery, CloseDiscovery, ExtraSocketsChanged>;

struct AdapterConfig {
  std::vector<IpPrefix> addresses;  // empty: not in a party
  struct Neighbour {
    IpAddress address;
    crypto::PublicKey key;  // its MAC address is made from it
    friend bool operator==(const Neighbour&, const Neighbour&) = default;
  };
  std::vector<Neighbour> neighbours;
  friend bool operator==(const AdapterConfig&, const AdapterConfig&) = default;
};

struct PingAnswer {
  Duration rtt{};
  PathStatus path;
};

struct InviteAnswer {
  std::string id;
  std::string text;
  std::int64_t expires = 0;  // unix seconds
  std::uint32_t uses_left = 0;
};

class Node {
 public:
  template <class T>
  using Done = std::function<void(Result<T>)>;

  // `tables` is this computer as LAN games see it; it and `rng` outlive the node.
  Node(const NodeOptions& options, const party::Identity& identity, tunnel::Tai64n timestamp_floor,
       lan::HostTables& tables, Rng& rng, Logger log);
  ~Node();
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  // --- starting and saving ---
  // Goes on in the party that saved_party() held. kInvalid when the file is damaged or another device's. With what
  // contacts() held, members who know each other connect without the server; lines that mean nothing are skipped.
  Result<void> restore(Now now, ByteView saved_party, std::string_view contacts = {});
  Bytes saved_party() const;  // empty: in no party
  // Where members, relays and STUN servers were last: the server's events that said so, one a line, signals as their
  // senders sealed them.
  std::string contacts() const;
  // What was measured of the members, by the hour, and what it was before; once, after restore().
  std::string quality_history() const { return history_.text(); }
  void restore_quality(std::string_view saved) { history_.restore(saved); }
  tunnel::Tai64n timestamp_floor() const { return tunnel_.timestamp_floor(); }

  // --- what people do --- (names and limits are checked; kConflict when it contradicts what is)
  struct HostRequest {
    std::string party_name;
    std::string name;
    party::ServerInfo server;
  };
  void host(Now now, const HostRequest& request, Done<InviteAnswer> done);
  void join(Now now, const party::Invite& invite, const std::string& name, Done<void> done);
  // The steps of joining, one after the other, for who does something in between; what fails has given up all of it.
  // The server proves that its key is the invite's, and we ours.
  using Stepped = std::function<void(Now, Result<void>)>;
  void meet_server(Now now, const party::Invite& invite, const std::string& name, Stepped done);
  void ask_admission(Now now, Stepped done);  // an address, and the party's secret
  Result<void> enter_admitted(Now now);       // AdapterChanged
  void announce_self(Now now, Stepped done);  // learns who else is there, and they of us
  void give_up_entry(Now now);                // at any of these steps; nothing outside of one
  void leave(Now now, Done<void> done);
  void invite(Now now, Duration lifetime, std::uint32_t uses, Done<InviteAnswer> done);
  void list_invites(Now now, Done<std::vector<InviteAnswer>> done);
  void revoke(Now now, const std::string& id, Done<void> done);
  void kick(Now now, std::string_view name, Done<void> done);
  void rekey(Now now, Done<void> done);
  void handover(Now now, std::string_view name, Done<void> done);
  void ping(Now now, std::string_view name, Duration timeout, Done<PingAnswer> done);
  void set_filter(Now now, bool strict, std::vector<FilterRule> rules);
  // The program ends, and this machine stays a member: its relays need not wait for it. Poll what is to be sent, and
  // call nothing more.
  void stop(Now now);
  const std::vector<FilterRule>& filter_rules() const { return rules_; }

  // --- what happens ---
  // `socket`: to which of ours it came, 0 or one of extra_sockets().
  void handle_datagram(Now now, const Endpoint& source, ByteView datagram, std::uint16_t socket = 0);
  // ICMP says that what we send to `endpoint` does not arrive; `socket` as above. Anybody can forge it by the thousand.
  void handle_unreachable(Now now, const Endpoint& endpoint, std::uint16_t socket = 0);
  void handle_frame(Now now, const crypto::PublicKey& peer, ByteView frame);
  void handle_group_packet(Now now, ByteView packet);                       // from the adapter
  void handle_captured(Now now, int interface, ByteView packet);            // leaving by another interface
  void handle_join_failed(const IpAddress& group, const std::string& why);  // of a lan::Delivery
  void handle_waiting(Now now, const crypto::PublicKey& peer, ByteView packet);
  void handle_counters(Now now);  // the data threads' counters moved: at least every second while data flows
  // `rerouted`: what leaves this machine takes another default route than at the call before.
  void handle_interfaces(Now now, const std::vector<paths::InterfaceAddress>& addresses, std::uint16_t port,
                         bool rerouted = false);
  // Where routers lead our UDP port, from now on, and what the router said about it.
  void handle_mapped(Now now, std::vector<Endpoint> mapped, const paths::RouterReport& router);
  // This machine relays for its party from now on, under its device key, or does not any more: the members are told.
  // What differs only a little in health or load is no news.
  void set_own_relay(Now now, std::optional<wire::MemberRelay> relay);
  // The stream to that relay is open: UDP to `entrance` from our port goes into it. Nothing: it is over.
  void handle_relay_stream(Now now, const crypto::PublicKey& relay, const std::optional<Endpoint>& entrance);
  // The ports of discovery's sockets; 0: they cannot be opened.
  void handle_discovery_sockets(Now now, std::uint16_t first_port, std::uint16_t second_port);
  void handle_discovery_packet(Now now, paths::NatDiscovery::Socket socket, const Endpoint& source, ByteView datagram);
  // `from` says that a datagram of discovery's second socket passed as many routers as it may.
  void handle_discovery_expired(Now now, const IpAddress& from, const Endpoint& destination);
  // The party's server has these addresses from now on; ignored for another server than the party's.
  void handle_server_addresses(const party::ServerInfo& server);
  void handle_link(Now now, LinkState state, const std::optional<Error>& problem);
  // A connection to the server stands, TCP and TLS: an answer over UDP would have been there in half of that time.
  void handle_server_reached(Now now);
  void handle_response(Now now, std::uint64_t id, Result<wire::Response> response);
  void handle_event(Now now, const wire::Event& event);
  // A question to the server that was sent then was answered after `rtt`, or was not.
  void handle_server_measured(Now now, Time sent, std::optional<Duration> rtt);
  void handle_timeout(Now now);
  std::optional<Time> next_timeout() const;

  // --- what comes of it ---
  std::optional<NodeEvent> poll_event();
  std::optional<OutDatagram> poll_datagram();
  std::optional<paths::NatDiscovery::Transmit> poll_discovery();
  const std::set<std::uint16_t>& extra_sockets() const { return extra_sockets_.open(); }
  std::optional<OutInner> poll_inner();
  std::optional<OutRequest> poll_request();
  std::optional<lan::Delivery> poll_delivery();
  const std::shared_ptr<const Forwarding>& forwarding() const { return forwarding_; }
  AdapterConfig adapter() const;
  // The server to follow: the party's, or of the operation under way.
  const std::optional<party::ServerInfo>& server() const { return server_; }

  // What every line that the node causes carries, beside its operation's own: the party.
  Context context() const;
  NodeStatus status(Now now) const;
  // What was measured since the last call.
  struct Measured {
    struct Peer {
      std::string name;
      std::string public_key;  // base64
      QualityStatus quality;
    };
    std::vector<Peer> peers;
    bool relays = false;
    bool server = false;
  };
  Measured measured();
  // A member's quality in detail; null: not a member, or nothing measured yet.
  const paths::Quality* quality(const crypto::PublicKey& peer) const;
  const std::vector<QualityHistory::Hour>& quality_hours(const crypto::PublicKey& peer) const {
    return history_.hours(peer);
  }
  std::vector<NamedMember> named_members() const;  // with ourselves; none outside a party
  lan::LanStatus lan_status() const { return lan_ ? lan_->status() : lan::LanStatus(); }
  // What is known of this network; begins to find out anew; whether that goes on.
  paths::NetworkView network() const;
  void discover(Now now);
  bool is_discovering() const { return discovering_; }
  bool has_discovered() const { return has_discovered_; }  // in this run of ours
  // Those to be reached over TLS, now that none answers over UDP. Before the server has named any: the server itself,
  // by its TLS key, with a key of zeros.
  std::vector<wire::RelayInfo> relay_streams() const;
  std::vector<RelayStatus> relays() const;  // best first, for this node alone
  // What a relay of our own is to know: whose grants count (none: nobody has said yet), and for how many others it is.
  const std::vector<crypto::VerifyKey>& grant_keys() const { return grant_keys_; }
  std::optional<party::PartyId> party() const { return roster_ ? std::optional(roster_->party()) : std::nullopt; }
  std::size_t others() const { return links_.size(); }
  const std::vector<wire::RelayInfo>& named_relays() const { return named_relays_; }
  const std::optional<wire::MemberRelay>& own_relay() const { return own_relay_; }
  const party::Identity& identity() const { return identity_; }
  const tunnel::Stats& tunnel_stats() const { return tunnel_.stats(); }

 private:
  // A session as control holds it, until the tunnel retires it.
  struct SessionKeys {
    std::uint32_t local_index = 0;
    std::shared_ptr<tunnel::SendKey> send;
    std::shared_ptr<tunnel::ReceiveKey> receive;
  };
  // An operation under way, to be timed when it is over, in the log's context of its beginning.
  struct Begun {
    Time at;
    Context context = Context::current();
  };
  // A join under way, until it is announced.
  struct Entry {
    party::Invite invite;
    Time started;
    std::optional<Result<party::Roster>> admitted;  // the server's answer; moved from once we entered
    Stepped waits;                                  // for the server, or for that
    bool met = false;                               // for that
  };
  struct Waiting {
    Time until;
    Bytes packet;
    Lane lane;
  };
  // One other member and everything that leads to it.
  struct Link {
    crypto::PublicKey key;
    std::uint32_t slot = 0;
    std::unique_ptr<paths::Selector> selector;
    std::unique_ptr<paths::Punch> punch;
    std::vector<std::uint64_t> tags;  // of its probes
    std::shared_ptr<PeerState> state = std::make_shared<PeerState>();
    std::vector<SessionKeys> sessions;
    std::shared_ptr<tunnel::SendKey> sending;
    std::deque<Waiting> waiting;
    tunnel::Activity seen;
    Time rate_since{};                         // of the second in which the bytes that arrive are counted
    std::uint64_t rate_bytes = 0;              // at its beginning
    Bytes signal;                              // the peer's newest, as it sealed it
    std::vector<paths::Candidate> candidates;  // in it
    std::vector<wire::SignalLeg> legs;         // likewise
    std::vector<paths::RankedRelay> relays;    // of this pair, best first
    std::optional<bool> owed_signal;           // call_me_now of one that had to wait until the member is online
    bool met = false;                          // there was a session, in this run of ours
    std::optional<std::uint32_t> initiating;   // index of the initiation in flight
    bool measuring = false;                    // its quality was measured at least once
    bool newly_measured = false;               // since measured() was asked
    // In the newest signal: the peer relays for the party.
    std::optional<wire::MemberRelay> own_relay;
    // What is still to be timed: since it is connecting, without a direct path, on a relay.
    std::optional<Begun> connecting_since;
    std::optional<Begun> punching_since;
    std::optional<Begun> relayed_since;
  };
  struct Ping {
    crypto::PublicKey peer;
    Time sent;
    Time deadline;
    Done<PingAnswer> done;
  };

  // node.cc
  void pump(Now now);
  bool pump_tunnel(Now now);
  bool pump_links(Now now);
  bool pump_relays(Now now);
  void pump_streams(Now now);
  void handle_probe(Now now, Link& link, const Path& path, ByteView datagram);
  void note_activity(Now now, Link& link);
  static void note_rate(Now now, Link& link);
  void time_path(Time now, Link& link, const Path& path);
  void finished(Time now, Operation operation, std::optional<Begun>& begun);
  bool pump_lan(Now now);
  void share_filter();
  void event(NodeEvent event);
  void send_to(const Path& path, const crypto::PublicKey& peer, Bytes datagram);
  static bool is_open(Now now, const Link& link);  // there is a session to send on
  void begin_session(Now now, const Link& link);
  void send_inner(Now now, Link& link, Bytes inner, Lane lane);
  void publish();
  Link* link_of(const crypto::PublicKey& key);

  // node_party.cc
  using Answered = std::function<void(Now, Result<wire::Response>)>;
  void ask(wire::Request request, Answered answered);
  void enter(Now now, party::Roster roster);
  void forget_party(Now now);
  void follow();
  void apply(Now now, const party::RosterEvents& events);
  void publish_record(Now now);
  void step_entry(Now now, const Stepped& done);
  void rejoin(Now now, std::optional<Error> refusal);
  void finish_statements(Now now, party::StatementsRequest request, Operation operation, Done<void> done);
  void announce_summary(Now now, Link& link);
  void handle_member_message(Now now, Link& link, const wire::MemberMessage& message);
  Result<const party::Member*> member_named(std::string_view name) const;
  party::SelfSettings self_settings(const std::string& name) const;
  void set_server(Now now, std::optional<party::ServerInfo> server);
  void use_told_servers();
  void fail_questions(Now now, const Error& error);

  // node_status.cc
  PathStatus status_of(const Path& path) const;

  // node_quality.cc
  void pump_quality(Now now);
  void note_measured(Now now, Link& link, const paths::Aggregate& change);
  static QualityStatus quality_of(const Link& link);

  // node_network.cc
  void begin_search(Now now);
  void search_lan(Now now);
  void pump_stun(Now now);
  void pump_discovery(Now now);
  void measure_lifetime(Now now);
  void use_lifetime(Now now, const std::optional<paths::LifetimeReport>& lifetime);
  Duration keepalive_interval() const;
  std::vector<Endpoint> second_opinions(const std::vector<IpAddress>& own) const;

  // node_links.cc
  void sync_links(Now now);
  void add_link(Now now, const party::Member& member);
  void remove_link(Now now, const crypto::PublicKey& key);
  void update_keys(Now now, Link& link);
  void send_signal(Link& link, bool call_me_now);
  void set_online(Now now, const crypto::PublicKey& key, bool online);
  bool handle_signalled(Now now, const wire::Signalled& signalled, bool is_fresh);
  void recall(Now now, std::string_view contacts);
  void contacts_changed(Now now);
  void refresh_candidates(Now now);
  void refresh_network();
  paths::NatReport nat_report() const;
  void refresh_punch();
  void pump_punch(Now now, Link& link);
  void settle_sockets(Now now);
  void ask_over_udp(Time now);
  void doubt_udp(Time now);
  void refresh_stun_servers(Now now, std::vector<Endpoint> servers);

  // node_relays.cc
  std::optional<wire::RelayHealth> relay_health(const crypto::PublicKey& key) const;
  std::vector<PairRelayStatus> pair_relays(const Link& link) const;
  void use_relays(Now now, const wire::Relays& relays);
  void gather_relays(Now now);
  void apply_relays(Now now, std::vector<wire::RelayInfo> relays);
  std::vector<wire::RelayInfo> all_relays() const;
  const Link* relaying_member(const crypto::PublicKey& key) const;
  std::string member_of(const crypto::PublicKey& relay) const;
  void review_health(Now now);
  void use_grant(Now now, const wire::Grant& grant);
  void use_grant_keys(Now now, const wire::GrantKeys& keys);
  void note_legs(Now now);
  std::vector<wire::SignalLeg> measured_legs() const;
  void tell_legs(Now now);
  std::vector<paths::RelayOption> relay_options(const std::vector<wire::SignalLeg>& theirs,
                                                const crypto::PublicKey& peer = {}) const;
  void plan_relays(Now now);
  void plan_relays(Link& link);
  std::uint64_t pair_number(const Link& link) const;
  void choose_used_relays(Now now);
  void give_relays(Now now);

  const NodeOptions options_;
  const party::Identity identity_;
  Rng& rng_;
  Logger log_;
  Logger party_log_;
  Logger paths_log_;
  const std::uint32_t instance_;  // of this run, in probes

  std::optional<party::Roster> roster_;
  std::optional<party::ServerInfo> server_;
  std::vector<std::string> told_servers_;  // where the server and those of its kind are, as it says itself
  LinkState link_state_ = LinkState::kDown;
  std::string link_problem_;
  bool entering_ = false;  // host or join is under way
  std::optional<Entry> entry_;
  std::function<void(Now, Result<void>)> joined_;  // join waits for its first record to be published
  bool publishing_ = false;                        // a PutRecord is in flight
  bool rejoining_ = false;                         // a second Join is
  std::vector<std::string> notices_;
  std::uint64_t last_question_ = 0;
  std::map<std::uint64_t, Answered> questions_;

  tunnel::Device tunnel_;
  paths::StunClient stun_;
  paths::NatDiscovery discovery_;
  paths::ExtraSockets extra_sockets_;
  std::set<std::uint16_t> told_sockets_;  // as the driver has them
  bool discovering_ = false;              // sockets are wanted or in use
  bool has_discovered_ = false;
  paths::DiscoveryReport discovered_;
  paths::BindingLifetime lifetime_meter_;
  bool measuring_lifetime_ = false;                // it has discovery's sockets
  std::optional<paths::LifetimeReport> lifetime_;  // in this network
  std::set<IpAddress> public_addresses_;           // as servers see the node's socket
  paths::RouterReport router_;
  wire::SignalNetwork network_signal_;  // of this, what members are told
  paths::RelayClient relays_;
  std::optional<Time> udp_asked_;           // the server, over UDP, when it was met; nothing: it answered
  Time udp_due_ = kNever;                   // its answer
  bool udp_doubted_ = false;                // it is overdue
  Time early_until_ = kNever;               // a stream is wanted to a relay that the server has yet to name
  std::vector<crypto::PublicKey> streams_;  // to these relays, as the driver was told
  lan::HostTables& tables_;
  std::optional<lan::Forwarder> lan_;  // while in a party
  bool strict_ = false;
  std::vector<FilterRule> rules_;
  std::shared_ptr<const PortFilter> filter_;
  std::shared_ptr<Flows> flows_;

  std::set<crypto::PublicKey> online_;  // who is connected to the server, known members or not
  std::map<crypto::PublicKey, std::unique_ptr<Link>> links_;
  std::vector<crypto::PublicKey> slots_;  // by slot; all zero: free
  std::unordered_map<std::uint64_t, crypto::PublicKey> tags_;
  std::unordered_map<wire::RelayPeer, crypto::PublicKey> relay_names_;
  std::vector<paths::InterfaceAddress> interfaces_;
  std::uint16_t port_ = 0;
  std::vector<wire::RelayInfo> named_relays_;  // by the server
  std::vector<wire::RelayInfo> relay_infos_;   // those, then members' own
  std::uint64_t relay_turn_ = 0;
  std::optional<wire::MemberRelay> own_relay_;  // as members were told
  std::vector<crypto::VerifyKey> grant_keys_;
  std::vector<wire::RelayHealth> relays_health_;
  std::map<crypto::PublicKey, double> planned_health_;  // what the plans were made with
  std::vector<wire::SignalLeg> legs_;                   // ours, as members were told, best first
  std::uint64_t legs_measured_ = 0;                     // of RelayClient's counts, when legs_ was compared
  Time legs_due_ = kNever;                              // there is news to tell
  Duration legs_gap_ = std::chrono::milliseconds{200};  // until it is told
  std::map<wire::RelayPeer, Time> relay_wanted_;        // last, when there are more than are used
  std::vector<Endpoint> stun_endpoints_;
  std::optional<wire::Grant> grant_;
  Time contacts_due_ = kNever;
  std::optional<Begun> discovering_since_;  // address discovery is under way, to be timed
  std::optional<Begun> registering_since_;  // likewise with relays
  std::vector<Endpoint> mapped_;
  std::vector<paths::Candidate> candidates_;
  std::uint32_t generation_ = 0;
  std::map<std::uint16_t, Ping> pings_;
  std::uint16_t last_ping_ = 0;
  Time counters_due_ = kNever;
  Time search_at_ = kNever;  // while a member is not reached directly
  Duration search_gap_ = kSearchFirst;
  paths::Quality server_quality_;
  QualityHistory history_;
  Time history_due_ = kNever;  // to be saved
  Time quality_due_ = kNever;  // QualityChanged
  Time quality_told_{};
  bool relays_measured_ = false, server_measured_ = false;  // since measured() was asked
  Time host_due_{};

  bool forwarding_dirty_ = true;
  std::shared_ptr<const Forwarding> forwarding_ = std::make_shared<Forwarding>();
  std::deque<NodeEvent> events_;
  std::deque<OutDatagram> datagrams_;
  std::deque<OutInner> inners_;
  std::deque<OutRequest> requests_;
};

}  // namespace lanrage::node
