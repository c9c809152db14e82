#include "wire/control.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include "base/format.h"
#include "wire/json.h"

namespace lanrage::wire {
namespace {

constexpr std::uint32_t kUsesMax = 10000;
constexpr std::int64_t kLifetimeMax = 366 * 24 * 3600;
constexpr std::int64_t kTimeMax = 253402300799;  // 9999-12-31
constexpr std::size_t kMessageBytesMax = 1024;   // of an error, each text
constexpr std::uint64_t kVersionMax = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());

constexpr std::string_view kCreatePartyPath = "/v1/party/create";
constexpr std::string_view kJoinPath = "/v1/party/join";
constexpr std::string_view kPutRecordPath = "/v1/party/record";
constexpr std::string_view kPutStatementsPath = "/v1/party/statements";
constexpr std::string_view kAddInvitePath = "/v1/invite/add";
constexpr std::string_view kListInvitesPath = "/v1/invite/list";
constexpr std::string_view kRevokeInvitePath = "/v1/invite/revoke";
constexpr std::string_view kWithdrawRelayPath = "/v1/relay/withdraw";
constexpr std::string_view kReportRelayPath = "/v1/relay/report";
constexpr std::int64_t kPercentMax = 100;
constexpr std::size_t kReasonBytesMax = 32;

Json text_of(ByteView bytes) { return to_base64url(bytes); }
Json text_of(const crypto::PublicKey& key) { return to_base64url(key.bytes()); }
Json list_of(const std::vector<Bytes>& items) {
  return Json::list(items, [](const Bytes& item) { return text_of(item); });
}

crypto::PublicKey read_key(JsonReader& reader, std::string_view field) {
  return crypto::PublicKey(reader.array<crypto::kKeySize>(field));
}

PartyId read_party(JsonReader& reader) {
  const auto id = parse_party_id(reader.string("party", 32, 32));
  if (!id) reader.fail("party", "32 lower-case hexadecimal digits");
  return id.value_or(PartyId{});
}

std::uint8_t read_percent(JsonReader& reader, std::string_view field) {
  return static_cast<std::uint8_t>(reader.integer(field, 0, kPercentMax));
}

std::vector<Bytes> read_list(JsonReader& reader, std::string_view field, std::size_t count_max, std::size_t bytes_max) {
  std::vector<Bytes> out;
  for (const Json& item : reader.items(field, count_max)) {
    if (!reader.ok()) break;
    out.push_back(reader.item_bytes(item, field, bytes_max));
  }
  return out;
}

// Reads each item of an array as an object of its own; the first one that is wrong fails the whole.
template <class T, class F>
std::vector<T> read_objects(JsonReader& reader, std::string_view field, std::size_t count_max, F&& read) {
  std::vector<T> out;
  for (const Json& item : reader.items(field, count_max)) {
    JsonReader fields(item);
    T value = read(fields);
    if (!fields.ok()) {
      reader.fail(field, format("right in every item: {}", fields.result().error().message));
      break;
    }
    out.push_back(std::move(value));
  }
  return out;
}

// Decodes one object with `read`, which reports through the reader.
template <class T, class F>
Result<T> decode(std::string_view text, std::size_t bytes_max, F&& read) {
  LR_ASSIGN(const Json json, Json::parse(text, {.text_bytes_max = bytes_max, .depth_max = 8}));
  JsonReader reader(json);
  T value = read(reader);
  LR_TRY(reader.result());
  return value;
}

Json invite_json(const InviteInfo& invite) {
  return Json::object({{"id", invite.id}, {"expires", invite.expires}, {"uses_left", invite.uses_left}});
}

InviteInfo read_invite(JsonReader& reader) {
  InviteInfo invite;
  invite.id = reader.string("id", kInviteIdBytesMax, 1);
  invite.expires = reader.integer("expires", 0, kTimeMax);
  invite.uses_left = static_cast<std::uint32_t>(reader.integer("uses_left", 0, kUsesMax));
  return invite;
}

// --- Requests

Json to_json(const CreateParty& r) { return Json::object({{"genesis", text_of(r.genesis)}, {"name", r.name}}); }
Json to_json(const Join& r) {
  return Json::object({{"party", to_text(r.party)}, {"token", text_of(r.token)}, {"name", r.name}});
}
Json to_json(const PutRecord& r) { return Json::object({{"party", to_text(r.party)}, {"record", text_of(r.record)}}); }
Json to_json(const AddInvite& r) {
  return Json::object({{"party", to_text(r.party)},
                       {"token_hash", text_of(r.token_hash)},
                       {"envelope", text_of(r.envelope)},
                       {"uses", r.uses},
                       {"lifetime_s", r.lifetime_s}});
}
Json to_json(const ListInvites& r) { return Json::object({{"party", to_text(r.party)}}); }
Json to_json(const RevokeInvite& r) { return Json::object({{"party", to_text(r.party)}, {"id", r.id}}); }
Json to_json(const PutStatements& r) {
  return Json::object({{"party", to_text(r.party)},
                       {"statements", list_of(r.statements)},
                       {"bundle", text_of(r.bundle)},
                       {"seen", r.seen},
                       {"invites", Json::list(r.invites, [](const InviteEnvelope& invite) {
                          return Json::object({{"id", invite.id}, {"envelope", text_of(invite.envelope)}});
                        })}});
}
Json to_json(const Signal& r) {
  return Json::object(
      {{"type", "signal"}, {"party", to_text(r.party)}, {"to", text_of(r.to)}, {"sealed", text_of(r.sealed)}});
}
Json to_json(const Follow& r) { return Json::object({{"party", to_text(r.party)}, {"from", r.from}}); }
Json pin_json(const std::optional<StreamPin>& pin) { return pin ? text_of(*pin) : Json(); }
Json to_json(const OfferRelay& r) {
  return Json::object({{"region", r.region},
                       {"addresses", Json::list(r.addresses, [](const Endpoint& e) { return Json(e.text()); })},
                       {"stream", pin_json(r.stream)}});
}
Json to_json(const WithdrawRelay&) { return Json::object(); }
Json to_json(const ReportRelay& r) {
  return Json::object({{"health", r.health},
                       {"load", r.load},
                       {"cpu", r.cpu},
                       {"memory", r.memory},
                       {"memory_bytes", r.memory_bytes},
                       {"sessions", r.sessions},
                       {"parties", r.parties},
                       {"packets_in", r.packets_in},
                       {"bytes_in", r.bytes_in},
                       {"packets_out", r.packets_out},
                       {"bytes_out", r.bytes_out},
                       {"packets_kernel", r.packets_kernel},
                       {"dropped", Json::list(r.dropped, [](const ReportRelay::Drops& drops) {
                          return Json::object({{"reason", drops.reason}, {"packets", drops.packets}});
                        })}});
}

CreateParty read_create_party(JsonReader& reader) {
  CreateParty r;
  r.genesis = reader.bytes("genesis", kGenesisBytesMax, 1);
  r.name = reader.string("name", kNameBytesMax, 1);
  return r;
}
Join read_join(JsonReader& reader) {
  Join r;
  r.party = read_party(reader);
  r.token = reader.array<32>("token");
  r.name = reader.string("name", kNameBytesMax, 1);
  return r;
}
PutRecord read_put_record(JsonReader& reader) {
  PutRecord r;
  r.party = read_party(reader);
  r.record = reader.bytes("record", kRecordBytesMax, 1);
  return r;
}
AddInvite read_add_invite(JsonReader& reader) {
  AddInvite r;
  r.party = read_party(reader);
  r.token_hash = reader.array<crypto::kHashSize>("token_hash");
  r.envelope = reader.bytes("envelope", kInviteEnvelopeBytesMax, 1);
  r.uses = static_cast<std::uint32_t>(reader.integer("uses", 1, kUsesMax));
  r.lifetime_s = reader.integer("lifetime_s", 1, kLifetimeMax);
  return r;
}
RevokeInvite read_revoke_invite(JsonReader& reader) {
  RevokeInvite r;
  r.party = read_party(reader);
  r.id = reader.string("id", kInviteIdBytesMax, 1);
  return r;
}
PutStatements read_put_statements(JsonReader& reader) {
  PutStatements r;
  r.party = read_party(reader);
  r.statements = read_list(reader, "statements", kStatementsMax, kStatementBytesMax);
  r.bundle = reader.bytes("bundle", kBundleBytesMax);
  r.seen = reader.counter("seen");
  r.invites = read_objects<InviteEnvelope>(reader, "invites", kInvitesMax, [](JsonReader& item) {
    InviteEnvelope invite;
    invite.id = item.string("id", kInviteIdBytesMax, 1);
    invite.envelope = item.bytes("envelope", kInviteEnvelopeBytesMax, 1);
    return invite;
  });
  return r;
}

ReportRelay read_report_relay(JsonReader& reader) {
  ReportRelay r;
  r.health = read_percent(reader, "health");
  r.load = read_percent(reader, "load");
  r.cpu = read_percent(reader, "cpu");
  r.memory = read_percent(reader, "memory");
  r.memory_bytes = reader.counter("memory_bytes");
  r.sessions = reader.counter("sessions");
  r.parties = reader.counter("parties");
  r.packets_in = reader.counter("packets_in");
  r.bytes_in = reader.counter("bytes_in");
  r.packets_out = reader.counter("packets_out");
  r.bytes_out = reader.counter("bytes_out");
  r.packets_kernel = reader.counter("packets_kernel");
  r.dropped = read_objects<ReportRelay::Drops>(reader, "dropped", kDropReasonsMax, [](JsonReader& item) {
    ReportRelay::Drops drops{item.string("reason", kReasonBytesMax, 1), item.counter("packets")};
    if (!std::all_of(drops.reason.begin(), drops.reason.end(),
                     [](char c) { return (c >= 'a' && c <= 'z') || c == '_'; }))
      item.fail("reason", "small letters and _");
    return drops;
  });
  return r;
}

// --- Responses

Json to_json(const Done&) { return Json::object(); }
Json to_json(const Admission& r) {
  return Json::object({{"address", r.address.text()}, {"envelope", text_of(r.envelope)}});
}
Json to_json(const InviteInfo& r) { return invite_json(r); }
Json to_json(const InviteList& r) { return Json::object({{"invites", Json::list(r.invites, invite_json)}}); }

Admission read_admission(JsonReader& reader) {
  Admission r;
  if (const auto address = IpAddress::parse(reader.string("address", 64, 1))) {
    r.address = *address;
  } else {
    reader.fail("address", "an IP address");
  }
  r.envelope = reader.bytes("envelope", kInviteEnvelopeBytesMax);
  return r;
}

Endpoint read_endpoint(JsonReader& reader, const Json& item, std::string_view field) {
  const std::string* text = item.if_string();
  const auto endpoint = text ? Endpoint::parse(*text) : std::nullopt;
  if (!endpoint) reader.fail(field, "addresses with ports");
  return endpoint.value_or(Endpoint{});
}

// --- Events

Json to_json(const Snapshot& e) {
  return Json::object({{"type", "snapshot"},
                       {"party", to_text(e.party)},
                       {"version", e.version},
                       {"genesis", text_of(e.genesis)},
                       {"statements", list_of(e.statements)},
                       {"bundle", text_of(e.bundle)},
                       {"records", list_of(e.records)}});
}
Json to_json(const RecordChanged& e) {
  return Json::object({{"type", "record"}, {"version", e.version}, {"record", text_of(e.record)}});
}
Json to_json(const StatementAdded& e) {
  return Json::object({{"type", "statement"},
                       {"version", e.version},
                       {"statement", text_of(e.statement)},
                       {"bundle", text_of(e.bundle)}});
}
Json to_json(const InviteChanged& e) {
  return Json::object({{"type", "invite"}, {"version", e.version}, {"invite", invite_json(e.invite)}});
}
Json to_json(const Online& e) {
  return Json::object(
      {{"type", "online"}, {"members", Json::list(e.members, [](const crypto::PublicKey& k) { return text_of(k); })}});
}
Json to_json(const Presence& e) {
  return Json::object({{"type", "presence"}, {"member", text_of(e.member)}, {"online", e.online}});
}
Json to_json(const Signalled& e) {
  return Json::object({{"type", "signal"}, {"from", text_of(e.from)}, {"sealed", text_of(e.sealed)}});
}
Json to_json(const Relays& e) {
  const auto text = [](const Endpoint& endpoint) { return endpoint.text(); };
  return Json::object({{"type", "relays"},
                       {"relays", Json::list(e.relays,
                                             [&](const RelayInfo& relay) {
                                               return Json::object({{"key", text_of(relay.key)},
                                                                    {"region", relay.region},
                                                                    {"addresses", Json::list(relay.addresses, text)},
                                                                    {"stream", pin_json(relay.stream)}});
                                             })},
                       {"stun", Json::list(e.stun, text)},
                       {"turn", e.turn}});
}
Json addresses_json(const std::vector<std::string>& addresses) {
  return Json::list(addresses, [](const std::string& address) { return Json(address); });
}
Json to_json(const Servers& e) {
  return Json::object({{"type", "servers"}, {"addresses", addresses_json(e.addresses)}});
}
Json to_json(const RelaysHealth& e) {
  return Json::object(
      {{"type", "relay_health"},
       {"relays", Json::list(e.relays, [](const RelayHealth& relay) {
          return Json::object({{"key", text_of(relay.key)}, {"health", relay.health}, {"load", relay.load}});
        })}});
}
Json to_json(const Grant& e) {
  return Json::object({{"type", "grant"}, {"grant", text_of(e.grant)}, {"expires", e.expires}});
}
Json to_json(const GrantKeys& e) {
  return Json::object({{"type", "grant_keys"}, {"keys", Json::list(e.keys, [](const crypto::VerifyKey& key) {
                                                  return Json(to_base64url(key.bytes()));
                                                })}});
}

Snapshot read_snapshot(JsonReader& reader) {
  Snapshot e;
  e.party = read_party(reader);
  e.version = reader.counter("version");
  e.genesis = reader.bytes("genesis", kGenesisBytesMax, 1);
  e.statements = read_list(reader, "statements", kStatementsMax, kStatementBytesMax);
  e.bundle = reader.bytes("bundle", kBundleBytesMax);
  e.records = read_list(reader, "records", kMembersMax, kRecordBytesMax);
  return e;
}

StatementAdded read_statement(JsonReader& reader) {
  StatementAdded e;
  e.version = reader.counter("version");
  e.statement = reader.bytes("statement", kStatementBytesMax, 1);
  e.bundle = reader.bytes("bundle", kBundleBytesMax);
  return e;
}

InviteChanged read_invite_changed(JsonReader& reader, const Json& json) {
  InviteChanged e;
  e.version = reader.counter("version");
  const Json* invite = json.find("invite");
  JsonReader fields(invite ? *invite : json);
  e.invite = read_invite(fields);
  if (!invite || !fields.ok()) reader.fail("invite", "an invite");
  return e;
}

Online read_online(JsonReader& reader) {
  Online e;
  for (const Bytes& bytes : read_list(reader, "members", kMembersMax, crypto::kKeySize)) {
    const auto key = crypto::PublicKey::from_bytes(bytes);
    if (!key) {
      reader.fail("members", "keys of 32 bytes");
      break;
    }
    e.members.push_back(*key);
  }
  return e;
}

Relays read_relays(JsonReader& reader) {
  Relays e;
  e.relays = read_objects<RelayInfo>(reader, "relays", kRelaysMax, [](JsonReader& item) {
    RelayInfo relay;
    relay.key = read_key(item, "key");
    relay.region = item.string("region", kNameBytesMax);
    for (const Json& address : item.items("addresses", kRelayAddressesMax)) {
      relay.addresses.push_back(read_endpoint(item, address, "addresses"));
    }
    if (item.has("stream")) relay.stream = item.array<std::tuple_size_v<StreamPin>>("stream");
    return relay;
  });
  for (const Json& address : reader.items("stun", kRelayAddressesMax)) {
    e.stun.push_back(read_endpoint(reader, address, "stun"));
  }
  if (reader.has("turn")) e.turn = reader.counter("turn");
  return e;
}

RelaysHealth read_relays_health(JsonReader& reader) {
  return {read_objects<RelayHealth>(reader, "relays", kRelaysMax, [](JsonReader& item) {
    return RelayHealth{read_key(item, "key"), read_percent(item, "health"), read_percent(item, "load")};
  })};
}

std::vector<std::string> read_addresses(JsonReader& reader, std::string_view key) {
  std::vector<std::string> addresses;
  for (const Json& item : reader.items(key, kServersMax)) {
    const std::string* address = item.if_string();
    if (address == nullptr || address->empty() || address->size() > kServerAddressBytesMax) {
      reader.fail(key, "HOST:PORT texts");
      break;
    }
    addresses.push_back(*address);
  }
  return addresses;
}

GrantKeys read_grant_keys(JsonReader& reader) {
  GrantKeys e;
  for (const Bytes& bytes : read_list(reader, "keys", kGrantKeysMax, crypto::kKeySize)) {
    const auto key = crypto::VerifyKey::from_bytes(bytes);
    if (!key) {
      reader.fail("keys", "keys of 32 bytes");
      break;
    }
    e.keys.push_back(*key);
  }
  return e;
}

std::optional<Event> read_event(const std::string& type, JsonReader& reader, const Json& json) {
  if (type == "snapshot") return read_snapshot(reader);
  if (type == "record") {
    RecordChanged e;
    e.version = reader.counter("version");
    e.record = reader.bytes("record", kRecordBytesMax, 1);
    return e;
  }
  if (type == "statement") return read_statement(reader);
  if (type == "invite") return read_invite_changed(reader, json);
  if (type == "online") return read_online(reader);
  if (type == "presence") {
    Presence e;
    e.member = read_key(reader, "member");
    e.online = reader.flag("online");
    return e;
  }
  if (type == "signal") {
    Signalled e;
    e.from = read_key(reader, "from");
    e.sealed = reader.bytes("sealed", kSignalBytesMax, 1);
    return e;
  }
  if (type == "relays") return read_relays(reader);
  if (type == "relay_health") return read_relays_health(reader);
  if (type == "grant") {
    Grant e;
    e.grant = reader.bytes("grant", kGrantBytesMax, 1);
    e.expires = reader.integer("expires", 0, kTimeMax);
    return e;
  }
  if (type == "grant_keys") return read_grant_keys(reader);
  if (type == "servers") return Servers{read_addresses(reader, "addresses")};
  return std::nullopt;
}

Code code_of_name(std::string_view name) {
  for (int i = 0; i <= static_cast<int>(Code::kIo); ++i)
    if (name == code_name(static_cast<Code>(i))) return static_cast<Code>(i);
  return Code::kFailed;
}

Code code_of_status(int status) {
  switch (status) {
    case 400:
    case 413:
    case 431:
      return Code::kInvalid;
    case 401:
    case 403:
      return Code::kRefused;
    case 408:
    case 504:
      return Code::kTimedOut;
    case 502:
    case 503:
      return Code::kUnavailable;
    default:
      break;
  }
  for (const Code code : {Code::kNotFound, Code::kConflict, Code::kExpired, Code::kExhausted})
    if (http_status(code) == status) return code;
  return Code::kFailed;
}

}  // namespace

