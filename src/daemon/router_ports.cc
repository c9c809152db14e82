#include "daemon/router_ports.h"

#include <algorithm>

#include "net/clock.h"

namespace lanrage::daemon {
namespace {

constexpr Duration kGoodbye = std::chrono::milliseconds(500);
constexpr Duration kHttpTimeout = std::chrono::seconds(3);
constexpr std::size_t kDatagramsAtOnce = 8;
constexpr std::uint64_t kAnswersTag = kRouterPortsTag + 3;

}  // namespace

std::optional<RouterFound> find_router(net::Netlink& netlink) {
  const auto routes = netlink.default_routes();
  const auto interfaces = netlink.interfaces();
  if (!routes || !interfaces) return std::nullopt;
  const auto gateway =
      std::find_if(routes->begin(), routes->end(), [](const net::Route& r) { return r.gateway && r.gateway->is_v4(); });
  if (gateway == routes->end()) return std::nullopt;
  for (const net::Interface& interface : *interfaces) {
    if (interface.index != gateway->interface) continue;
    for (const IpPrefix& address : interface.addresses) {
      if (address.contains(*gateway->gateway) && address.address.is_private())
        return RouterFound{{*gateway->gateway, address.address}, interface.index};
    }
  }
  return std::nullopt;
}

Result<std::unique_ptr<RouterPorts>> RouterPorts::create(net::Poller& poller, ByteView secret, Rng& rng,
                                                         const Logger& log) {
  LR_ASSIGN(auto event, net::Event::create());
  auto answers = std::make_unique<net::Queue<Answered>>(std::move(event), kAnswersMax);
  LR_TRY(poller.add(answers->fd(), kAnswersTag));
  return std::unique_ptr<RouterPorts>(new RouterPorts(poller, std::move(answers), secret, rng, log));
}

RouterPorts::RouterPorts(net::Poller& poller, std::unique_ptr<net::Queue<Answered>> answers, ByteView secret, Rng& rng,
                         const Logger& log)
    : poller_(poller), log_(log), mapper_(secret, rng), answers_(std::move(answers)) {}

RouterPorts::~RouterPorts() {
  poller_.remove(answers_->fd());
  for (const auto& socket : sockets_)
    if (socket) poller_.remove(socket->fd());
  auto waiting = net::Poller::create();
  if (!router_ || !waiting || !waiting->add(answers_->fd(), kAnswersTag)) return;
  if (auto& asking = sockets_[kAsking]; !asking || !waiting->add(asking->fd(), kRouterPortsTag)) return;
  Time now = net::now().time;
  const Time until = now + kGoodbye;
  for (want(now, *router_, {}); !mapper_.is_idle() && now < until; now = net::now().time) {
    const Time due = std::min(until, mapper_.next_timeout().value_or(kNever));
    for (const net::Ready& ready : waiting->wait(now, due)) handle_ready(net::now().time, ready);
    handle_timeout(net::now().time);
  }
}

void RouterPorts::want(Time now, const RouterFound& router, std::vector<paths::PortToMap> ports) {
  if (!ports.empty() && router_ != router) open(router);
  mapper_.want(now, {router.place, std::move(ports)});
  send();
}

// The router answers to the address that it is asked from, and groups are asked by that address's interface.
void RouterPorts::open(const RouterFound& router) {
  router_ = router;
  for (auto& socket : sockets_) socket.reset();  // epoll forgets what is closed
  net::UdpOptions options;
  options.segmentation = options.coalescing = false;
  options.receive_buffer = options.send_buffer = 64 * 1024;
  const auto bind = [&](Socket which, const Endpoint& endpoint) -> Result<void> {
    options.bind = endpoint;
    options.share_group = which != kAsking;
    LR_ASSIGN(auto socket, net::UdpSocket::open(options));
    LR_TRY(poller_.add(socket.fd(), kRouterPortsTag + which));
    sockets_[which].emplace(std::move(socket));
    return {};
  };
  if (const auto bound = bind(kAsking, {router.place.self, 0}); !bound)
    log_.warn("the router cannot be asked for ports", {{"problem", bound.error().message}});
  // Without these a router that restarts is noticed only when a mapping is renewed.
  member_.emplace(router.interface);
  auto heard = member_->join(wire::kSsdpGroup);
  if (heard) heard = bind(kNotices, {wire::kSsdpGroup, wire::kSsdpPort});
  if (heard) heard = bind(kRestarts, {wire::kPortControlGroup, wire::kPortControlHearers});
  if (!heard) log_.debug("the router's announcements are not heard", {{"problem", heard.error().message}});
}

void RouterPorts::handle_ready(Time now, const net::Ready& ready) {
  if (ready.tag < kRouterPortsTag || ready.tag > kAnswersTag) return;
  if (ready.tag == kAnswersTag) {
    take_answers(now);
  } else {
    receive(now, static_cast<Socket>(ready.tag - kRouterPortsTag));
  }
  send();
}

void RouterPorts::handle_timeout(Time now) {
  mapper_.handle_timeout(now);
  send();
}

void RouterPorts::receive(Time now, Socket which) {
  if (!sockets_[which]) return;
  std::array<std::array<std::uint8_t, wire::kSsdpBytesMax>, kDatagramsAtOnce> memory;
  std::array<net::ReceiveSlot, kDatagramsAtOnce> slots;
  for (std::size_t i = 0; i < slots.size(); ++i) slots[i].buffer = memory[i];
  const std::size_t count = sockets_[which]->receive(slots);
  for (std::size_t i = 0; i < count; ++i) {
    if (slots[i].truncated) continue;
    if (which == kAsking) {
      mapper_.handle_packet(now, slots[i].source, slots[i].bytes());
    } else {
      mapper_.handle_announcement(now, slots[i].source, slots[i].bytes());
    }
  }
}

void RouterPorts::take_answers(Time now) {
  std::vector<Answered> answers;
  answers_->drain(answers);
  for (const Answered& one : answers) {
    clients_.erase(one.id);
    mapper_.handle_http(now, one.id, one.answer);
  }
}

void RouterPorts::send() {
  while (const auto datagram = mapper_.poll_datagram()) {
    if (sockets_[kAsking])
      sockets_[kAsking]->send(net::SendItem{.destination = datagram->to, .bytes = datagram->bytes});
  }
  while (const auto http = mapper_.poll_http()) send(*http);
}

void RouterPorts::send(const paths::PortOutbox::Http& http) {
  if (!loop_) loop_ = net::IoLoop::start("router");
  net::HttpClient::Options options;
  options.response_bytes_max = wire::kIgdBytesMax;
  options.connect_timeout = kHttpTimeout;
  options.loop = loop_;
  auto& client = clients_[http.id];
  client = net::HttpClient::create(net::TcpTarget{http.url.endpoint}, std::move(options), log_);
  net::HttpRequest request;
  request.target = http.url.target;
  if (!http.action.empty()) {
    request.method = "POST";
    request.headers = {{"Content-Type", "text/xml; charset=\"utf-8\""}, {"SOAPAction", http.action}};
    request.body = http.body;
  }
  client->request(std::move(request), kHttpTimeout, [this, id = http.id](Result<net::HttpResponse> response) {
    Answered answered{id, std::nullopt};
    if (response) answered.answer = paths::HttpAnswer{response->status, std::move(response->body)};
    answers_->push(std::move(answered));
  });
}

// --- what comes of it ----------------------------------------------------------------------------------------------

std::vector<paths::PortToMap> server_ports(const control::Server& server) {
  using enum paths::PortTransport;
  const std::uint16_t port = server.listening().front().port;
  std::vector<paths::PortToMap> ports = {{kTcp, port}, {kUdp, port}};
  if (const std::uint16_t second = server.second_udp_port(); second != 0) ports.push_back({kUdp, second});
  return ports;
}

control::Server::Mapped mapped_server(const control::Server& server, const paths::PortMapper::Outcome& outcome) {
  using enum paths::PortTransport;
  const std::uint16_t port = server.listening().front().port;
  return {outcome.outside_of({kTcp, port}), outcome.outside_of({kUdp, port}),
          outcome.outside_of({kUdp, server.second_udp_port()})};
}

wire::Json router_json(const paths::PortMapper::Outcome& outcome, const paths::PortToMap& port, Time now,
                       const std::string& words) {
  using wire::Json;
  const auto text_or_null = [](const std::string& text) { return text.empty() ? Json() : Json(text); };
  Json outside, lifetime;
  for (const paths::PortMapping& mapping : outcome.mappings) {
    if (mapping.inside != port) continue;
    outside = mapping.outside.text();
    if (mapping.until != kNever)
      lifetime = std::chrono::duration_cast<std::chrono::seconds>(mapping.until - now).count();
  }
  Json methods = Json::object();
  for (std::size_t i = 0; i < paths::kPortMethods; ++i) {
    const paths::PortMapper::Method& method = outcome.methods[i];
    methods.set(paths::port_method_name(static_cast<paths::PortMethod>(i)), paths::port_state_name(method.state));
  }
  return Json::object({{"port", port.port},
                       {"by", outcome.by ? Json(paths::port_method_name(*outcome.by)) : Json()},
                       {"outside", std::move(outside)},
                       {"lifetime_s", std::move(lifetime)},
                       {"address", outcome.address ? Json(outcome.address->text()) : Json()},
                       {"problem", text_or_null(outcome.problem)},
                       {"methods", std::move(methods)},
                       {"words", text_or_null(words)}});
}

}  // namespace lanrage::daemon
