// What a control server decides, without its sockets: sessions, parties, event streams, signalling, grants.
//
// Requests, proofs and streams go in as values with the time; responses and events come out by callback. A response is
// given, and its events are sent, only after the store has the change on disk. Runs in the server on its service thread
// and in the simulator. Owned by one thread; `post` (an option) brings the store's completions onto it.
//
// It opens no seal and does not know who may join better than an invite's hash: what members may believe of it is
// checked by them (party/roster.h).
//
// Where several servers share the store, none owns a party. What is answered was decided on what the store has at that
// moment: a change that came too late is decided again, and so is a refusal or an answer that changes nothing. Presence
// is in memory, each server's own, and told to the others over the bus.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/log.h"
#include "base/result.h"
#include "base/rng.h"
#include "bus/bus.h"
#include "control/relay_directory.h"
#include "crypto/hash.h"
#include "crypto/signature.h"
#include "party/server_party.h"
#include "store/store.h"
#include "wire/news.h"

namespace lanrage::control {

inline constexpr Duration kSessionLife = std::chrono::hours{24};
inline constexpr Duration kChallengeLife = std::chrono::seconds{30};
inline constexpr Duration kGrantLife = std::chrono::hours{1};
inline constexpr Duration kGrantRenewal = std::chrono::minutes{45};
inline constexpr std::size_t kChallengesMax = 10000;
inline constexpr std::size_t kPartiesCachedMax = 20000;
inline constexpr Duration kRetirement = std::chrono::hours{1};  // how often unneeded parties are looked for
inline constexpr std::size_t kStreamsMax = 100000;
inline constexpr std::size_t kStreamsPerKeyMax = 4;
inline constexpr std::size_t kBucketsMax = 100000;
inline constexpr int kHealthNews = 5;  // points of health or load
inline constexpr Duration kHealthInterval = std::chrono::seconds(5);
inline constexpr int kDecisionsMax = 100;  // about one request, as others change the party at the same time
inline constexpr std::size_t kServersMax = 256;
// Of another server that is not heard: who was connected to it is not known to be gone for so long.
inline constexpr Duration kServerLost = std::chrono::seconds(33);
inline constexpr Duration kAddressesKept = std::chrono::hours(24);
inline constexpr Duration kHereInterval = std::chrono::seconds(30);

inline constexpr Duration kSweep = std::chrono::seconds(1);

// A token bucket: `burst` at once, then `per_second`.
struct Rate {
  double burst;
  double per_second;
};
inline constexpr Rate kHellosPerAddress{500, 50};  // each costs a key and a Diffie-Hellman
inline constexpr Rate kRequestsPerKey{100, 20};
inline constexpr Rate kRefusalsPerAddress{300, 5};  // wrong tokens: guessing an invite is slow
inline constexpr Rate kSignalsPerKey{300, 100};

struct ServiceOptions {
  crypto::SigningKey grant_key;
  std::vector<wire::RelayInfo> relays;  // the server's own
  std::vector<Endpoint> stun;
  std::function<void(std::function<void()>)> post;  // runs something on the service's thread, later or at once
  RelayDirectory others{};                          // of those that registered
  std::function<Result<void>(const std::string&)> save_relays{};  // keeps RelayDirectory::text(); none: not kept
  bus::Bus* bus = nullptr;  // to the servers that share the store; none: there are none
};

inline wire::PartyId wire_id(const party::PartyId& id) {
  wire::PartyId out;
  std::copy(id.bytes().begin(), id.bytes().end(), out.begin());
  return out;
}

// Whom an event stream goes to. Called on the service's thread; not from inside its own calls into the service.
struct Stream {
  std::function<void(const wire::Event&)> send;
  std::function<void(const Error&)> close;
};

class Service {
 public:
  using Respond = std::function<void(Result<wire::Response>)>;
  using StreamId = std::uint64_t;

  Service(ServiceOptions options, store::Store& store, Rng& rng, const Logger& log);
  ~Service();

  // --- sessions --- `exporter` binds the proof to the TLS session (RFC 9266).
  Result<wire::Challenge> hello(Now now, const IpAddress& from, const wire::Hello& hello);
  Result<wire::Session> prove(Now now, const IpAddress& from, ByteView exporter, const wire::Proof& proof);
  // The key whose possession the token stands for. kRefused: not of this server, or too old. The server keeps nothing
  // of it, so that all who were connected when it restarts come back without a proof.
  Result<crypto::PublicKey> authenticate(Now now, ByteView token) const;

  // --- requests --- of the device `by`; anything but Signal and Follow.
  void handle_request(Now now, const IpAddress& from, const crypto::PublicKey& by, const wire::Request& request,
                      Respond respond);

