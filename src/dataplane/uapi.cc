#include "dataplane/uapi.h"

#include <algorithm>
#include <charconv>

#include "base/format.h"

namespace lanrage::dataplane {
namespace {

template <class T>
std::optional<T> number(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

// Hexadecimal of exactly a key's size; the bytes are wiped from the heap after use.
template <class Key>
std::optional<Key> key_of(std::string_view text) {
  if (text.size() != 2 * crypto::kKeySize) return std::nullopt;
  auto bytes = from_hex(text);
  if (!bytes) return std::nullopt;
  auto key = Key::from_bytes(*bytes);
  crypto::wipe(*bytes);
  return key;
}

template <class Field, class Value>
bool assign(Field& field, std::optional<Value> value) {
  if (!value) return false;
  field = std::move(*value);
  return true;
}

bool is_true(std::string_view value, bool& field) {
  field = true;
  return value == "true";
}

bool parse_peer_line(std::string_view key, std::string_view value, UapiPeerChange& peer) {
  if (key == "preshared_key") return assign(peer.preshared_key, key_of<crypto::PresharedKey>(value));
  if (key == "endpoint") return assign(peer.endpoint, Endpoint::parse(value));
  if (key == "persistent_keepalive_interval") return assign(peer.persistent_keepalive_s, number<std::uint16_t>(value));
  if (key == "remove") return is_true(value, peer.remove);
  if (key == "update_only") return is_true(value, peer.update_only);
  if (key == "replace_allowed_ips") return is_true(value, peer.replace_allowed_ips);
  if (key == "protocol_version") return value == "1";
  if (key == "allowed_ip") {
    UapiAllowedIp allowed;
    allowed.remove = value.starts_with('-');
    if (allowed.remove) value.remove_prefix(1);
    const auto prefix = IpPrefix::parse(value);
    if (!prefix) return false;
    allowed.prefix = prefix->network();
    peer.allowed_ips.push_back(allowed);
    return true;
  }
  return false;
}

bool parse_device_line(std::string_view key, std::string_view value, UapiChange& change) {
  if (key == "private_key") return assign(change.private_key, key_of<crypto::PrivateKey>(value));
  if (key == "listen_port") return assign(change.listen_port, number<std::uint16_t>(value));
  if (key == "fwmark") {
    if (value.empty()) return assign(change.fwmark, std::optional<std::uint32_t>(0));
    return assign(change.fwmark, number<std::uint32_t>(value));
  }
  if (key == "replace_peers") return is_true(value, change.replace_peers);
  return false;
}

template <class Secret>
void append_secret(std::string& out, std::string_view name, const Secret& secret) {
  std::string hex = to_hex(secret.bytes());
  out += format("{}={}\n", name, hex);
  crypto::wipe({reinterpret_cast<std::uint8_t*>(hex.data()), hex.size()});
}

}  // namespace

std::size_t uapi_request_size(std::string_view buffered) {
  const std::size_t end = buffered.find("\n\n");
  return end == std::string_view::npos ? 0 : end + 2;
}

std::optional<UapiRequest> parse_uapi(std::string_view request) {
  if (request.size() > kUapiRequestBytesMax || !request.ends_with("\n\n")) return std::nullopt;
  request.remove_suffix(1);
  if (request == "get=1\n") return UapiRequest{};
  if (!request.starts_with("set=1\n")) return std::nullopt;
  request.remove_prefix(6);
  UapiChange change;
  while (!request.empty()) {
    const std::size_t end = request.find('\n');
    const std::string_view line = request.substr(0, end);
    request.remove_prefix(end + 1);
    const std::size_t equals = line.find('=');
    if (equals == std::string_view::npos) return std::nullopt;
    const std::string_view key = line.substr(0, equals);
    const std::string_view value = line.substr(equals + 1);
    if (key == "public_key") {
      const auto public_key = key_of<crypto::PublicKey>(value);
      if (!public_key) return std::nullopt;
      change.peers.emplace_back().public_key = *public_key;
      continue;
    }
    const bool ok =
        change.peers.empty() ? parse_device_line(key, value, change) : parse_peer_line(key, value, change.peers.back());
    if (!ok) return std::nullopt;
  }
  return UapiRequest{std::move(change)};
}

std::string format_uapi(const UapiChange& change) {
  std::string out = "set=1\n";
  if (change.private_key) append_secret(out, "private_key", *change.private_key);
  if (change.listen_port) out += format("listen_port={}\n", *change.listen_port);
  if (change.fwmark) out += format("fwmark={}\n", *change.fwmark);
  if (change.replace_peers) out += "replace_peers=true\n";
  for (const UapiPeerChange& peer : change.peers) {
    out += format("public_key={}\n", to_hex(peer.public_key.bytes()));
    if (peer.remove) out += "remove=true\n";
    if (peer.update_only) out += "update_only=true\n";
    if (peer.preshared_key) append_secret(out, "preshared_key", *peer.preshared_key);
    if (peer.endpoint) out += format("endpoint={}\n", peer.endpoint->text());
    if (peer.persistent_keepalive_s) out += format("persistent_keepalive_interval={}\n", *peer.persistent_keepalive_s);
    if (peer.replace_allowed_ips) out += "replace_allowed_ips=true\n";
    for (const UapiAllowedIp& allowed : peer.allowed_ips)
      out += format("allowed_ip={}{}\n", allowed.remove ? "-" : "", allowed.prefix.text());
  }
  return out + "\n";
}

std::string format_uapi(const UapiDevice& device) {
  std::string out;
  if (device.private_key) append_secret(out, "private_key", *device.private_key);
  out += format("listen_port={}\n", device.listen_port);
  if (device.fwmark != 0) out += format("fwmark={}\n", device.fwmark);
  for (const UapiPeer& peer : device.peers) {
    out += format("public_key={}\n", to_hex(peer.public_key.bytes()));
    append_secret(out, "preshared_key", peer.preshared_key);
    out += "protocol_version=1\n";
    if (peer.endpoint) out += format("endpoint={}\n", peer.endpoint->text());
    const std::int64_t handshake_ns = peer.last_handshake ? peer.last_handshake->time_since_epoch().count() : 0;
    out += format("last_handshake_time_sec={}\nlast_handshake_time_nsec={}\n", handshake_ns / 1'000'000'000,
                  handshake_ns % 1'000'000'000);
    out += format("tx_bytes={}\nrx_bytes={}\n", peer.tx_bytes, peer.rx_bytes);
    out += format("persistent_keepalive_interval={}\n", peer.persistent_keepalive_s);
    for (const IpPrefix& prefix : peer.allowed_ips) out += format("allowed_ip={}\n", prefix.text());
  }
  return out + "errno=0\n\n";
}

std::string format_uapi_result(int os_errno) { return format("errno={}\n\n", -os_errno); }

}  // namespace lanrage::dataplane
