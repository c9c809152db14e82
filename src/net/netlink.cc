#include "net/netlink.h"

#include <linux/fib_rules.h>
#include <linux/if.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <netlink/cache.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/neighbour.h>
#include <netlink/route/nexthop.h>
#include <netlink/route/route.h>
#include <netlink/route/rule.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/format.h"
#include "net/freer.h"

namespace lanrage::net {
namespace {

using SocketHandle = std::unique_ptr<nl_sock, Freer<nl_socket_free>>;
using AddressHandle = std::unique_ptr<nl_addr, Freer<nl_addr_put>>;
using CacheHandle = std::unique_ptr<nl_cache, Freer<nl_cache_free>>;
using LinkHandle = std::unique_ptr<rtnl_link, Freer<rtnl_link_put>>;
using AddrHandle = std::unique_ptr<rtnl_addr, Freer<rtnl_addr_put>>;
using RouteHandle = std::unique_ptr<rtnl_route, Freer<rtnl_route_put>>;
using RuleHandle = std::unique_ptr<rtnl_rule, Freer<rtnl_rule_put>>;
using CallbackHandle = std::unique_ptr<nl_cb, Freer<nl_cb_put>>;
using NeighHandle = std::unique_ptr<rtnl_neigh, Freer<rtnl_neigh_put>>;

Error netlink_error(std::string_view what, int code) {
  Error error{Code::kIo, format("cannot {}: {}", what, nl_geterror(code)), {}, 0};
  switch (-code) {
    case NLE_PERM:
    case NLE_NOACCESS:
      error.code = Code::kRefused;
      error.hint = "run as root or with CAP_NET_ADMIN";
      error.os_errno = EPERM;
      break;
    case NLE_OBJ_NOTFOUND:
    case NLE_NODEV:
      error.code = Code::kNotFound;
      break;
    case NLE_EXIST:
      error.code = Code::kConflict;
      break;
    case NLE_AF_NOSUPPORT:
    case NLE_OPNOTSUPP:
      error.hint = "the kernel was built or configured without this (IPv6 off?)";
      break;
    default:
      break;
  }
  return error;
}

Result<void> done(std::string_view what, int code) {
  if (code >= 0) return {};
  return netlink_error(what, code);
}

bool is_absent(int code) {
  return code == -NLE_OBJ_NOTFOUND || code == -NLE_NODEV || code == -NLE_NOADDR || code == -NLE_FAILURE;
}

// Removing what is not there: ESRCH and ENOENT are NLE_OBJ_NOTFOUND, EADDRNOTAVAIL is NLE_NOADDR.
Result<void> removed(std::string_view what, int code) {
  if (is_absent(code)) return {};
  return done(what, code);
}

Result<void> added(std::string_view what, int code) {
  if (code == -NLE_EXIST) return {};
  return done(what, code);
}

AddressHandle to_nl(const IpAddress& address, int length) {
  const ByteView raw = address.bytes();
  nl_addr* built = nl_addr_build(address.is_v6() ? AF_INET6 : AF_INET, raw.data(), raw.size());
  LR_CHECK(built != nullptr);
  nl_addr_set_prefixlen(built, length);
  return AddressHandle(built);
}
AddressHandle to_nl(const IpAddress& address) { return to_nl(address, address.bits()); }

std::optional<IpAddress> from_nl(nl_addr* address) {
  if (address == nullptr) return std::nullopt;
  const auto* raw = static_cast<const std::uint8_t*>(nl_addr_get_binary_addr(address));
  return IpAddress::from_bytes({raw, nl_addr_get_len(address)});
}

template <class F>
void for_each_object(nl_cache* cache, F&& f) {
  for (nl_object* object = nl_cache_get_first(cache); object != nullptr; object = nl_cache_get_next(object)) f(object);
}

Interface read_interface(rtnl_link* link) {
  Interface out;
  out.index = static_cast<unsigned>(rtnl_link_get_ifindex(link));
  if (const char* name = rtnl_link_get_name(link)) out.name = name;
  const unsigned flags = rtnl_link_get_flags(link);
  out.up = (flags & IFF_UP) != 0;
  out.running = (flags & IFF_RUNNING) != 0;
  out.loopback = (flags & IFF_LOOPBACK) != 0;
  out.point_to_point = (flags & IFF_POINTOPOINT) != 0;
  out.broadcast = (flags & IFF_BROADCAST) != 0;
  out.multicast = (flags & IFF_MULTICAST) != 0;
  out.mtu = static_cast<int>(rtnl_link_get_mtu(link));
  if (nl_addr* mac = rtnl_link_get_addr(link); mac != nullptr && nl_addr_get_len(mac) == out.mac.size())
    std::memcpy(out.mac.data(), nl_addr_get_binary_addr(mac), out.mac.size());
  return out;
}

std::optional<Route> read_default_route(rtnl_route* route) {
  if (rtnl_route_get_table(route) != kMainTable || rtnl_route_get_type(route) != RTN_UNICAST) return std::nullopt;
  nl_addr* destination = rtnl_route_get_dst(route);
  if (destination == nullptr || nl_addr_get_prefixlen(destination) != 0) return std::nullopt;
  rtnl_nexthop* hop = rtnl_route_nexthop_n(route, 0);
  if (hop == nullptr) return std::nullopt;
  Route out;
  out.destination.address = rtnl_route_get_family(route) == AF_INET6 ? IpAddress::v6({}) : IpAddress();
  out.interface = static_cast<unsigned>(rtnl_route_nh_get_ifindex(hop));
  out.gateway = from_nl(rtnl_route_nh_get_gateway(hop));
  out.source = from_nl(rtnl_route_get_pref_src(route));
  out.metric = rtnl_route_get_priority(route);
  return out;
}

// libnl 3.7 reads these attributes but cannot write them all: one link message with one attribute.
int change_link(nl_sock* socket, unsigned interface, unsigned flags, unsigned change, int attribute, const void* data,
                int size) {
  nl_msg* message = nlmsg_alloc_simple(RTM_NEWLINK, 0);
  if (message == nullptr) return -NLE_NOMEM;
  ifinfomsg header{};
  header.ifi_index = static_cast<int>(interface);
  header.ifi_flags = flags;
  header.ifi_change = change;
  int code = nlmsg_append(message, &header, sizeof header, NLMSG_ALIGNTO);
  if (code >= 0 && attribute != 0) code = nla_put(message, attribute, size, data);
  if (code < 0) {
    nlmsg_free(message);
    return code;
  }
  return nl_send_sync(socket, message);  // frees the message
}

int change_link(nl_sock* socket, unsigned interface, int attribute, int value) {
  const auto wire = static_cast<std::uint32_t>(value);
  return change_link(socket, interface, 0, 0, attribute, &wire, sizeof wire);
}

int put_address(nl_msg* message, int attribute, const IpAddress& address) {
  return nla_put(message, attribute, static_cast<int>(address.bytes().size()), address.bytes().data());
}

// The answer to a question about a route: its interface.
int read_interface_of_route(nl_msg* message, void* out) {
  rtnl_route* raw = nullptr;
  if (rtnl_route_parse(nlmsg_hdr(message), &raw) < 0) return NL_OK;
  const RouteHandle route(raw);
  rtnl_nexthop* hop = rtnl_route_nexthop_n(route.get(), 0);
  if (hop != nullptr) *static_cast<unsigned*>(out) = static_cast<unsigned>(rtnl_route_nh_get_ifindex(hop));
  return NL_OK;
}

AddrHandle to_nl_address(unsigned interface, const IpPrefix& address) {
  AddrHandle out(rtnl_addr_alloc());
  rtnl_addr_set_ifindex(out.get(), static_cast<int>(interface));
  const AddressHandle local = to_nl(address.address, address.length);
  rtnl_addr_set_local(out.get(), local.get());
  if (address.address.is_v4() && address.length < 31)
    rtnl_addr_set_broadcast(out.get(), to_nl(address.broadcast()).get());
  return out;
}

RouteHandle to_nl_route(const Route& route) {
  RouteHandle out(rtnl_route_alloc());
  const IpPrefix network = route.destination.network();
  rtnl_route_set_family(out.get(), network.address.is_v6() ? AF_INET6 : AF_INET);
  rtnl_route_set_dst(out.get(), to_nl(network.address, network.length).get());
  rtnl_route_set_table(out.get(), route.table);
  rtnl_route_set_priority(out.get(), route.metric);
  rtnl_route_set_scope(out.get(), route.gateway ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK);
  if (route.source) rtnl_route_set_pref_src(out.get(), to_nl(*route.source).get());
  rtnl_nexthop* hop = rtnl_route_nh_alloc();
  rtnl_route_nh_set_ifindex(hop, static_cast<int>(route.interface));
  if (route.gateway) rtnl_route_nh_set_gateway(hop, to_nl(*route.gateway).get());
  rtnl_route_add_nexthop(out.get(), hop);  // takes it over
  return out;
}

RuleHandle to_nl_rule(const Rule& rule) {
  RuleHandle out(rtnl_rule_alloc());
  const bool v6 = rule.to ? rule.to->address.is_v6() : rule.from ? rule.from->address.is_v6() : rule.v6;
  rtnl_rule_set_family(out.get(), v6 ? AF_INET6 : AF_INET);
  rtnl_rule_set_table(out.get(), rule.table);
  rtnl_rule_set_prio(out.get(), rule.priority);
  rtnl_rule_set_action(out.get(), FR_ACT_TO_TBL);
  if (rule.to) rtnl_rule_set_dst(out.get(), to_nl(rule.to->network().address, rule.to->length).get());
  if (rule.from) rtnl_rule_set_src(out.get(), to_nl(rule.from->network().address, rule.from->length).get());
  if (rule.mark != 0) {
    rtnl_rule_set_mark(out.get(), rule.mark);
    rtnl_rule_set_mask(out.get(), 0xffffffff);
  }
  return out;
}

NeighHandle to_nl_neighbour(unsigned interface, const IpAddress& address) {
  NeighHandle out(rtnl_neigh_alloc());
  rtnl_neigh_set_ifindex(out.get(), static_cast<int>(interface));
  rtnl_neigh_set_dst(out.get(), to_nl(address).get());
  return out;
}

}  // namespace

struct Netlink::Socket {
  SocketHandle handle;
};

Netlink::Netlink(std::unique_ptr<Socket> socket) : socket_(std::move(socket)) {}
Netlink::Netlink(Netlink&&) noexcept = default;
Netlink& Netlink::operator=(Netlink&&) noexcept = default;
Netlink::~Netlink() = default;

Result<Netlink> Netlink::open() {
  auto socket = std::make_unique<Socket>();
  socket->handle.reset(nl_socket_alloc());
  if (!socket->handle) return netlink_error("open a netlink socket", -NLE_NOMEM);
  if (const int code = nl_connect(socket->handle.get(), NETLINK_ROUTE); code < 0)
    return netlink_error("open a netlink socket", code);
  return Netlink(std::move(socket));
}

Result<std::vector<Interface>> Netlink::interfaces() {
  nl_cache* raw = nullptr;
  if (const int code = rtnl_link_alloc_cache(socket_->handle.get(), AF_UNSPEC, &raw); code < 0)
    return netlink_error("list interfaces", code);
  const CacheHandle links(raw);
  std::vector<Interface> out;
  for_each_object(links.get(),
                  [&](nl_object* object) { out.push_back(read_interface(reinterpret_cast<rtnl_link*>(object))); });
  raw = nullptr;
  if (const int code = rtnl_addr_alloc_cache(socket_->handle.get(), &raw); code < 0)
    return netlink_error("list addresses", code);
  const CacheHandle addresses(raw);
  for_each_object(addresses.get(), [&](nl_object* object) {
    auto* entry = reinterpret_cast<rtnl_addr*>(object);
    const auto local = from_nl(rtnl_addr_get_local(entry));
    const auto index = static_cast<unsigned>(rtnl_addr_get_ifindex(entry));
    const auto owner = std::ranges::find(out, index, &Interface::index);
    if (local && owner != out.end()) owner->addresses.push_back({*local, rtnl_addr_get_prefixlen(entry)});
  });
  return out;
}

Result<Interface> Netlink::find(std::string_view name) {
  LR_ASSIGN(auto all, interfaces());
  const auto found = std::ranges::find(all, name, &Interface::name);
  if (found == all.end()) return Error{Code::kNotFound, format("there is no interface {}", name)};
  return *found;
}

Result<std::vector<Route>> Netlink::default_routes() {
  std::vector<Route> out;
  for (const int family : {AF_INET, AF_INET6}) {
    nl_cache* raw = nullptr;
    if (const int code = rtnl_route_alloc_cache(socket_->handle.get(), family, 0, &raw); code < 0) {
      if (code == -NLE_AF_NOSUPPORT) continue;
      return netlink_error("list routes", code);
    }
    const CacheHandle routes(raw);
    for_each_object(routes.get(), [&](nl_object* object) {
      if (auto route = read_default_route(reinterpret_cast<rtnl_route*>(object))) out.push_back(*route);
    });
  }
  std::ranges::stable_sort(out, {}, &Route::metric);
  return out;
}

Result<unsigned> Netlink::interface_to(const Endpoint& destination, const Endpoint& source) {
  const std::string what = format("find the way to {}", destination.text());
  nl_msg* message = nlmsg_alloc_simple(RTM_GETROUTE, 0);
  if (message == nullptr) return netlink_error(what, -NLE_NOMEM);
  rtmsg header{};
  header.rtm_family = destination.address.is_v6() ? AF_INET6 : AF_INET;
  header.rtm_dst_len = header.rtm_src_len = static_cast<unsigned char>(destination.address.bits());
  int code = nlmsg_append(message, &header, sizeof header, NLMSG_ALIGNTO);
  if (code >= 0) code = put_address(message, RTA_DST, destination.address);
  if (code >= 0) code = put_address(message, RTA_SRC, source.address);
  // Rules may tell by them.
  if (code >= 0) code = nla_put_u8(message, RTA_IP_PROTO, IPPROTO_UDP);
  if (code >= 0) code = nla_put_u16(message, RTA_SPORT, htons(source.port));
  if (code >= 0) code = nla_put_u16(message, RTA_DPORT, htons(destination.port));
  if (code >= 0) code = nl_send_auto(socket_->handle.get(), message);
  nlmsg_free(message);
  if (code < 0) return netlink_error(what, code);
  unsigned interface = 0;
  const CallbackHandle callbacks(nl_cb_clone(CallbackHandle(nl_socket_get_cb(socket_->handle.get())).get()));
  if (!callbacks) return netlink_error(what, -NLE_NOMEM);
  nl_cb_set(callbacks.get(), NL_CB_VALID, NL_CB_CUSTOM, read_interface_of_route, &interface);
  // The route, then the acknowledgement; or an error alone.
  code = nl_recvmsgs(socket_->handle.get(), callbacks.get());
  if (code >= 0) code = nl_wait_for_ack(socket_->handle.get());
  if (code < 0) return netlink_error(what, code);
  if (interface == 0) return netlink_error(what, -NLE_OBJ_NOTFOUND);
  return interface;
}

Result<void> Netlink::add_address(unsigned interface, const IpPrefix& address) {
  const AddrHandle entry = to_nl_address(interface, address);
  // Our addresses are ours by construction: waiting for duplicate detection would only delay the first packets.
  if (address.address.is_v6()) rtnl_addr_set_flags(entry.get(), IFA_F_NODAD);
  return added(format("add the address {}", address.text()),
               rtnl_addr_add(socket_->handle.get(), entry.get(), NLM_F_CREATE | NLM_F_EXCL));
}

Result<void> Netlink::remove_address(unsigned interface, const IpPrefix& address) {
  const AddrHandle entry = to_nl_address(interface, address);
  return removed(format("remove the address {}", address.text()),
                 rtnl_addr_delete(socket_->handle.get(), entry.get(), 0));
}

Result<void> Netlink::add_route(const Route& route) {
  return added(format("add the route to {}", route.destination.text()),
               rtnl_route_add(socket_->handle.get(), to_nl_route(route).get(), NLM_F_CREATE | NLM_F_REPLACE));
}

Result<void> Netlink::remove_route(const Route& route) {
  return removed(format("remove the route to {}", route.destination.text()),
                 rtnl_route_delete(socket_->handle.get(), to_nl_route(route).get(), 0));
}

Result<void> Netlink::add_rule(const Rule& rule) {
  return added("add a routing rule",
               rtnl_rule_add(socket_->handle.get(), to_nl_rule(rule).get(), NLM_F_CREATE | NLM_F_EXCL));
}

Result<void> Netlink::remove_rule(const Rule& rule) {
  return removed("remove a routing rule", rtnl_rule_delete(socket_->handle.get(), to_nl_rule(rule).get(), 0));
}

Result<void> Netlink::add_neighbour(unsigned interface, const IpAddress& address,
                                    const std::array<std::uint8_t, 6>& mac) {
  const NeighHandle entry = to_nl_neighbour(interface, address);
  const AddressHandle link(nl_addr_build(AF_LLC, mac.data(), mac.size()));
  rtnl_neigh_set_lladdr(entry.get(), link.get());
  rtnl_neigh_set_state(entry.get(), NUD_PERMANENT);
  return done(format("add the neighbour {}", address.text()),
              rtnl_neigh_add(socket_->handle.get(), entry.get(), NLM_F_CREATE | NLM_F_REPLACE));
}

Result<void> Netlink::remove_neighbour(unsigned interface, const IpAddress& address) {
  return removed(format("remove the neighbour {}", address.text()),
                 rtnl_neigh_delete(socket_->handle.get(), to_nl_neighbour(interface, address).get(), 0));
}

Result<void> Netlink::set_up(unsigned interface, bool up) {
  return done(up ? "switch an interface on" : "switch an interface off",
              change_link(socket_->handle.get(), interface, up ? unsigned{IFF_UP} : 0u, IFF_UP, 0, nullptr, 0));
}

Result<void> Netlink::set_mtu(unsigned interface, int mtu) {
  return done("set the MTU", change_link(socket_->handle.get(), interface, IFLA_MTU, mtu));
}

Result<void> Netlink::set_mac(unsigned interface, const std::array<std::uint8_t, 6>& mac) {
  return done("set the card's address", change_link(socket_->handle.get(), interface, 0, 0, IFLA_ADDRESS, mac.data(),
                                                    static_cast<int>(mac.size())));
}

Result<void> Netlink::set_queue_length(unsigned interface, int packets) {
  return done("set the queue length", change_link(socket_->handle.get(), interface, IFLA_TXQLEN, packets));
}

Result<void> Netlink::set_gso_max_size(unsigned interface, int bytes) {
  return done("set the superframe size", change_link(socket_->handle.get(), interface, IFLA_GSO_MAX_SIZE, bytes));
}

struct NetlinkWatch::Socket {
  SocketHandle handle;
};

NetlinkWatch::NetlinkWatch(std::unique_ptr<Socket> socket) : socket_(std::move(socket)) {}
NetlinkWatch::NetlinkWatch(NetlinkWatch&&) noexcept = default;
NetlinkWatch& NetlinkWatch::operator=(NetlinkWatch&&) noexcept = default;
NetlinkWatch::~NetlinkWatch() = default;

Result<NetlinkWatch> NetlinkWatch::open() {
  auto socket = std::make_unique<Socket>();
  socket->handle.reset(nl_socket_alloc());
  if (!socket->handle) return netlink_error("open a netlink socket", -NLE_NOMEM);
  nl_sock* handle = socket->handle.get();
  nl_socket_disable_seq_check(handle);
  nl_join_groups(handle, RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE);
  if (const int code = nl_connect(handle, NETLINK_ROUTE); code < 0)
    return netlink_error("watch the network's changes", code);
  nl_socket_set_nonblocking(handle);
  return NetlinkWatch(std::move(socket));
}

Result<void> NetlinkWatch::add_rules() {
  return done("watch the network's changes",
              nl_socket_add_memberships(socket_->handle.get(), RTNLGRP_IPV4_RULE, RTNLGRP_IPV6_RULE, RTNLGRP_NEXTHOP,
                                        RTNLGRP_NONE));
}

int NetlinkWatch::fd() const { return nl_socket_get_fd(socket_->handle.get()); }

bool NetlinkWatch::take_changes() {
  // What exactly changed is not looked at: the state is read anew, so a message can be lost without harm.
  bool changed = false;
  char message[8192];
  for (;;) {
    const auto size = ::recv(fd(), message, sizeof message, MSG_DONTWAIT);
    if (size <= 0 && errno == EINTR) continue;
    if (size <= 0 && errno == ENOBUFS) {
      changed = true;
      continue;
    }
    if (size <= 0) return changed;
    changed = true;
  }
}

}  // namespace lanrage::net