std::string to_text(const PartyId& party) { return to_hex(party); }

std::optional<PartyId> parse_party_id(std::string_view text) {
  const auto bytes = from_hex(text);
  if (!bytes || bytes->size() != sizeof(PartyId) || to_hex(*bytes) != text) return std::nullopt;
  PartyId id;
  std::copy(bytes->begin(), bytes->end(), id.begin());
  return id;
}

std::optional<std::uint64_t> event_version(const Event& event) {
  return std::visit(
      [](const auto& e) -> std::optional<std::uint64_t> {
        if constexpr (requires { e.version; }) return e.version;
        return std::nullopt;
      },
      event);
}

std::string_view request_path(const Request& request) {
  static constexpr std::string_view kPaths[] = {
      kCreatePartyPath,
      kJoinPath,
      kPutRecordPath,
      kAddInvitePath,
      kListInvitesPath,
      kRevokeInvitePath,
      kPutStatementsPath,
      {},
      {},
      {},
      kWithdrawRelayPath,
      kReportRelayPath,
  };
  static_assert(std::size(kPaths) == std::variant_size_v<Request>);
  return kPaths[request.index()];
}

std::size_t request_bytes_max(std::string_view path) {
  return path == kAddInvitePath || path == kPutStatementsPath ? kLargeRequestBytesMax : kRequestBytesMax;
}

