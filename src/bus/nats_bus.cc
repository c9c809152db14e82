#include <nats/nats.h>

#include <map>
#include <mutex>
#include <vector>

#include "base/bytes.h"
#include "base/format.h"
#include "bus/bus.h"

namespace lanrage::bus {
namespace {

constexpr const char* kAll = "lr.hb";
constexpr std::int64_t kReconnectMs = 500, kReconnectJitterMs = 500, kPingMs = 10000;
constexpr int kWaitingBytesMax = 1 << 20;  // sent while no server is there: what is older is worth nothing

std::string subject_of(const party::PartyId& party) { return "lr.p." + to_hex(party.bytes()); }

// Whom the library's threads may call; it may call a closed connection's handlers a moment longer.
class Open {
 public:
  static Open& shared() {
    static Open open;
    return open;
  }
  void* add(Handlers handlers) {
    const std::lock_guard lock(mutex_);
    open_.emplace(++last_, std::move(handlers));
    return reinterpret_cast<void*>(last_);
  }
  void remove(void* which) {
    const std::lock_guard lock(mutex_);
    open_.erase(reinterpret_cast<std::uintptr_t>(which));
  }
  static void message_came(natsConnection*, natsSubscription*, natsMsg* message, void* which) {
    std::string text(natsMsg_GetData(message), static_cast<std::size_t>(natsMsg_GetDataLength(message)));
    natsMsg_Destroy(message);
    shared().call(which, [&](const Handlers& handlers) { handlers.on_message(std::move(text)); });
  }
  static void changed(natsConnection*, void* which) {
    shared().call(which, [](const Handlers& handlers) { handlers.on_gap(); });
  }
  // A reader that is too slow has lost some.
  static void failed(natsConnection*, natsSubscription*, natsStatus, void* which) { changed(nullptr, which); }

 private:
  template <class F>
  void call(void* which, F&& act) {
    const std::lock_guard lock(mutex_);
    const auto found = open_.find(reinterpret_cast<std::uintptr_t>(which));
    if (found != open_.end()) act(found->second);
  }
  std::mutex mutex_;
  std::map<std::uintptr_t, Handlers> open_;
  std::uintptr_t last_ = 0;
};

class NatsBus final : public Bus {
 public:
  NatsBus(Handlers handlers, const Logger& log) : open_(Open::shared().add(std::move(handlers))), log_(log) {}
  ~NatsBus() override {
    Open::shared().remove(open_);
    for (const auto& [party, subscription] : subscriptions_) natsSubscription_Destroy(subscription);
    natsSubscription_Destroy(all_);
    natsConnection_Destroy(connection_);
  }

  Result<void> connect(const std::string& urls) {
    std::vector<std::string> servers;
    for (std::size_t at = 0; at <= urls.size(); at = std::min(urls.find(',', at), urls.size()) + 1)
      servers.push_back(urls.substr(at, urls.find(',', at) - at));
    const Error wrong{Code::kInvalid, "the bus is no NATS URL",
                      "write it like nats://HOST:4222, several with commas between"};
    for (const std::string& server : servers) {
      const std::size_t scheme = server.find("://");
      const bool is_url = (server.starts_with("nats://") || server.starts_with("tls://")) && server.size() > scheme + 3;
      if (!is_url) return wrong;
    }
    std::vector<const char*> names;
    for (const std::string& server : servers) names.push_back(server.c_str());
    natsOptions* options = nullptr;
    natsStatus status = nats_Open(-1);
    // Else the library has a thread for every subscription.
    if (status == NATS_OK) status = nats_SetMessageDeliveryPoolSize(1);
    if (status == NATS_OK) status = natsOptions_Create(&options);
    if (status == NATS_OK) status = natsOptions_UseGlobalMessageDelivery(options, true);
    if (status == NATS_OK) status = natsOptions_SetServers(options, names.data(), static_cast<int>(names.size()));
    if (status == NATS_OK) status = natsOptions_SetNoEcho(options, true);
    if (status == NATS_OK) status = natsOptions_SetMaxReconnect(options, -1);
    if (status == NATS_OK) status = natsOptions_SetReconnectWait(options, kReconnectMs);
    if (status == NATS_OK) status = natsOptions_SetReconnectJitter(options, kReconnectJitterMs, kReconnectJitterMs);
    if (status == NATS_OK) status = natsOptions_SetReconnectBufSize(options, kWaitingBytesMax);
    if (status == NATS_OK) status = natsOptions_SetPingInterval(options, kPingMs);
    if (status == NATS_OK) status = natsOptions_SetRetryOnFailedConnect(options, true, Open::changed, open_);
    if (status == NATS_OK) status = natsOptions_SetReconnectedCB(options, Open::changed, open_);
    if (status == NATS_OK) status = natsOptions_SetDisconnectedCB(options, Open::changed, open_);
    if (status == NATS_OK) status = natsOptions_SetErrorHandler(options, Open::failed, open_);
    if (status == NATS_OK) status = natsConnection_Connect(&connection_, options);
    natsOptions_Destroy(options);
    if (status == NATS_NOT_YET_CONNECTED) {
      log_.warn("no NATS server answers yet", {});
    } else if (status != NATS_OK) {
      return status == NATS_INVALID_ARG
                 ? wrong
                 : Error{Code::kIo, format("NATS cannot be used: {}", natsStatus_GetText(status)), "see its own log"};
    }
    status = natsConnection_Subscribe(&all_, connection_, kAll, Open::message_came, open_);
    if (status != NATS_OK) return Error{Code::kIo, format("NATS cannot be used: {}", natsStatus_GetText(status))};
    return {};
  }

  void publish(const party::PartyId& party, std::string message) override { publish(subject_of(party), message); }
  void broadcast(std::string message) override { publish(kAll, message); }
  void subscribe(const party::PartyId& party) override {
    natsSubscription*& subscription = subscriptions_[party];
    if (subscription != nullptr) return;
    const std::string subject = subject_of(party);
    const natsStatus status =
        natsConnection_Subscribe(&subscription, connection_, subject.c_str(), Open::message_came, open_);
    if (status != NATS_OK) log_.warn("a party's news cannot be asked for", {{"problem", natsStatus_GetText(status)}});
  }
  void unsubscribe(const party::PartyId& party) override {
    const auto found = subscriptions_.find(party);
    if (found == subscriptions_.end()) return;
    natsSubscription_Destroy(found->second);
    subscriptions_.erase(found);
  }
  std::string problem() const override {
    return natsConnection_Status(connection_) == NATS_CONN_STATUS_CONNECTED ? "" : "no NATS server answers";
  }
  const char* kind() const override { return "nats"; }

 private:
  void publish(const std::string& subject, const std::string& message) {
    natsConnection_Publish(connection_, subject.c_str(), message.data(), static_cast<int>(message.size()));
  }

  void* const open_;
  const Logger log_;
  natsConnection* connection_ = nullptr;
  natsSubscription* all_ = nullptr;
  std::map<party::PartyId, natsSubscription*> subscriptions_;
};

}  // namespace

Result<std::unique_ptr<Bus>> open_nats_bus(const std::string& urls, Handlers handlers, const Logger& log) {
  auto bus = std::make_unique<NatsBus>(std::move(handlers), log.named("bus"));
  LR_TRY(bus->connect(urls));
  return std::unique_ptr<Bus>(std::move(bus));
}

}  // namespace lanrage::bus
