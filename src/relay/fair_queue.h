// What was received and waits to be forwarded, handed out party by party: deficit round robin (Shreedhar and Varghese,
// 1995). Who floods waits behind itself, and when there is no room the party with most in here loses its oldest.
//
// Items are numbers below `items_max`, each in here at most once: the driver's buffers. Nothing is allocated after the
// constructor. Pure; owned by one thread.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace lanrage::relay {

class FairQueue {
 public:
  using Item = std::uint16_t;
  static constexpr std::uint32_t kQuantum = 4096;  // of cost, for each party in its turn

  explicit FairQueue(std::size_t items_max);

  // `cost` is what forwarding it takes, in any unit that is the same for all.
  void push(std::uint32_t party, Item item, std::uint32_t cost);
  std::optional<Item> pop();
  std::optional<Item> drop();  // the oldest of the party with the highest cost waiting
  bool empty() const { return parties_.empty(); }
  std::uint32_t cost_of(Item item) const { return cost_[item]; }
  bool is_consistent() const;

 private:
  struct Party {
    std::uint32_t party = 0;
    Item first = 0, last = 0;
    std::uint32_t deficit = 0;
    std::uint64_t waiting = 0;  // cost
  };
  Item take_first(std::size_t place);

  std::vector<Item> next_;  // of the same party
  std::vector<std::uint32_t> cost_;
  std::vector<Party> parties_;  // those with something waiting, in the order of their turns
  std::size_t turn_ = 0;
};

}  // namespace lanrage::relay
