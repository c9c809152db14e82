#include "net/port_map.h"

#include <miniupnpc/miniupnpc.h>
#include <miniupnpc/upnpcommands.h>
#include <miniupnpc/upnperrors.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

#include "base/format.h"

namespace lanrage::net {
namespace {

using Clock = std::chrono::steady_clock;

// Routers answer within MX seconds (UPnP Device Architecture 1.1, 1.3.3), which is one here.
constexpr int kDiscoveryMs = 1000;
constexpr auto kGoodbye = std::chrono::milliseconds(1500);
constexpr unsigned char kTtl = 2;
// Error codes of AddPortMapping (WANIPConnection:1, 2.4.16).
constexpr int kConflict = 718;
constexpr int kOnlyPermanent = 725;

const char* transport_name(Transport transport) { return transport == Transport::kUdp ? "UDP" : "TCP"; }

std::string refusal(int code) {
  const char* text = strupnperror(code);
  return text == nullptr ? format("error {}", code) : std::string(text);
}

// The router's UPnP service, found and believed.
class Gateway {
 public:
  Gateway() = default;
  Gateway(const Gateway&) = delete;
  Gateway& operator=(const Gateway&) = delete;
  ~Gateway() { forget(); }

  // False when nobody at this address speaks UPnP.
  bool find(const IpAddress& gateway, const IpAddress& self) {
    forget();
    static const char* const kinds[] = {"urn:schemas-upnp-org:device:InternetGatewayDevice:1",
                                        "urn:schemas-upnp-org:device:InternetGatewayDevice:2", nullptr};
    int error = 0;
    const std::unique_ptr<UPNPDev, decltype(&freeUPNPDevlist)> devices(
        upnpDiscoverDevices(kinds, kDiscoveryMs, self.text().c_str(), nullptr, UPNP_LOCAL_PORT_ANY, 0, kTtl, &error, 1),
        &freeUPNPDevlist);
    for (const UPNPDev* device = devices.get(); device != nullptr && !found_; device = device->pNext) {
      if (!url_is_at(device->descURL, gateway)) continue;
      held_ = UPNP_GetIGDFromUrl(device->descURL, &urls_, &data_, self_, sizeof self_) == 1;
      // The description may name another place for the commands, and must not.
      found_ = held_ && urls_.controlURL != nullptr && url_is_at(urls_.controlURL, gateway);
      if (!found_) forget();
    }
    return found_;
  }

  bool connected() { return UPNPIGD_IsConnected(&urls_, &data_) == 1; }

  std::string external_text() const {
    char text[64] = {};
    return UPNP_GetExternalIPAddress(urls_.controlURL, data_.first.servicetype, text) == UPNPCOMMAND_SUCCESS ? text
                                                                                                             : "";
  }

  // 0, or why not.
  int add(const PortToMap& inside, std::uint16_t outside) const {
    const auto lease = std::chrono::duration_cast<std::chrono::seconds>(PortMap::kLease).count();
    const int code = add_for(inside, outside, std::to_string(lease));
    return code == kOnlyPermanent ? add_for(inside, outside, "0") : code;
  }

  void remove(const PortMapping& mapping) const {
    UPNP_DeletePortMapping(urls_.controlURL, data_.first.servicetype, std::to_string(mapping.outside.port).c_str(),
                           transport_name(mapping.inside.transport), nullptr);
  }

 private:
  int add_for(const PortToMap& inside, std::uint16_t outside, const std::string& lease_s) const {
    return UPNP_AddPortMapping(urls_.controlURL, data_.first.servicetype, std::to_string(outside).c_str(),
                               std::to_string(inside.port).c_str(), self_, "LANrage", transport_name(inside.transport),
                               nullptr, lease_s.c_str());
  }

  void forget() {
    if (held_) FreeUPNPUrls(&urls_);
    urls_ = {};
    data_ = {};
    held_ = found_ = false;
  }

  UPNPUrls urls_{};
  IGDdatas data_{};
  char self_[64] = {};
  bool held_ = false;
  bool found_ = false;
};

}  // namespace

class PortMap::Worker {
 public:
  explicit Worker(std::function<void(Outcome)> changed) : changed_(std::move(changed)) {}

  void want(Wanted wanted) {
    const std::lock_guard lock(mutex_);
    wanted_ = std::move(wanted);
    wanted_.ports.resize(std::min(wanted_.ports.size(), kPortsMax));
    asked_ = true;
    wake_.notify_all();
  }

  void stop() {
    std::unique_lock lock(mutex_);
    stopping_ = true;
    wake_.notify_all();
    wake_.wait_for(lock, kGoodbye, [this] { return ended_; });
  }

