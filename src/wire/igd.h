// UPnP's Internet Gateway Device, as much as opening a port takes: finding the router (SSDP, UPnP Device Architecture
// 1.1 section 1), reading its description (section 2) and asking its WANIPConnection or WANPPPConnection service
// (section 3, SOAP 1.1 over HTTP).
//
// Text in, text out; whoever calls carries the messages and bounds their size. Of a description and an answer only
// single elements are looked for: nothing nests, nothing is expanded but &amp;, and what is not there is not there.
// URLs are read only with an IPv4 address as their host, so that a router cannot have a name resolved.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/ip.h"

namespace lanrage::wire {

inline constexpr std::uint16_t kSsdpPort = 1900;
inline constexpr IpAddress kSsdpGroup = IpAddress::v4(239, 255, 255, 250);
inline constexpr std::size_t kSsdpBytesMax = 2048;
inline constexpr std::size_t kIgdBytesMax = 64 * 1024;  // of a description or an answer
inline constexpr std::size_t kIgdServicesMax = 4;

// http://1.2.3.4:5/target
struct HttpUrl {
  Endpoint endpoint;
  std::string target = "/";
  static std::optional<HttpUrl> parse(std::string_view text);
  std::string text() const;
  friend bool operator==(const HttpUrl&, const HttpUrl&) = default;
};

// A question for gateways of version 1 or 2.
std::string write_ssdp_search(int version);

// An answer to that, or a notice that a gateway sends by itself.
struct SsdpMessage {
  bool is_notice = false;
  bool is_leaving = false;            // ssdp:byebye
  std::optional<HttpUrl> location{};  // of its description
  std::string boot{};                 // BOOTID.UPNP.ORG: changes when it restarts; may be missing
};
std::optional<SsdpMessage> parse_ssdp(ByteView datagram);

struct IgdService {
  std::string type;  // urn:schemas-upnp-org:service:WANIPConnection:1
  HttpUrl control;
};
// Those that open ports, of a description found at `from`; none: this is no gateway.
std::vector<IgdService> parse_igd_description(std::string_view xml, const HttpUrl& from);

using IgdArguments = std::vector<std::pair<std::string_view, std::string>>;
std::string write_igd_action(const IgdService& service, std::string_view action, const IgdArguments& arguments);
// The text of the first element of this name, whatever its namespace prefix; at most 256 bytes.
std::optional<std::string> igd_value(std::string_view xml, std::string_view name);

}  // namespace lanrage::wire
