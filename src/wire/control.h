// What a node and the control server say to each other: typed requests, responses and events, and their JSON.
//
// Requests travel as `POST /v1/...` over HTTPS, one JSON object each way; events as text messages of one WebSocket per
// node. The version stands in the path: members may be added to an object, and are ignored by who does not know them.
// What only members may read (records, envelopes, signals) is bytes to this protocol, as base64url.
// docs/wire/control.md has the pages; the bounds below are part of the format. Pure values and functions; any thread.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/ip.h"
#include "base/result.h"
#include "crypto/hash.h"
#include "crypto/keys.h"
#include "crypto/signature.h"

namespace lanrage::wire {

using PartyId = std::array<std::uint8_t, 16>;
using InviteToken = std::array<std::uint8_t, 32>;

inline constexpr std::size_t kNameBytesMax = 96;  // 24 characters
inline constexpr std::size_t kInviteIdBytesMax = 32;
inline constexpr std::size_t kGenesisBytesMax = 1024;
inline constexpr std::size_t kRecordBytesMax = 4096;
inline constexpr std::size_t kStatementBytesMax = 1024;
inline constexpr std::size_t kInviteEnvelopeBytesMax = 4096;
inline constexpr std::size_t kBundleBytesMax = 64 + 64 * 1000;
inline constexpr std::size_t kSignalBytesMax = 8 * 1024;
inline constexpr std::size_t kGrantBytesMax = 512;
inline constexpr std::size_t kStatementsMax = 1024;  // in one message
inline constexpr std::size_t kMembersMax = 4096;
inline constexpr std::size_t kInvitesMax = 64;
inline constexpr std::size_t kRelaysMax = 64;
inline constexpr std::size_t kRelayAddressesMax = 8;
inline constexpr std::size_t kDropReasonsMax = 32;
inline constexpr std::size_t kRegionBytesMax = 32;
inline constexpr std::size_t kGrantKeysMax = 16;
inline constexpr std::size_t kServersMax = 8;
inline constexpr std::size_t kServerAddressBytesMax = 260;  // a DNS name, and a port
inline constexpr std::size_t kRequestBytesMax = 64 * 1024;  // a body; but for those that carry envelopes:
inline constexpr std::size_t kLargeRequestBytesMax = 512 * 1024;
inline constexpr std::size_t kEventBytesMax = 4 * 1024 * 1024;

// --- Session -------------------------------------------------------------------------------------------------------

// Proves a device key on one TLS connection: Hello, then Proof with
//   HMAC-SHA256(HKDF-SHA256(secret: X25519(device, server_key), salt: TLS exporter, info: "lanrage session v1", 32),
//               nonce || client key || server_key).
// The server key lives for this challenge only; the exporter binds the proof to this very TLS session.
struct Hello {
  crypto::PublicKey key;
  friend bool operator==(const Hello&, const Hello&) = default;
};
struct Challenge {
  std::array<std::uint8_t, 16> id{};
  crypto::PublicKey server_key;
  std::array<std::uint8_t, 32> nonce{};
  friend bool operator==(const Challenge&, const Challenge&) = default;
};
struct Proof {
  std::array<std::uint8_t, 16> challenge{};
  std::array<std::uint8_t, 32> mac{};
  friend bool operator==(const Proof&, const Proof&) = default;
};
inline constexpr std::size_t kSessionTokenMax = 256;
struct Session {
  Bytes token;                         // the server's alone to read
  std::int64_t expires = 0;            // unix seconds, by the server's clock
  std::int64_t now = 0;                // the server's clock
  std::vector<std::string> servers{};  // as the event Servers has them; empty: there is one
  friend bool operator==(const Session&, const Session&) = default;
};

// --- Requests ------------------------------------------------------------------------------------------------------

// The sender is always the key of its session. Every request may be sent again: the second has the first one's answer.

struct CreateParty {
  Bytes genesis;
  std::string name;  // the owner's, as a member
  friend bool operator==(const CreateParty&, const CreateParty&) = default;
};
struct Join {
  PartyId party{};
  InviteToken token{};
  std::string name;
  friend bool operator==(const Join&, const Join&) = default;
};
// A farewell record too: that is how a member leaves.
struct PutRecord {
  PartyId party{};
  Bytes record;
  friend bool operator==(const PutRecord&, const PutRecord&) = default;
};
struct AddInvite {
  PartyId party{};
  crypto::Hash token_hash{};  // SHA-256 of the token; its first 6 bytes in hex are the invite's id
  Bytes envelope;
  std::uint32_t uses = 1;       // 1 to 10000
  std::int64_t lifetime_s = 0;  // 1 second to a year, from the server's now
  friend bool operator==(const AddInvite&, const AddInvite&) = default;
};
struct ListInvites {
  PartyId party{};
  friend bool operator==(const ListInvites&, const ListInvites&) = default;
};
struct RevokeInvite {
  PartyId party{};
  std::string id;
  friend bool operator==(const RevokeInvite&, const RevokeInvite&) = default;
};
// Statements in order, each following what the server holds, with what the last epoch among them brings: its bundle, in
// which its secret is sealed to every remaining member, and the live invites sealed again. An invite that is not among
// `invites` when an epoch begins is dropped: it would let people into the past. `seen` is the version of the party that
// the owner had seen: nobody may have joined since.
struct InviteEnvelope {
  std::string id;
  Bytes envelope;
  friend bool operator==(const InviteEnvelope&, const InviteEnvelope&) = default;
};
struct PutStatements {
  PartyId party{};
  std::vector<Bytes> statements;
  Bytes bundle;  // empty: no epoch begins
  std::vector<InviteEnvelope> invites;
  std::uint64_t seen = 0;
  friend bool operator==(const PutStatements&, const PutStatements&) = default;
};
// To a member that is online; travels over the event stream and is not answered. Not online: dropped.
struct Signal {
  PartyId party{};
  crypto::PublicKey to;
  Bytes sealed;
  friend bool operator==(const Signal&, const Signal&) = default;
};
// Asks for the party's events after `from` (0: all of it as a snapshot) from here on; replaces an earlier Follow. The
// client keeps the stream and resumes it by itself; answered by Done as soon as the first stream is open.
struct Follow {
  PartyId party{};
  std::uint64_t from = 0;
  friend bool operator==(const Follow&, const Follow&) = default;
};

// SHA-256 of a TLS server's SubjectPublicKeyInfo, as in a server's link.
using StreamPin = std::array<std::uint8_t, 32>;

// A relay alone on a host offers to serve the server's members; the key of its session is its identity. The stream that
// it asks for says that it is there, and brings it GrantKeys. Kept and resumed as Follow is; replaces an earlier one.
struct OfferRelay {
  std::string region;                    // letters, digits and '-', or empty
  std::vector<Endpoint> addresses;       // UDP, 1 to kRelayAddressesMax
  std::optional<StreamPin> stream = {};  // as RelayInfo has it
  friend bool operator==(const OfferRelay&, const OfferRelay&) = default;
};
// It stops: members are told to use others, now.
struct WithdrawRelay {
  friend bool operator==(const WithdrawRelay&, const WithdrawRelay&) = default;
};
// How it is; what members hear of that is RelayHealth. The amounts are since it started.
struct ReportRelay {
  struct Drops {
    std::string reason;
    std::uint64_t packets = 0;
    friend bool operator==(const Drops&, const Drops&) = default;
  };
  std::uint8_t health = 0, load = 0;  // as RelayHealth has them
  std::uint8_t cpu = 0, memory = 0;   // of its machine that are in use, percent
  std::uint64_t memory_bytes = 0;     // its own
  std::uint64_t sessions = 0, parties = 0;
  std::uint64_t packets_in = 0, bytes_in = 0, packets_out = 0, bytes_out = 0;
  std::uint64_t packets_kernel = 0;  // of packets_out, that its kernel passed on
  std::vector<Drops> dropped;        // at most kDropReasonsMax, none with 0
  friend bool operator==(const ReportRelay&, const ReportRelay&) = default;
};

using Request = std::variant<CreateParty, Join, PutRecord, AddInvite, ListInvites, RevokeInvite, PutStatements, Signal,
                             Follow, OfferRelay, WithdrawRelay, ReportRelay>;

// --- Responses -----------------------------------------------------------------------------------------------------

struct Done {
  friend bool operator==(const Done&, const Done&) = default;
};
// To Join: what the server allotted. The rest is in the snapshot that Follow brings.
struct Admission {
  IpAddress address;
  Bytes envelope;  // the invite's
  friend bool operator==(const Admission&, const Admission&) = default;
};
struct InviteInfo {
  std::string id;
  std::int64_t expires = 0;  // unix seconds
  std::uint32_t uses_left = 0;
  friend bool operator==(const InviteInfo&, const InviteInfo&) = default;
};
struct InviteList {
  std::vector<InviteInfo> invites;
  friend bool operator==(const InviteList&, const InviteList&) = default;
};

using Response = std::variant<Done, Admission, InviteInfo, InviteList>;

// --- Events --------------------------------------------------------------------------------------------------------

// A stream starts with a Snapshot, or with the numbered events after `from` if the server still has them; then Online,
// Relays, GrantKeys and Grant. From then on each numbered event is exactly one above the last. An event that makes a
// member's roster complete is never only announced: it carries the data.

// The party's state at `version`. Without the members who joined and gave no record yet: nobody else can verify them.
struct Snapshot {
  PartyId party{};
  std::uint64_t version = 0;
  Bytes genesis;
  std::vector<Bytes> statements;
  Bytes bundle;                // of the current epoch; empty in the first
  std::vector<Bytes> records;  // of all who were ever in it: the last of those who left is their farewell
  friend bool operator==(const Snapshot&, const Snapshot&) = default;
};
struct RecordChanged {  // numbered
  std::uint64_t version = 0;
  Bytes record;
  friend bool operator==(const RecordChanged&, const RecordChanged&) = default;
};
struct StatementAdded {  // numbered
  std::uint64_t version = 0;
  Bytes statement;
  Bytes bundle;  // where it begins the current epoch; else empty
  friend bool operator==(const StatementAdded&, const StatementAdded&) = default;
};
struct InviteChanged {  // numbered; added, used, revoked or expired (uses_left 0)
  std::uint64_t version = 0;
  InviteInfo invite;
  friend bool operator==(const InviteChanged&, const InviteChanged&) = default;
};
struct Online {  // all who are connected to the server at this moment, the reader included
  std::vector<crypto::PublicKey> members;
  friend bool operator==(const Online&, const Online&) = default;
};
struct Presence {
  crypto::PublicKey member;
  bool online = false;
  friend bool operator==(const Presence&, const Presence&) = default;
};
struct Signalled {
  crypto::PublicKey from;  // as proven to the server; the seal proves it to the reader
  Bytes sealed;
  friend bool operator==(const Signalled&, const Signalled&) = default;
};
struct RelayInfo {
  crypto::PublicKey key;  // its identity: what registrations are MACed under
  std::string region;
  std::vector<Endpoint> addresses;       // UDP
  std::optional<StreamPin> stream = {};  // it takes streams (wire/relay_stream.h) at their TCP ports, too, and at 443
  friend bool operator==(const RelayInfo&, const RelayInfo&) = default;
};
struct Relays {
  std::vector<RelayInfo> relays;
  std::vector<Endpoint> stun;  // where to ask how one looks from outside, UDP
  std::uint64_t turn = 0;      // of the party: the server counts those that are connected; 0: it does not say
  friend bool operator==(const Relays&, const Relays&) = default;
};
// How relays are, each as it said itself a few seconds ago. Of one that is not named here nothing is known.
struct RelayHealth {
  crypto::PublicKey key;
  std::uint8_t health = 0;  // 0 to 100: how well it would serve one more; 0 is no use
  std::uint8_t load = 0;    // 0 to 100: how much of what it can do it does, the fuller of its thread and its sessions
  friend bool operator==(const RelayHealth&, const RelayHealth&) = default;
};
struct RelaysHealth {  // all of them: what an earlier one said is over
  std::vector<RelayHealth> relays;
  friend bool operator==(const RelaysHealth&, const RelaysHealth&) = default;
};
struct Grant {  // the reader's right to use the relays; a new one comes before it expires
  Bytes grant;
  std::int64_t expires = 0;  // unix seconds
  friend bool operator==(const Grant&, const Grant&) = default;
};

// Where the server and those that share its parties are, as "HOST:PORT"; all have the key that the reader's link names.
struct Servers {
  std::vector<std::string> addresses;
  friend bool operator==(const Servers&, const Servers&) = default;
};

struct GrantKeys {  // to a relay, and to members, who may relay for their party: whose grants count from here on
  std::vector<crypto::VerifyKey> keys;
  friend bool operator==(const GrantKeys&, const GrantKeys&) = default;
};

using Event = std::variant<Snapshot, RecordChanged, StatementAdded, InviteChanged, Online, Presence, Signalled, Relays,
                           Grant, GrantKeys, RelaysHealth, Servers>;

// The number of a numbered event or snapshot.
std::optional<std::uint64_t> event_version(const Event& event);

// --- JSON ----------------------------------------------------------------------------------------------------------

// GET, for load balancers and monitors, without a session: {"live": true, "ready": bool, "why": text or null}, 200 or
// 503.
inline constexpr std::string_view kHealthPath = "/health";
inline constexpr std::string_view kHelloPath = "/v1/session";
inline constexpr std::string_view kProofPath = "/v1/session/proof";
inline constexpr std::string_view kEventsPath = "/v1/events";  // ?party=HEX&from=N, a WebSocket
inline constexpr std::string_view kRelayPath = "/v1/relay";    // ?region=R&addresses=A:P,A:P&stream=PIN, a WebSocket
inline constexpr std::string_view kCorrelationHeader = "X-Correlation-Id";

// Where a request is posted to; empty for Signal, Follow and OfferRelay, which belong to a stream.
std::string_view request_path(const Request& request);
// The most bytes that a body posted to `path` may have.
std::size_t request_bytes_max(std::string_view path);
std::string follow_target(const Follow& follow);                             // kEventsPath with its query
Result<Follow> parse_follow(std::string_view party, std::string_view from);  // the query's two values
std::string offer_target(const OfferRelay& offer);                           // kRelayPath with its query
Result<OfferRelay> parse_offer(std::string_view region, std::string_view addresses, std::string_view stream);
bool is_region(std::string_view text);  // as OfferRelay has it

std::string encode(const Hello& hello);
std::string encode(const Challenge& challenge);
std::string encode(const Proof& proof);
std::string encode(const Session& session);
Result<Hello> decode_hello(std::string_view text);
Result<Challenge> decode_challenge(std::string_view text);
Result<Proof> decode_proof(std::string_view text);
Result<Session> decode_session(std::string_view text);

std::string encode(const Request& request);
Result<Request> decode_request(std::string_view path, std::string_view text);  // kNotFound: no such path
std::string encode_signal(const Signal& signal);                               // a message from client to server
Result<Signal> decode_signal(std::string_view text);
std::string encode(const Response& response);
Result<Response> decode_response(const Request& request, std::string_view text);
std::string encode(const Event& event);
// Nullopt for an event type this version does not know.
Result<std::optional<Event>> decode_event(std::string_view text);

// {"error":{"code","message","hint"}} as every failed request is answered, by the server and by the local API.
std::string encode(const Error& error);
// Of an answer that is not 2xx: what its body says, else by its status.
Error decode_error(int status, std::string_view text);

std::string to_text(const PartyId& party);  // lower hex
std::optional<PartyId> parse_party_id(std::string_view text);

}  // namespace lanrage::wire
