#include <atomic>
#include <chrono>

#include "bus/bus.h"

namespace lanrage::bus {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kNeeded = std::chrono::seconds(10);  // after the last message over the reserve

class BusWithReserve final : public Bus {
 public:
  Result<void> open(const Opener& main, const Opener& reserve, const Handlers& handlers) {
    LR_ASSIGN(main_, main(handlers));
    Handlers noting = handlers;
    noting.on_message = [this, on_message = handlers.on_message](std::string message) {
      heard_ = Clock::now().time_since_epoch();
      on_message(std::move(message));
    };
    LR_ASSIGN(reserve_, reserve(noting));
    return {};
  }

  void publish(const party::PartyId& party, std::string message) override {
    if (is_reserve_needed()) reserve_->publish(party, message);
    main_->publish(party, std::move(message));
  }
  void broadcast(std::string message) override {
    if (is_reserve_needed()) reserve_->broadcast(message);
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
  bool is_reserve_needed() const {
    return !main_->problem().empty() || Clock::now().time_since_epoch() - heard_.load() < kNeeded;
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
