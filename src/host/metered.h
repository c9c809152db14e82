// Whether this machine's network is metered, as NetworkManager says over the system bus (its property Metered).
//
// Asks on a thread of its own, since the bus may take long. A machine without NetworkManager, or without a bus, is not
// known to be on a metered network.
#pragma once

#include <functional>
#include <memory>

#include "base/time.h"

namespace lanrage::host {

class MeteredWatch {
 public:
  static constexpr Duration kAskEvery = std::chrono::seconds(30);

  // `changed` is called on another thread with every answer that differs from the one before (false to begin with),
  // must not block, and is not called any more once the destructor returned.
  explicit MeteredWatch(std::function<void(bool metered)> changed);
  ~MeteredWatch();
  MeteredWatch(const MeteredWatch&) = delete;
  MeteredWatch& operator=(const MeteredWatch&) = delete;

 private:
  class Worker;
  std::shared_ptr<Worker> worker_;
};

}  // namespace lanrage::host
