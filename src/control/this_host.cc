#include "control/this_host.h"

#include <sys/socket.h>

#include <optional>

#include "config/folders.h"
#include "net/address.h"
#include "net/fd.h"
#include "net/netlink.h"

namespace lanrage::control {
namespace {

// The address from which this machine would reach the outside; asks the routing table and sends nothing.
std::optional<IpAddress> own_address(const char* outside) {
  const Endpoint target{*IpAddress::parse(outside), 9};
  sockaddr_storage storage{};
  socklen_t size = net::to_sockaddr(target, storage);
  const net::Fd fd(::socket(storage.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd.is_open() || ::connect(fd.get(), reinterpret_cast<sockaddr*>(&storage), size) != 0) return std::nullopt;
  size = sizeof storage;
  if (::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&storage), &size) != 0) return std::nullopt;
  const auto endpoint = net::from_sockaddr(storage);
  return endpoint ? std::optional(endpoint->address) : std::nullopt;
}

// Some address of this machine that others may reach: where nothing is routed to the outside.
std::optional<IpAddress> any_address(bool v4) {
  auto netlink = net::Netlink::open();
  const auto interfaces = netlink ? netlink->interfaces() : netlink.error();
  if (!interfaces) return std::nullopt;
  for (const net::Interface& interface : *interfaces) {
    if (interface.name.starts_with("lanrage")) continue;
    for (const IpPrefix& prefix : interface.addresses) {
      const IpAddress& address = prefix.address;
      if (interface.up && address.is_v4() == v4 && !address.is_loopback() && !address.is_link_local()) return address;
    }
  }
  return std::nullopt;
}

}  // namespace

std::vector<party::ServerAddress> own_addresses(const std::vector<Endpoint>& listening) {
  std::vector<party::ServerAddress> out;
  for (const Endpoint& endpoint : listening) {
    auto address = std::optional(endpoint.address);
    // From the documentation ranges (RFC 5737, RFC 3849): routed like any other, and nobody's.
    if (address->is_unspecified()) address = own_address(address->is_v4() ? "192.0.2.1" : "2001:db8::1");
    if (endpoint.address.is_unspecified() && !address) address = any_address(endpoint.address.is_v4());
    if (address && !address->is_link_local()) out.push_back(party::ServerAddress::of({*address, endpoint.port}));
  }
  if (out.empty()) out.push_back(party::ServerAddress::of({IpAddress::v4(127, 0, 0, 1), listening.front().port}));
  return out;
}

Endpoint local_entrance(const std::vector<Endpoint>& listen, std::uint16_t port) {
  const IpAddress loopback = IpAddress::v4(127, 0, 0, 1);
  if (listen.empty()) return {loopback, port};
  const IpAddress& first = listen.front().address;
  if (!first.is_unspecified()) return {first, port};
  return {first.is_v4() ? loopback : *IpAddress::parse("::1"), port};
}

Result<party::Identity> load_seed(const std::string& path, Rng& rng) {
  LR_ASSIGN(auto text, config::read_file(path));
  if (text) {
    const auto seed = party::IdentitySeed::from_base64(*text);
    if (!seed) return Error{Code::kInvalid, path + " is damaged", "restore it from a backup, or delete it"};
    return party::Identity(*seed);
  }
  party::Identity fresh = party::Identity::generate(rng);
  LR_TRY(config::write_file(path, fresh.seed().base64()));
  return fresh;
}

}  // namespace lanrage::control