std::string follow_target(const Follow& follow) {
  return format("{}?party={}&from={}", kEventsPath, to_text(follow.party), follow.from);
}

Result<Follow> parse_follow(std::string_view party, std::string_view from) {
  Follow follow;
  const auto id = parse_party_id(party);
  const auto [end, error] = std::from_chars(from.data(), from.data() + from.size(), follow.from);
  if (!id || error != std::errc{} || end != from.data() + from.size() || follow.from > kVersionMax)
    return Error{Code::kInvalid, "an event stream is asked for as ?party=HEX&from=NUMBER"};
  follow.party = *id;
  return follow;
}

std::string offer_target(const OfferRelay& offer) {
  std::string out = format("{}?region={}&addresses=", kRelayPath, offer.region);
  for (const Endpoint& endpoint : offer.addresses) {
    if (&endpoint != &offer.addresses.front()) out += ',';
    for (const char c : endpoint.text()) out += c == '[' ? "%5B" : c == ']' ? "%5D" : std::string(1, c);
  }
  if (offer.stream) out += "&stream=" + to_base64url(*offer.stream);
  return out;
}

bool is_region(std::string_view text) {
  return text.size() <= kRegionBytesMax && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
         });
}

Result<OfferRelay> parse_offer(std::string_view region, std::string_view addresses, std::string_view stream) {
  const Error wrong{
      Code::kInvalid, "a relay is offered as ?region=NAME&addresses=ADDRESS:PORT,ADDRESS:PORT&stream=PIN", {}};
  OfferRelay offer{std::string(region), {}};
  if (!is_region(region)) return wrong;
  if (!stream.empty()) {
    const auto bytes = from_base64url(stream);
    if (!bytes || bytes->size() != std::tuple_size_v<StreamPin>) return wrong;
    std::copy(bytes->begin(), bytes->end(), offer.stream.emplace().begin());
  }
  for (std::size_t begin = 0; begin <= addresses.size();) {
    const std::size_t end = std::min(addresses.find(',', begin), addresses.size());
    const auto endpoint = Endpoint::parse(addresses.substr(begin, end - begin));
    if (!endpoint || endpoint->port == 0 || offer.addresses.size() == kRelayAddressesMax) return wrong;
    offer.addresses.push_back(*endpoint);
    begin = end + 1;
  }
  return offer;
}

