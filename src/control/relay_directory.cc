#include "control/relay_directory.h"

#include <algorithm>

#include "base/format.h"
#include "wire/json.h"

namespace lanrage::control {
namespace {

using wire::Json;

constexpr std::size_t kKeyTextBytesMax = 64;

Error unknown() {
  return {Code::kNotFound, "no relay with that key is allowed here", "`lanrage server relays` lists them"};
}

}  // namespace

Result<RelayDirectory> RelayDirectory::parse(std::string_view text) {
  LR_ASSIGN(const Json json, Json::parse(text));
  RelayDirectory directory;
  wire::JsonReader reader(json);
  for (const Json& item : reader.items("relays", kRelaysAllowedMax)) {
    wire::JsonReader fields(item);
    const auto key = crypto::PublicKey::from_base64(fields.string("key", kKeyTextBytesMax));
    if (!key) fields.fail("key", "a key");
    Relay relay;
    relay.info.key = key.value_or(crypto::PublicKey{});
    relay.info.region = fields.string("region", wire::kRegionBytesMax);
    for (const Json& address : fields.items("addresses", wire::kRelayAddressesMax)) {
      const auto endpoint = address.if_string() ? Endpoint::parse(*address.if_string()) : std::nullopt;
      if (endpoint) {
        relay.info.addresses.push_back(*endpoint);
      } else {
        fields.fail("addresses", "addresses with ports");
      }
    }
    if (fields.has("stream")) relay.info.stream = fields.array<std::tuple_size_v<wire::StreamPin>>("stream");
    LR_TRY(fields.result());
    directory.relays_.push_back(std::move(relay));
  }
  LR_TRY(reader.result());
  return directory;
}

std::string RelayDirectory::text() const {
  const auto to_json = [](const Relay& relay) {
    const wire::RelayInfo& info = relay.info;
    return Json::object({{"key", info.key.base64()},
                         {"region", info.region},
                         {"addresses", Json::list(info.addresses, [](const Endpoint& e) { return Json(e.text()); })},
                         {"stream", info.stream ? Json(to_base64url(*info.stream)) : Json()}});
  };
  return Json::object({{"relays", Json::list(relays_, to_json)}}).text() + "\n";
}

Result<void> RelayDirectory::allow(const crypto::PublicKey& key) {
  if (find(key) != nullptr) return {};
  if (relays_.size() == kRelaysAllowedMax)
    return Error{Code::kExhausted, format("{} relays are allowed already", kRelaysAllowedMax),
                 "remove one: `lanrage server relays remove KEY`"};
  Relay relay;
  relay.info.key = key;
  relays_.push_back(std::move(relay));
  return {};
}

Result<void> RelayDirectory::remove(const crypto::PublicKey& key) {
  if (std::erase_if(relays_, [&](const Relay& relay) { return relay.info.key == key; }) == 0) return unknown();
  return {};
}

Result<bool> RelayDirectory::offer(const crypto::PublicKey& key, const wire::OfferRelay& offer) {
  Relay* relay = find(key);
  if (relay == nullptr)
    return Error{Code::kRefused, "this server does not know the relay",
                 format("run there: lanrage server relays allow {}", key.base64())};
  const wire::RelayInfo info{key, offer.region, offer.addresses, offer.stream};
  const bool changed = relay->info != info;
  *relay = {info, true, std::nullopt, relay->report};
  return changed;
}

Result<void> RelayDirectory::report(const crypto::PublicKey& key, const wire::ReportRelay& report) {
  Relay* relay = find(key);
  if (relay == nullptr || !relay->connected) return Error{Code::kRefused, "no relay of that key is connected", {}};
  relay->report = report;
  return {};
}

void RelayDirectory::lose(const crypto::PublicKey& key) {
  if (Relay* relay = find(key); relay != nullptr) {
    relay->connected = false;
    relay->report.reset();
  }
}

bool RelayDirectory::withdraw(const crypto::PublicKey& key) {
  Relay* relay = find(key);
  if (relay == nullptr || relay->info.addresses.empty()) return false;
  relay->info.addresses.clear();
  relay->report.reset();
  return true;
}

bool RelayDirectory::expire(Time now) {
  bool changed = false;
  for (Relay& relay : relays_) {
    if (relay.connected) continue;
    if (!relay.lost) relay.lost = now;
    if (now - *relay.lost >= kRelayGrace) changed |= withdraw(relay.info.key);
  }
  return changed;
}

std::vector<wire::RelayInfo> RelayDirectory::named() const {
  std::vector<wire::RelayInfo> out;
  for (const Relay& relay : relays_) {
    if (!relay.info.addresses.empty()) out.push_back(relay.info);
  }
  return out;
}

std::vector<wire::RelayHealth> RelayDirectory::health() const {
  std::vector<wire::RelayHealth> out;
  for (const Relay& relay : relays_) {
    if (relay.report) out.push_back({relay.info.key, relay.report->health, relay.report->load});
  }
  return out;
}

RelayDirectory::Relay* RelayDirectory::find(const crypto::PublicKey& key) {
  const auto found =
      std::find_if(relays_.begin(), relays_.end(), [&](const Relay& relay) { return relay.info.key == key; });
  return found == relays_.end() ? nullptr : &*found;
}

}  // namespace lanrage::control
