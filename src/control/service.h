// What a control server decides, without its sockets: sessions, parties, event streams, signalling, grants.
//
// Requests, proofs and streams go in as values with the time; responses and events come out by callback. A response is
// given, and its events are sent, only after the store has the change on disk. Runs in the server on its service thread
// and in the simulator. Owned by one thread; `post` (an option) brings the store's completions onto it.
//
// It opens no seal and does not know who may join better than an invite's hash: what members may believe of it is
// checked by them (party/roster.h).
#pragma once

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
#include "control/relay_directory.h"
#include "crypto/hash.h"
#include "crypto/signature.h"
#include "party/server_party.h"
#include "store/store.h"
#include "wire/control.h"

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
};

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
  // How the server's own is. Members are told of their relays' health when one's changed by kHealthNews or more, and
  // at most every kHealthInterval.
  void set_own_health(const wire::RelayHealth& health) { own_health_ = health; }
  // What the operator says about a key; kIo: it could not be kept, and nothing changed.
  Result<void> allow_relay(const crypto::PublicKey& key);
  Result<void> remove_relay(const crypto::PublicKey& key);
  const RelayDirectory& relays() const { return options_.others; }

  void handle_timeout(Now now);
  Time next_timeout() const { return next_sweep_; }

  struct Stats {
    std::uint64_t streams = 0, parties_cached = 0;
    std::uint64_t requests = 0, refused = 0, limited = 0, signals = 0;
  };
  Stats stats() const;

 private:
  struct Party {
    party::ServerParty state;
    std::size_t pending = 0;  // commits under way
    bool dead = false;        // a commit failed: what is in memory never happened
  };
  using PartyPtr = std::shared_ptr<Party>;
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
  Result<PartyPtr> find(Now now, const party::PartyId& id);
  Result<PartyPtr> find(Now now, const wire::PartyId& id) { return find(now, party::PartyId(id)); }
  void commit(const party::PartyId& id, const PartyPtr& party, party::Effects effects,
              std::function<void(Result<void>)> done);
  void settled(const party::PartyId& id, const PartyPtr& party, std::function<void(Result<void>)> done);
  void publish(const party::PartyId& id, const std::vector<party::PartyEvent>& events);
  void close_streams(const party::PartyId& id, const Error& why);
  void begin_stream(Now now, const crypto::PublicKey& by, const wire::Follow& follow, const PartyPtr& party,
                    Stream stream, std::function<void(Result<StreamId>)> opened);
  void tell(const party::PartyId& id, const wire::Event& event, const crypto::PublicKey* except = nullptr);
  std::vector<crypto::PublicKey> online(const party::PartyId& id) const;
  wire::Grant grant(Now now, const party::PartyId& id, const crypto::PublicKey& peer) const;
  wire::GrantKeys grant_keys() const;
  void evict();
  void drop_idle();
  void retire(Now now);
  Result<void> keep_relays(RelayDirectory changed);
  void tell_relays();
  void close_relay_stream(const crypto::PublicKey& key, const Error& why);
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
  const Logger log_;
  std::shared_ptr<int> alive_ = std::make_shared<int>();  // what completions check before they touch us
  std::map<std::array<std::uint8_t, 16>, Challenge> challenges_;
  std::unordered_map<std::string, Bucket> buckets_;
  std::map<party::PartyId, PartyPtr> parties_;
  std::set<party::PartyId> unsure_;  // the store did not say whether a change happened, and was not asked since
  Time unsure_due_{};
  std::map<StreamId, OpenStream> streams_;
  std::map<party::PartyId, std::vector<StreamId>> streams_of_;
  std::map<party::PartyId, std::uint64_t> turns_;  // of the parties that have streams, in the order of their first
  std::uint64_t last_turn_ = 0;
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
