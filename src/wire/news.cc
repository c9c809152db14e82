#include "wire/news.h"

#include "base/bytes.h"
#include "wire/json.h"

namespace lanrage::wire {
namespace {

std::string text_of(const crypto::PublicKey& key) { return to_base64url(key.bytes()); }

Json json_of(const Event& event) { return *Json::parse(encode(event)); }

struct Encoder {
  Json operator()(const PartyChanged& n) const {
    return Json::object({{"type", "changed"}, {"party", to_text(n.party)}, {"revision", n.revision}});
  }
  Json operator()(const Here& n) const {
    return Json::object(
        {{"type", "here"}, {"party", to_text(n.party)}, {"members", Json::list(n.members, text_of)}, {"asks", n.asks}});
  }
  Json operator()(const PresenceNews& n) const {
    return Json::object({{"type", "presence"},
                         {"party", to_text(n.party)},
                         {"member", text_of(n.presence.member)},
                         {"online", n.presence.online}});
  }
  Json operator()(const SignalNews& n) const {
    return Json::object({{"type", "signal"},
                         {"party", to_text(n.signal.party)},
                         {"from", text_of(n.from)},
                         {"to", text_of(n.signal.to)},
                         {"sealed", to_base64url(n.signal.sealed)}});
  }
  Json operator()(const Alive& n) const {
    return Json::object({{"type", "alive"},
                         {"servers", json_of(n.servers)},
                         {"relays", json_of(n.relays)},
                         {"health", json_of(n.health)}});
  }
};

crypto::PublicKey read_key(JsonReader& reader, std::string_view key) {
  return crypto::PublicKey(reader.array<crypto::kKeySize>(key));
}

PartyId read_party(JsonReader& reader) {
  const auto party = parse_party_id(reader.string("party", 2 * sizeof(PartyId)));
  if (!party) reader.fail("party", "32 lower-case hexadecimal digits");
  return party.value_or(PartyId{});
}

// A member that is an event of type T.
template <class T>
T read_event(JsonReader& reader, const Json& json, std::string_view key) {
  const Json* member = json.find(key);
  const auto event = decode_event(member ? member->text() : "");
  if (event && *event)
    if (const T* wanted = std::get_if<T>(&**event)) return *wanted;
  reader.fail(key, "such an event");
  return {};
}

Here read_here(JsonReader& reader) {
  Here here{read_party(reader), {}, reader.flag("asks")};
  for (const Json& item : reader.items("members", kMembersMax)) {
    const auto key = crypto::PublicKey::from_bytes(reader.item_bytes(item, "members", crypto::kKeySize));
    if (key) {
      here.members.push_back(*key);
    } else {
      reader.fail("members", "keys of 32 bytes");
    }
  }
  return here;
}

}  // namespace

std::string encode(const News& news) {
  return std::visit(Encoder{}, news.body).set("server", to_base64url(news.server)).text();
}

Result<std::optional<News>> decode_news(std::string_view text) {
  LR_ASSIGN(const Json json, Json::parse(text, {.text_bytes_max = kNewsBytesMax}));
  JsonReader reader(json);
  News news{reader.array<sizeof(ServerId)>("server"), {}};
  const std::string type = reader.string("type", 32);
  if (type == "changed") {
    const PartyId party = read_party(reader);
    news.body = PartyChanged{party, reader.counter("revision")};
  } else if (type == "here") {
    news.body = read_here(reader);
  } else if (type == "presence") {
    const PartyId party = read_party(reader);
    news.body = PresenceNews{party, {read_key(reader, "member"), reader.flag("online")}};
  } else if (type == "signal") {
    SignalNews signal{read_key(reader, "from"), {read_party(reader), read_key(reader, "to"), {}}};
    signal.signal.sealed = reader.bytes("sealed", kSignalBytesMax, 1);
    news.body = std::move(signal);
  } else if (type == "alive") {
    Servers servers = read_event<Servers>(reader, json, "servers");
    Relays relays = read_event<Relays>(reader, json, "relays");
    news.body = Alive{std::move(servers), std::move(relays), read_event<RelaysHealth>(reader, json, "health")};
  } else if (reader.ok()) {
    return std::optional<News>();
  }
  LR_TRY(reader.result());
  return std::optional<News>(std::move(news));
}

}  // namespace lanrage::wire