  void run() {
    std::optional<Clock::time_point> renewal;
    std::unique_lock lock(mutex_);
    while (!stopping_) {
      if (!asked_ && !(renewal && Clock::now() >= *renewal)) {
        renewal ? void(wake_.wait_until(lock, *renewal)) : wake_.wait(lock);
        continue;
      }
      asked_ = false;
      Outcome outcome{.wanted = wanted_};
      lock.unlock();
      attempt(outcome);
      // A router that restarted has forgotten us and may take a while; one that refused is left alone.
      const bool again = !mappings_.empty() || (renewal && !outcome.wanted.ports.empty());
      renewal = again ? std::optional(Clock::now() + kRenewal) : std::nullopt;
      lock.lock();
      if (!stopping_ && !asked_) changed_(std::move(outcome));
    }
    lock.unlock();
    for (const PortMapping& mapping : mappings_) gateway_.remove(mapping);
    lock.lock();
    ended_ = true;
    wake_.notify_all();
  }

 private:
  // Fills in what comes of `outcome.wanted`.
  void attempt(Outcome& outcome) {
    const Wanted& wanted = outcome.wanted;
    const bool elsewhere = wanted.gateway != asked_at_;
    for (auto it = mappings_.begin(); it != mappings_.end();) {
      const bool kept =
          !elsewhere && std::find(wanted.ports.begin(), wanted.ports.end(), it->inside) != wanted.ports.end();
      if (!kept && !elsewhere) gateway_.remove(*it);
      it = kept ? it + 1 : mappings_.erase(it);
    }
    if (wanted.ports.empty()) return;
    asked_at_ = wanted.gateway;
    const std::vector<PortMapping> before = std::exchange(mappings_, {});
    if (!gateway_.find(wanted.gateway, wanted.self)) {
      outcome.problem = "the router does not speak UPnP";
      return;
    }
    outcome.speaks = true;
    const std::string said = gateway_.external_text();
    const auto address = IpAddress::parse(said);
    if (address && !address->is_unspecified()) outcome.address = *address;
    const auto external = external_address(said);
    const bool connected = gateway_.connected();
    outcome.offline = !connected || !external;
    if (!connected) {
      outcome.problem = "the router says that it is not connected";
      return;
    }
    if (!external) {
      outcome.problem = "the router has no public address itself";
      return;
    }
    for (const PortToMap& port : wanted.ports) open(port, *external, before, outcome);
    outcome.mappings = mappings_;
  }

  void open(const PortToMap& port, const IpAddress& external, const std::vector<PortMapping>& before,
            Outcome& outcome) {
    // The port outside that it had before, else the same as inside, else the next that nobody holds.
    const auto had = std::find_if(before.begin(), before.end(), [&](const auto& m) { return m.inside == port; });
    std::uint16_t outside = had == before.end() ? port.port : had->outside.port;
    int code = 0;
    for (int i = 0; i < kPortsTried; ++i, ++outside) {
      code = gateway_.add(port, outside);
      if (code == 0) {
        mappings_.push_back({port, {external, outside}});
        return;
      }
      if (code != kConflict) break;
    }
    outcome.problem = format("the router refuses: {}", refusal(code));
  }

  const std::function<void(Outcome)> changed_;
  std::mutex mutex_;
  std::condition_variable wake_;
  // Under the mutex.
  Wanted wanted_;
  bool asked_ = false;
  bool stopping_ = false;
  bool ended_ = false;
  // The thread's own.
  Gateway gateway_;
  IpAddress asked_at_;
  std::vector<PortMapping> mappings_;
};

// The thread may be inside the library for longer than anybody wants to wait for it: it holds what it needs itself.
PortMap::PortMap(std::function<void(Outcome)> changed) : worker_(std::make_shared<Worker>(std::move(changed))) {
  std::thread([worker = worker_] { worker->run(); }).detach();
}

PortMap::~PortMap() { worker_->stop(); }

void PortMap::want(Wanted wanted) { worker_->want(std::move(wanted)); }

std::optional<IpAddress> external_address(std::string_view text) {
  const auto address = IpAddress::parse(text);
  const bool usable = address && address->is_v4() && !address->is_unspecified() && !address->is_loopback() &&
                      !address->is_multicast() && !address->is_link_local() && !address->is_limited_broadcast() &&
                      !address->is_private();
  return usable ? address : std::nullopt;
}

bool url_is_at(std::string_view url, const IpAddress& address) {
  constexpr std::string_view kScheme = "http://";
  if (url.substr(0, kScheme.size()) != kScheme) return false;
  url.remove_prefix(kScheme.size());
  const std::string_view authority = url.substr(0, url.find_first_of("/?#"));
  const std::string_view host = authority.substr(0, authority.find(':'));
  const std::string_view port = authority.substr(host.size());
  return host == address.text() &&
         std::all_of(port.begin() + (port.empty() ? 0 : 1), port.end(), [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace lanrage::net
