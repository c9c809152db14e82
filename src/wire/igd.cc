#include "wire/igd.h"

#include <algorithm>
#include <charconv>

#include "base/format.h"

namespace lanrage::wire {
namespace {

constexpr std::size_t kUrlBytesMax = 256;
constexpr std::size_t kValueBytesMax = 256;
constexpr std::string_view kScheme = "http://";

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

bool same_word(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [&](char x, char y) { return lower(x) == lower(y); });
}

// The content of the next element of that name from `from` on, and where it ends; npos: there is none.
std::pair<std::string_view, std::size_t> element(std::string_view xml, std::string_view name, std::size_t from) {
  for (std::size_t open = xml.find('<', from); open != xml.npos;) {
    const std::size_t end = xml.find_first_of("<>", open + 1);
    if (end == xml.npos) break;
    std::string_view tag = xml.substr(open + 1, end - open - 1);
    tag = tag.substr(0, std::min(tag.find_first_of(" \t\r\n/"), tag.size()));
    if (xml[end] == '>' && tag.substr(tag.find(':') + 1) == name) {  // npos + 1 is 0
      const std::string close = format("</{}>", tag);
      const std::size_t last = xml.find(close, end + 1);
      if (last == xml.npos) break;
      return {xml.substr(end + 1, last - end - 1), last + close.size()};
    }
    open = xml[end] == '<' ? end : xml.find('<', end);
  }
  return {{}, xml.npos};
}

std::string with_ampersands(std::string_view text) {
  constexpr std::string_view kEntity = "&amp;";
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const bool entity = text.substr(at, kEntity.size()) == kEntity;
    out += text[at];
    at += entity ? kEntity.size() : 1;
  }
  return out;
}

bool fits_a_request_line(std::string_view target) {
  return !target.empty() && target.size() <= kUrlBytesMax && target.front() == '/' &&
         std::all_of(target.begin(), target.end(), [](char c) { return c > ' ' && c < 0x7f; });
}

// RFC 3986 section 5, as far as descriptions use it.
std::optional<HttpUrl> resolved(std::string_view reference, const HttpUrl& base) {
  if (reference.find("://") != reference.npos) return HttpUrl::parse(reference);
  HttpUrl out = base;
  if (reference.empty() || reference.front() != '/') {
    const std::string_view path = std::string_view(base.target).substr(0, base.target.find('?'));
    out.target = format("{}{}", path.substr(0, path.rfind('/') + 1), reference);
  } else {
    out.target = reference;
  }
  return fits_a_request_line(out.target) ? std::optional(out) : std::nullopt;
}

}  // namespace

std::optional<HttpUrl> HttpUrl::parse(std::string_view text) {
  if (text.substr(0, kScheme.size()) != kScheme || text.size() > kUrlBytesMax) return std::nullopt;
  text.remove_prefix(kScheme.size());
  const std::string_view authority = text.substr(0, text.find_first_of("/?#"));
  const std::string_view host = authority.substr(0, authority.find(':'));
  HttpUrl url;
  const auto address = IpAddress::parse(host);
  if (!address || !address->is_v4() || address->text() != host) return std::nullopt;
  url.endpoint = {*address, 80};
  if (host.size() != authority.size()) {
    const std::string_view port = authority.substr(host.size() + 1);
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), url.endpoint.port);
    if (error != std::errc{} || end != port.data() + port.size() || url.endpoint.port == 0) return std::nullopt;
  }
  if (text.size() > authority.size()) url.target = text.substr(authority.size());
  return fits_a_request_line(url.target) ? std::optional(url) : std::nullopt;
}

std::string HttpUrl::text() const { return format("{}{}{}", kScheme, endpoint.text(), target); }

std::string write_ssdp_search(int version) {
  return format(
      "M-SEARCH * HTTP/1.1\r\nHOST: {}:{}\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\n"
      "ST: urn:schemas-upnp-org:device:InternetGatewayDevice:{}\r\n\r\n",
      kSsdpGroup.text(), kSsdpPort, version);
}

std::optional<SsdpMessage> parse_ssdp(ByteView datagram) {
  if (datagram.size() > kSsdpBytesMax) return std::nullopt;
  std::string_view rest = as_text(datagram);
  const auto next_line = [&rest] {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    const std::string_view line = trimmed(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
    return line;
  };
  SsdpMessage message;
  const std::string_view first = next_line();
  message.is_notice = first.starts_with("NOTIFY * HTTP/1.");
  if (!message.is_notice && !(first.starts_with("HTTP/1.") && first.substr(8, 5) == " 200 ")) return std::nullopt;
  bool is_gateway = false;
  while (!rest.empty()) {
    const std::string_view line = next_line();
    const std::size_t colon = line.find(':');
    if (colon == line.npos) continue;
    const std::string_view name = trimmed(line.substr(0, colon)), value = trimmed(line.substr(colon + 1));
    if (same_word(name, message.is_notice ? "NT" : "ST"))
      is_gateway = value.starts_with("urn:schemas-upnp-org:device:InternetGatewayDevice:");
    if (same_word(name, "NTS")) message.is_leaving = value == "ssdp:byebye";
    if (same_word(name, "LOCATION")) message.location = HttpUrl::parse(value);
    if (same_word(name, "BOOTID.UPNP.ORG")) message.boot = value.substr(0, 16);
  }
  return is_gateway ? std::optional(message) : std::nullopt;
}

std::vector<IgdService> parse_igd_description(std::string_view xml, const HttpUrl& from) {
  std::vector<IgdService> out;
  if (xml.size() > kIgdBytesMax) return out;
  HttpUrl base = from;
  if (const auto named = igd_value(xml, "URLBase"); named && !named->empty()) {
    const auto url = HttpUrl::parse(*named);
    if (!url) return out;
    base = *url;
  }
  for (auto [service, end] = element(xml, "service", 0); end != xml.npos && out.size() < kIgdServicesMax;
       std::tie(service, end) = element(xml, "service", end)) {
    const auto type = igd_value(service, "serviceType"), control = igd_value(service, "controlURL");
    if (!type || !control) continue;
    const bool opens = type->starts_with("urn:schemas-upnp-org:service:WANIPConnection:") ||
                       type->starts_with("urn:schemas-upnp-org:service:WANPPPConnection:");
    const bool plain =
        std::all_of(type->begin(), type->end(), [](char c) { return c > ' ' && c < 0x7f && c != '"' && c != '<'; });
    const auto url = resolved(*control, base);
    if (opens && plain && url) out.push_back({*type, *url});
  }
  return out;
}

std::string write_igd_action(const IgdService& service, std::string_view action, const IgdArguments& arguments) {
  std::string body = format(
      "<?xml version=\"1.0\"?>\r\n"
      "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" "
      "s:encodingStyle=\"http://schemas.xmlsoap.org/soap/encoding/\"><s:Body><u:{} xmlns:u=\"{}\">",
      action, service.type);
  for (const auto& [name, value] : arguments) body += format("<{0}>{1}</{0}>", name, value);
  return body + format("</u:{}></s:Body></s:Envelope>\r\n", action);
}

std::optional<std::string> igd_value(std::string_view xml, std::string_view name) {
  const auto [content, end] = element(xml, name, 0);
  const std::string_view text = trimmed(content);
  if (end == xml.npos || text.size() > kValueBytesMax || text.find('<') != text.npos) return std::nullopt;
  return with_ampersands(text);
}

}  // namespace lanrage::wire