std::string encode(const Hello& hello) { return Json::object({{"key", text_of(hello.key)}}).text(); }
std::string encode(const Challenge& c) {
  return Json::object({{"id", text_of(c.id)}, {"server_key", text_of(c.server_key)}, {"nonce", text_of(c.nonce)}})
      .text();
}
std::string encode(const Proof& p) {
  return Json::object({{"challenge", text_of(p.challenge)}, {"mac", text_of(p.mac)}}).text();
}
std::string encode(const Session& s) {
  return Json::object({{"token", text_of(s.token)},
                       {"expires", s.expires},
                       {"now", s.now},
                       {"servers", addresses_json(s.servers)}})
      .text();
}

Result<Hello> decode_hello(std::string_view text) {
  return decode<Hello>(text, kRequestBytesMax, [](JsonReader& r) { return Hello{read_key(r, "key")}; });
}
Result<Challenge> decode_challenge(std::string_view text) {
  return decode<Challenge>(text, kRequestBytesMax, [](JsonReader& r) {
    return Challenge{r.array<16>("id"), read_key(r, "server_key"), r.array<32>("nonce")};
  });
}
Result<Proof> decode_proof(std::string_view text) {
  return decode<Proof>(text, kRequestBytesMax, [](JsonReader& r) {
    return Proof{r.array<16>("challenge"), r.array<32>("mac")};
  });
}
Result<Session> decode_session(std::string_view text) {
  return decode<Session>(text, kRequestBytesMax, [](JsonReader& r) {
    Session session{r.bytes("token", kSessionTokenMax, 1), r.integer("expires", 0, kTimeMax),
                    r.integer("now", 0, kTimeMax)};
    if (r.has("servers")) session.servers = read_addresses(r, "servers");
    return session;
  });
}