  // --- streams --- The first events are sent from inside the call or soon after it. kRefused: not a member.
  void open_stream(Now now, const crypto::PublicKey& by, const wire::Follow& follow, Stream stream,
                   std::function<void(Result<StreamId>)> opened);
  // A relay alone on a host is there until its stream ends. kRefused: its key is not allowed here.
  void open_stream(Now now, const crypto::PublicKey& by, const wire::OfferRelay& offer, Stream stream,
                   std::function<void(Result<StreamId>)> opened);
  void close_stream(StreamId id);
  void handle_signal(Now now, StreamId from, const wire::Signal& signal);

  // --- relays --- The server's own changed: told to every stream.
  void set_relays(std::vector<wire::RelayInfo> relays, std::vector<Endpoint> stun);
  // Where this server is, as "HOST:PORT": told to the others, and by all of them to their streams.
  void set_addresses(std::vector<std::string> addresses) { addresses_ = std::move(addresses); }
  // How the server's own is. Members are told of their relays' health when one's changed by kHealthNews or more, and
  // at most every kHealthInterval.
  void set_own_health(const wire::RelayHealth& health) { own_health_ = health; }
  // What the operator says about a key; kIo: it could not be kept, and nothing changed.
  Result<void> allow_relay(const crypto::PublicKey& key);
  Result<void> remove_relay(const crypto::PublicKey& key);
  const RelayDirectory& relays() const { return options_.others; }

  // --- other servers --- What the bus brings. `handle_gap`: it may have lost some.
  void handle_news(Now now, std::string_view message);
  void handle_gap();

  void handle_timeout(Now now);
  Time next_timeout() const { return next_sweep_; }

  struct Stats {
    std::uint64_t streams = 0, parties_cached = 0;
    std::uint64_t requests = 0, refused = 0, limited = 0, signals = 0;
    std::uint64_t servers = 0;        // others that share the store
    std::uint64_t decided_again = 0;  // since another server changed the party first
  };
  Stats stats() const;

 private:
  struct Party {
    party::ServerParty state;
    std::uint64_t revision = 0;  // in the store, once what is pending is there
    std::size_t pending = 0;     // commits under way
  };
  using PartyPtr = std::shared_ptr<Party>;
  using Found = std::function<void(Result<PartyPtr>)>;
  using Done = std::function<void(Result<void>)>;
  // The answer to a request; with an error it has changed nothing.
  using Decision = std::function<Result<wire::Response>(party::ServerParty& party, party::Effects& effects)>;
  struct Streams {
    std::vector<StreamId> ids;  // at least one
    std::uint64_t turn = 0;     // among the parties that have streams, in the order of their first
    std::uint64_t told = 0;     // number of the last event that went to all of them
  };
  // Another server, as it is heard.
  struct Other {
    Time heard{};
    wire::Alive said;
    std::map<party::PartyId, std::set<crypto::PublicKey>> members;  // of the parties that have streams here
  };
  struct Challenge {
    crypto::PrivateKey server_key;
    crypto::PublicKey client;
    std::array<std::uint8_t, 32> nonce;
    Time expires;
  };
  struct Bucket {
    double tokens;
    Time filled;
  };
  struct OpenStream {
    crypto::PublicKey by;
    party::PartyId party;
    Stream stream;
    Time grant_renewal;
  };
  struct RelayStream {
    crypto::PublicKey key;
    Stream stream;
  };

