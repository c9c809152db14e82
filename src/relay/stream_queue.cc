#include "relay/stream_queue.h"

#include <algorithm>

#include "wire/relay_stream.h"

namespace lanrage::relay {
void StreamQueue::push(Time now, ByteView datagram) {
  if (datagram.empty() || datagram.size() > wire::kRelayStreamDatagramMax) {
    ++stats_.dropped_size;
    return;
  }
  Lane& lane = datagram.size() <= kStreamSmallMax ? small_ : large_;
  lane.waiting.push_back({now, to_bytes(datagram)});
  lane.bytes += datagram.size() + kStreamWaitingCost;
  while (small_.bytes + large_.bytes > kStreamBytesMax) {
    pop(large_.bytes != 0 ? large_ : small_);
    ++stats_.dropped_full;
  }
}

void StreamQueue::take(Time now, std::size_t bytes, Bytes& out) {
  drop_old(now, small_);
  drop_old(now, large_);
  const std::size_t before = out.size();
  for (Lane* lane : {&small_, &large_}) {
    while (!lane->waiting.empty()) {
      const Bytes& datagram = lane->waiting.front().datagram;
      const std::size_t with = out.size() - before + wire::kRelayStreamHeaderBytes + datagram.size();
      if (out.size() != before && with > bytes) return;
      wire::append_relay_stream_frame(out, datagram);
      pop(*lane);
      ++stats_.sent;
    }
  }
}

void StreamQueue::pop(Lane& lane) {
  lane.bytes -= lane.waiting.front().datagram.size() + kStreamWaitingCost;
  lane.waiting.pop_front();
}

void StreamQueue::drop_old(Time now, Lane& lane) {
  while (!lane.waiting.empty() && now - lane.waiting.front().since > kStreamAgeMax) {
    pop(lane);
    ++stats_.dropped_old;
  }
}

std::size_t StreamWindow::allowance(Time now, Duration rtt, Duration least_rtt, std::size_t unacknowledged) {
  if (now - changed_ >= std::max<Duration>(rtt, std::chrono::milliseconds(10))) {
    const Duration most = least_rtt + kStanding;
    if (rtt > most) {
      const double share = std::chrono::duration<double>(most) / std::chrono::duration<double>(rtt);
      bytes_ = std::max(kLeast, static_cast<std::size_t>(static_cast<double>(bytes_) * share));
    } else if (was_short_) {
      bytes_ = std::min(kMost, bytes_ + bytes_ / 4);
    }
    was_short_ = false;
    changed_ = now;
  }
  if (unacknowledged < bytes_) return bytes_ - unacknowledged;
  was_short_ = true;
  return 0;
}

}  // namespace lanrage::relay