std::string encode(const Request& request) {
  return std::visit([](const auto& r) { return to_json(r).text(); }, request);
}

Result<Request> decode_request(std::string_view path, std::string_view text) {
  const std::size_t bytes_max = request_bytes_max(path);
  const auto read = [&](auto reader) {
    return decode<Request>(text, bytes_max, [&](JsonReader& r) { return Request(reader(r)); });
  };
  if (path == kCreatePartyPath) return read(read_create_party);
  if (path == kJoinPath) return read(read_join);
  if (path == kPutRecordPath) return read(read_put_record);
  if (path == kAddInvitePath) return read(read_add_invite);
  if (path == kListInvitesPath) return read([](JsonReader& r) { return ListInvites{read_party(r)}; });
  if (path == kRevokeInvitePath) return read(read_revoke_invite);
  if (path == kPutStatementsPath) return read(read_put_statements);
  if (path == kWithdrawRelayPath) return read([](JsonReader&) { return WithdrawRelay{}; });
  if (path == kReportRelayPath) return read(read_report_relay);
  return Error{Code::kNotFound, "no such address on this server"};
}

std::string encode_signal(const Signal& signal) { return to_json(signal).text(); }

Result<Signal> decode_signal(std::string_view text) {
  return decode<Signal>(text, kRequestBytesMax, [](JsonReader& r) {
    Signal signal;
    if (r.string("type", kNameBytesMax) != "signal") r.fail("type", "\"signal\"");
    signal.party = read_party(r);
    signal.to = read_key(r, "to");
    signal.sealed = r.bytes("sealed", kSignalBytesMax, 1);
    return signal;
  });
}