  bool take(Now now, const std::string& key, const Rate& rate);
  // Calls `found` from inside, or when the store has given the party.
  void find(Now now, const party::PartyId& id, Found found);
  void load(Now now, const party::PartyId& id);
  void finish_load(Now now, const party::PartyId& id, Result<std::optional<store::Loaded>> loaded);
  Result<PartyPtr> restore(Now now, const party::PartyId& id, Result<std::optional<store::Loaded>> loaded);
  void read_unread(Now now);
  void decide(Now now, const party::PartyId& id, Decision decision, Respond respond, int attempt = 1);
  void commit(const party::PartyId& id, const PartyPtr& party, party::Effects effects, Done done);
  void finish_commit(const party::PartyId& id, const PartyPtr& party, std::uint64_t revision,
                     const std::vector<party::PartyEvent>& events, Result<void> result, const Done& done);
  void settle(const party::PartyId& id, const PartyPtr& party, Done done);
  void ask_store(store::Commit commit, Done done);
  void forget(const party::PartyId& id, const PartyPtr& party);
  // What the store calls when it has done something: `act` runs on the service's thread, unless the service has gone.
  template <class F>
  auto on_service(F act) {
    return [post = options_.post, alive = std::weak_ptr<int>(alive_), act = keep_context(std::move(act))](auto result) {
      post([alive, act, result = std::move(result)]() mutable {
        if (alive.lock()) act(std::move(result));
      });
    };
  }
  void publish(const party::PartyId& id, const std::vector<party::PartyEvent>& events);
  void bring_up_to_date(const party::PartyId& id, const party::ServerParty& party);
  void close_strangers(const party::PartyId& id);
  void close_streams(const party::PartyId& id, const Error& why);
  void close_stream(StreamId id, const Error& why);
  void begin_stream(Now now, const crypto::PublicKey& by, const wire::Follow& follow, const PartyPtr& party,
                    const Stream& stream, const std::function<void(Result<StreamId>)>& opened);
  void open_stream(Now now, const crypto::PublicKey& by, const wire::Follow& follow, const Stream& stream,
                   const std::function<void(Result<StreamId>)>& opened, int attempt);
  void tell(const party::PartyId& id, const wire::Event& event, const crypto::PublicKey* except = nullptr);
  std::vector<crypto::PublicKey> online(const party::PartyId& id) const;
  bool is_here(const party::PartyId& id, const crypto::PublicKey& member) const;
  bool is_elsewhere(const party::PartyId& id, const crypto::PublicKey& member) const;
  void deliver(const party::PartyId& id, const crypto::PublicKey& from, const wire::Signal& signal);
  // --- other servers ---
  void say(const party::PartyId& id, decltype(wire::News::body) body);
  void say_here(const party::PartyId& id, bool asks);
  void hear(Now now, Other& from, const wire::PartyChanged& news);
  void hear(Now now, Other& from, const wire::Here& news);
  void hear(Now now, Other& from, const wire::PresenceNews& news);
  void hear(Now now, Other& from, const wire::SignalNews& news);
  void hear(Now now, Other& from, const wire::Alive& news);
  void note_revision(Now now, const party::PartyId& id, std::uint64_t revision);
  wire::Servers named_servers() const;
  void tell_servers();
  void keep_in_touch(Now now);
  void drop_lost(Now now);
  wire::Grant grant(Now now, const party::PartyId& id, const crypto::PublicKey& peer) const;
  wire::GrantKeys grant_keys() const;
  void evict();
  void drop_idle();
  void retire(Now now);
  Result<void> keep_relays(RelayDirectory changed);
  void tell_relays();
  void close_relay_stream(const crypto::PublicKey& key, const Error& why);
  wire::Relays own_relays() const;
  wire::RelaysHealth own_relays_health() const;
  wire::Relays named_relays(const party::PartyId& id) const;
  void tell_health(Now now);

  void serve(Now now, const crypto::PublicKey& by, const wire::CreateParty& request, Respond respond);
  void serve(Now now, const crypto::PublicKey& by, const wire::Join& request, Respond respond);
  void serve(Now now, const crypto::PublicKey& by, const wire::PutRecord& request, Respond respond);
  void serve(Now now, const crypto::PublicKey& by, const wire::AddInvite& request, Respond respond);
  void serve(Now now, const crypto::PublicKey& by, const wire::ListInvites& request, Respond respond);
  void serve(Now now, const crypto::PublicKey& by, const wire::RevokeInvite& request, Respond respond);
  void serve(Now now, const crypto::PublicKey& by, const wire::PutStatements& request, Respond respond);
  void serve(Now now, const crypto::PublicKey& by, const wire::Signal& request, Respond respond);
  void serve(Now now, const crypto::PublicKey& by, const wire::Follow& request, Respond respond);
  void serve(Now now, const crypto::PublicKey& by, const wire::OfferRelay& request, Respond respond);
  void serve(Now now, const crypto::PublicKey& by, const wire::WithdrawRelay& request, Respond respond);
  void serve(Now now, const crypto::PublicKey& by, const wire::ReportRelay& request, Respond respond);

  ServiceOptions options_;
  const Bytes session_key_;  // signs tokens
  store::Store& store_;
  Rng& rng_;
  const Logger log_, audit_;
  std::shared_ptr<int> alive_ = std::make_shared<int>();  // what completions check before they touch us
  std::map<std::array<std::uint8_t, 16>, Challenge> challenges_;
  std::unordered_map<std::string, Bucket> buckets_;
  std::map<party::PartyId, PartyPtr> parties_;
  struct Loading {
    std::vector<Found> waiting;
    std::uint64_t at_least = 0;  // the revision that another server told of meanwhile
  };
  std::map<party::PartyId, Loading> loading_;
  std::set<party::PartyId> unread_;  // have streams, and what they were told of may not be what the store has
  Time unread_due_{};
  std::map<StreamId, OpenStream> streams_;
  std::map<party::PartyId, Streams> streams_of_;
  std::uint64_t last_turn_ = 0;
  wire::ServerId id_;  // of this run
  std::vector<std::string> addresses_;
  std::map<std::string, Time> known_addresses_;  // of the others: when they were heard of last
  std::map<wire::ServerId, Other> others_;
  bool asking_changed_ = false;  // the store, which parties were changed
  std::uint64_t sweeps_ = 0;
  std::map<StreamId, RelayStream> relay_streams_;  // one of a key
  std::optional<wire::RelayHealth> own_health_;
  wire::RelaysHealth told_health_;
  Time next_health_{};
  StreamId last_stream_ = 0;
  Time next_sweep_{};
  std::optional<Time> next_retirement_;  // the first is not before an hour has passed
  std::set<party::PartyId> used_;        // had a stream since the last
  Stats stats_;
};

}  // namespace lanrage::control
