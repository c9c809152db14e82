// A host whose interfaces, sockets and groups are set by hand: for tests and the simulator.
#pragma once

#include <string>
#include <utility>

#include "lan/host_view.h"

namespace lanrage::lan {

class FixedTables final : public HostTables {
 public:
  FixedTables() = default;
  explicit FixedTables(HostView view) { set(std::move(view)); }

  // What the kernel would tell from here on; a cached view keeps its age, like the real one.
  void set(HostView view) {
    actual_ = std::move(view);
    if (reads_ == 0) seen_ = actual_;
  }
  HostView& actual() { return actual_; }

  const HostView& view(Time now, Freshness freshness) override {
    if (freshness == Freshness::kNow || reads_ == 0 || now - read_ >= kAge) {
      seen_ = actual_;
      seen_.generation = static_cast<std::uint64_t>(++reads_);
      read_ = now;
    }
    return seen_;
  }
  std::string program(const LocalSocket& socket) override { return "uid " + std::to_string(socket.uid); }
  int reads() const { return reads_; }

 private:
  static constexpr Duration kAge = std::chrono::seconds(2);
  HostView actual_;
  HostView seen_;
  Time read_{};
  int reads_ = 0;
};

}  // namespace lanrage::lan
