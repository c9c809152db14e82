#include "party/link.h"

#include <algorithm>
#include <charconv>

#include "base/format.h"

namespace lanrage::party {
namespace {

constexpr std::string_view kScheme = "https://";

bool is_digit(char c) { return c >= '0' && c <= '9'; }
char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

std::optional<std::uint16_t> parse_port(std::string_view text) {
  std::uint16_t port = 0;
  if (text.empty() || text.front() == '0') return std::nullopt;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return port;
}

std::optional<std::string> canonical_host(std::string_view text, bool in_brackets) {
  if (const auto ip = IpAddress::parse(text)) {
    // "[::ffff:1.2.3.4]" is IPv4 once parsed, and is written so.
    if (in_brackets && text.find(':') == std::string_view::npos) return std::nullopt;
    return ip->text();
  }
  if (in_brackets || !is_dns_name(text)) return std::nullopt;
  std::string host(text);
  std::transform(host.begin(), host.end(), host.begin(), lower);
  return host;
}

}  // namespace

bool is_dns_name(std::string_view text) {
  if (text.empty() || text.size() > 253) return false;
  bool all_digits = true;  // of the last label: such a name could be read as an address
  while (true) {
    const std::size_t dot = text.find('.');
    const std::string_view label = text.substr(0, dot);
    if (label.empty() || label.size() > 63 || label.front() == '-' || label.back() == '-') return false;
    all_digits = true;
    for (const char c : label) {
      const char l = lower(c);
      if (!is_digit(l) && !(l >= 'a' && l <= 'z') && l != '-') return false;
      all_digits = all_digits && is_digit(l);
    }
    if (dot == std::string_view::npos) return !all_digits;
    text.remove_prefix(dot + 1);
  }
}

std::optional<ServerAddress> ServerAddress::parse(std::string_view text) {
  ServerAddress out;
  std::string_view host = text;
  std::string_view port;
  bool in_brackets = false;
  if (text.starts_with('[')) {
    const std::size_t end = text.find(']');
    if (end == std::string_view::npos) return std::nullopt;
    host = text.substr(1, end - 1);
    port = text.substr(end + 1);
    in_brackets = true;
  } else if (const std::size_t colon = text.find(':');
             colon != std::string_view::npos && text.find(':', colon + 1) == std::string_view::npos) {
    host = text.substr(0, colon);
    port = text.substr(colon);
  }
  if (!port.empty()) {
    const auto number = port.front() == ':' ? parse_port(port.substr(1)) : std::nullopt;
    if (!number) return std::nullopt;
    out.port = *number;
  }
  auto canonical = canonical_host(host, in_brackets);
  if (!canonical) return std::nullopt;
  out.host = std::move(*canonical);
  return out;
}

std::string ServerAddress::text() const {
  return host.find(':') != std::string::npos ? format("[{}]:{}", host, port) : format("{}:{}", host, port);
}

Result<ServerLink> ServerLink::parse(std::string_view text) {
  const auto wrong = [](const char* message) {
    return Error{Code::kInvalid, message, "a server link looks like https://HOST:PORT#KEY; `lanrage server` prints it"};
  };
  if (!text.starts_with(kScheme)) return wrong("not a server link: it does not begin with https://");
  text.remove_prefix(kScheme.size());
  const std::size_t hash = text.find('#');
  if (hash == std::string_view::npos) return wrong("the server link has no key (the part after #)");
  const auto key = from_base64url(text.substr(hash + 1));
  if (!key || key->size() != std::tuple_size_v<ServerKey>) return wrong("the key in the server link is damaged");
  std::string_view host = text.substr(0, hash);
  if (host.ends_with('/')) host.remove_suffix(1);
  auto address = ServerAddress::parse(host);
  if (!address) return wrong("the server link holds no valid host and port");
  ServerLink link{std::move(*address), {}};
  std::copy(key->begin(), key->end(), link.key.begin());
  return link;
}

std::string ServerLink::text() const { return format("{}{}#{}", kScheme, address.text(), to_base64url(key)); }

ServerInfo with_addresses(const ServerInfo& server, const std::vector<std::string>& told) {
  ServerInfo out{server.key, {server.addresses.begin(), server.addresses.begin() + (server.addresses.empty() ? 0 : 1)}};
  for (const std::string& text : told) {
    const auto address = ServerAddress::parse(text);
    const bool is_known =
        address && std::find(out.addresses.begin(), out.addresses.end(), *address) != out.addresses.end();
    if (address && !is_known && out.addresses.size() < kServerAddressesMax) out.addresses.push_back(*address);
  }
  return out;
}

}  // namespace lanrage::party