std::string encode(const Response& response) {
  return std::visit([](const auto& r) { return to_json(r).text(); }, response);
}

Result<Response> decode_response(const Request& request, std::string_view text) {
  return decode<Response>(text, kEventBytesMax, [&](JsonReader& r) -> Response {
    if (std::holds_alternative<Join>(request)) return read_admission(r);
    if (std::holds_alternative<AddInvite>(request)) return read_invite(r);
    if (std::holds_alternative<ListInvites>(request))
      return InviteList{read_objects<InviteInfo>(r, "invites", kInvitesMax, read_invite)};
    return Done{};
  });
}

std::string encode(const Event& event) {
  return std::visit([](const auto& e) { return to_json(e).text(); }, event);
}

Result<std::optional<Event>> decode_event(std::string_view text) {
  LR_ASSIGN(const Json json, Json::parse(text, {.text_bytes_max = kEventBytesMax, .depth_max = 8}));
  JsonReader reader(json);
  const std::string type = reader.string("type", kNameBytesMax, 1);
  LR_TRY(reader.result());
  std::optional<Event> event = read_event(type, reader, json);
  LR_TRY(reader.result());
  return event;
}

std::string encode(const Error& error) {
  return Json::object(
             {{"error",
               Json::object({{"code", code_name(error.code)}, {"message", error.message}, {"hint", error.hint}})}})
      .text();
}

Error decode_error(int status, std::string_view text) {
  const auto json = Json::parse(text, {.text_bytes_max = kRequestBytesMax, .depth_max = 4});
  if (const Json* inner = json ? json->find("error") : nullptr) {
    JsonReader reader(*inner);
    Error error;
    error.code = code_of_name(reader.string("code", kNameBytesMax));
    error.message = reader.string("message", kMessageBytesMax);
    error.hint = reader.string("hint", kMessageBytesMax);
    if (reader.ok()) return error;
  }
  return Error{code_of_status(status), format("the server answered with HTTP status {}", status)};
}

}  // namespace lanrage::wire
