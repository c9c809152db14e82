#include <atomic>
#include <chrono>
#include <optional>

#include "bus/bus.h"

namespace lanrage::bus {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kNeeded = std::chrono::seconds(5);  // after the last message of somebody in need
// What a message begins with that goes over the reserve for the sake of others; its sender has the main bus. It must
// not keep anybody using the reserve, else all would keep each other at it for ever. Whoever reads JSON does not see
// it.
constexpr char kForOthers = ' ';

class BusWithReserve final : public Bus {
 public:
  Result<void> open(const Opener& main, const Opener& reserve, const Handlers& handlers) {
    LR_ASSIGN(main_, main(handlers));
    Handlers noting = handlers;
    noting.on_message = [this, on_message = handlers.on_message](std::string message) {
      if (!message.starts_with(kForOthers)) heard_ = Clock::now().time_since_epoch();
      on_message(std::move(message));
    };
    LR_ASSIGN(reserve_, reserve(noting));
    return {};
  }

  void publish(const party::PartyId& party, std::string message) override {
    if (const auto mark = reserve_mark()) reserve_->publish(party, *mark + message);
    main_->publish(party, std::move(message));
  }
  void broadcast(std::string message) override {
    if (const auto mark = reserve_mark()) reserve_->broadcast(*mark + message);
    main_->broadcast(std::move(message));
  }
  void subscribe(const party::PartyId& party) override {
    reserve_->subscribe(party);
    main_->subscribe(party);
  }
  void unsubscribe(const party::PartyId& party) override {
    reserve_->unsubscribe(party);
    main_->unsubscribe(party);
  }
  std::string problem() const override { return main_->problem(); }
  const char* kind() const override { return main_->kind(); }

 private:
  // What goes before a message over the reserve; none: it is not needed.
  std::optional<std::string> reserve_mark() const {
    if (!main_->problem().empty()) return "";
    if (Clock::now().time_since_epoch() - heard_.load() < kNeeded) return std::string(1, kForOthers);
    return std::nullopt;
  }
  std::atomic<Clock::duration> heard_{-kNeeded};
  std::unique_ptr<Bus> main_, reserve_;  // the last: they call the handlers
};

}  // namespace

Result<std::unique_ptr<Bus>> open_bus_with_reserve(const Opener& main, const Opener& reserve, Handlers handlers) {
  auto bus = std::make_unique<BusWithReserve>();
  LR_TRY(bus->open(main, reserve, handlers));
  return std::unique_ptr<Bus>(std::move(bus));
}

}  // namespace lanrage::bus
