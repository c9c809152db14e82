#include "relay/fair_queue.h"

#include <algorithm>

#include "base/check.h"

namespace lanrage::relay {

FairQueue::FairQueue(std::size_t items_max) : next_(items_max), cost_(items_max) { parties_.reserve(items_max); }

void FairQueue::push(std::uint32_t party, Item item, std::uint32_t cost) {
  LR_DCHECK(item < next_.size());
  cost_[item] = cost;
  const auto found =
      std::find_if(parties_.begin(), parties_.end(), [&](const Party& one) { return one.party == party; });
  if (found == parties_.end()) {
    parties_.push_back({party, item, item, 0, cost});
    return;
  }
  next_[found->last] = item;
  found->last = item;
  found->waiting += cost;
}

std::optional<FairQueue::Item> FairQueue::pop() {
  if (parties_.empty()) return std::nullopt;
  for (;;) {
    if (turn_ >= parties_.size()) turn_ = 0;
    Party& party = parties_[turn_];
    if (party.deficit >= cost_[party.first]) {
      party.deficit -= cost_[party.first];
      return take_first(turn_);
    }
    party.deficit += kQuantum;
    ++turn_;
  }
}

std::optional<FairQueue::Item> FairQueue::drop() {
  if (parties_.empty()) return std::nullopt;
  const auto most = std::max_element(parties_.begin(), parties_.end(),
                                     [](const Party& a, const Party& b) { return a.waiting < b.waiting; });
  return take_first(static_cast<std::size_t>(most - parties_.begin()));
}

FairQueue::Item FairQueue::take_first(std::size_t place) {
  Party& party = parties_[place];
  const Item item = party.first;
  party.waiting -= cost_[item];
  if (item != party.last) {
    party.first = next_[item];
    return item;
  }
  parties_.erase(parties_.begin() + static_cast<std::ptrdiff_t>(place));  // what it saved up is gone with it
  if (place < turn_) --turn_;
  return item;
}

bool FairQueue::is_consistent() const {
  std::size_t items = 0;
  for (const Party& party : parties_) {
    std::uint64_t waiting = 0;
    for (Item item = party.first;; item = next_[item]) {
      waiting += cost_[item];
      if (++items > next_.size()) return false;
      if (item == party.last) break;
    }
    if (waiting != party.waiting) return false;
  }
  return true;
}

}  // namespace lanrage::relay
