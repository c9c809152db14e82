// TLS to relays that do not answer over UDP: the streams that the node wants, opened, and opened again when they end.
#include "daemon/node_daemon.h"

namespace lanrage::daemon {
namespace {

constexpr Duration kAgainFirst = std::chrono::seconds(1);
constexpr Duration kAgainMost = std::chrono::seconds(30);

// Port 443 first: where UDP is blocked it is the likeliest to get out.
net::TlsTarget target_of(const wire::RelayInfo& relay) {
  net::TlsTarget target;
  target.pin = *relay.stream;
  for (const Endpoint& endpoint : relay.addresses) {
    target.addresses.push_back({endpoint.address.text(), party::kHttpsPort});
    if (endpoint.port != party::kHttpsPort) target.addresses.push_back({endpoint.address.text(), endpoint.port});
  }
  return target;
}

}  // namespace

void NodeDaemon::update_streams() {
  const std::vector<wire::RelayInfo> wanted = node_->relay_streams();
  const auto is_wanted = [&](const RelayStream& stream) {
    return std::find(wanted.begin(), wanted.end(), stream.relay) != wanted.end();
  };
  // What was opened before the relay was named, or named as it is now, goes on as its stream.
  for (const wire::RelayInfo& relay : wanted) {
    const auto same = std::find_if(streams_.begin(), streams_.end(),
                                   [&](const RelayStream& s) { return s.relay.stream == relay.stream; });
    if (same == streams_.end() || is_wanted(*same)) continue;
    same->relay = relay;
    if (same->entrance) node_->handle_relay_stream(now_, relay.key, same->entrance);
  }
  for (std::size_t i = 0; i < streams_.size();) {
    if (is_wanted(streams_[i])) {
      ++i;
      continue;
    }
    const crypto::PublicKey key = streams_[i].relay.key;
    streams_.erase(streams_.begin() + static_cast<std::ptrdiff_t>(i));
    node_->handle_relay_stream(now_, key, std::nullopt);
  }
  for (const wire::RelayInfo& relay : wanted) {
    const auto same = [&](const RelayStream& stream) { return stream.relay == relay; };
    if (std::any_of(streams_.begin(), streams_.end(), same)) continue;
    streams_.push_back({.relay = relay});
    open_stream(streams_.back());
  }
}

void NodeDaemon::open_stream(RelayStream& stream) {
  if (!stream_loop_) stream_loop_ = net::IoLoop::start("relay-streams");
  stream.again = kNever;
  stream.entrance.reset();
  stream.number = ++last_stream_;
  const bool v4 = sockets_->v4() != nullptr;
  const Endpoint inside{v4 ? IpAddress::v4(127, 0, 0, 1) : *IpAddress::parse("::1"), sockets_->port()};
  net::StreamBridge::Handlers handlers;
  handlers.on_open = [this, number = stream.number](const Endpoint& entrance) {
    post([this, number, entrance] {
      RelayStream* open = stream_numbered(number);
      if (open == nullptr) return;
      open->backoff = {};
      open->entrance = entrance;
      node_->handle_relay_stream(now_, open->relay.key, entrance);
    });
  };
  handlers.on_close = [this, number = stream.number](const Error& why) {
    post([this, number, why] { stream_closed(number, why); });
  };
  stream.bridge = net::StreamBridge::open(target_of(stream.relay), inside, stream_loop_, std::move(handlers));
}

void NodeDaemon::stream_closed(std::uint64_t number, const Error& why) {
  RelayStream* stream = stream_numbered(number);
  if (stream == nullptr) return;
  log_.debug("a relay is not reached over TLS", {{"problem", why.message}});
  stream->bridge.reset();
  stream->entrance.reset();
  stream->backoff = std::clamp(stream->backoff * 2, kAgainFirst, kAgainMost);
  stream->again = now_.time + stream->backoff;
  node_->handle_relay_stream(now_, stream->relay.key, std::nullopt);
}

// From another address what was open leads nowhere.
void NodeDaemon::reopen_streams() {
  for (RelayStream& stream : streams_) stream.again = now_.time;
}

void NodeDaemon::retry_streams() {
  for (RelayStream& stream : streams_) {
    if (stream.again > now_.time) continue;
    if (stream.bridge) node_->handle_relay_stream(now_, stream.relay.key, std::nullopt);
    open_stream(stream);
  }
}

Time NodeDaemon::streams_due() const {
  Time due = kNever;
  for (const RelayStream& stream : streams_) due = std::min(due, stream.again);
  return due;
}

NodeDaemon::RelayStream* NodeDaemon::stream_numbered(std::uint64_t number) {
  const auto found =
      std::find_if(streams_.begin(), streams_.end(), [&](const RelayStream& s) { return s.number == number; });
  return found == streams_.end() ? nullptr : &*found;
}

}  // namespace lanrage::daemon
