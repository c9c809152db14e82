#include "tun/writer.h"

#include <algorithm>

namespace lanrage::tun {
namespace {

CoalescerOptions restrict_to(const AdapterInfo& info, CoalescerOptions options) {
  options.tcp = options.tcp && info.tcp_offload;
  options.udp = options.udp && info.udp_offload;
  return options;
}

}  // namespace

Writer::Writer(Adapter& adapter, CoalescerOptions options)
    : adapter_(adapter), coalescer_(restrict_to(adapter.info(), options)) {}

void Writer::add(ByteView packet, bool mergeable) {
  if (coalescer_.add(packet, mergeable)) return;
  const IoStatus status = flush();
  note(status);
  coalescer_.add(packet, mergeable);
}

IoStatus Writer::flush() {
  const bool merging = coalescer_.options().tcp || coalescer_.options().udp;
  const std::uint64_t refused = stats_.refused;
  coalescer_.flush([this](const Frame& frame) { write(frame); });
  if (merging && stats_.refused != refused) {
    CoalescerOptions options = coalescer_.options();
    options.tcp = options.udp = false;
    coalescer_.set_options(options);
  }
  return std::exchange(worst_, IoStatus::kOk);
}

void Writer::write(const Frame& frame) {
  const IoStatus status = adapter_.write(frame.vnet, frame.pieces);
  if (status == IoStatus::kRefused && frame.packets.size() > 1) {
    ++stats_.refused;
    write_singly(frame);
    return;
  }
  ++(status == IoStatus::kOk ? stats_.frames : stats_.dropped);
  note(status);
}

void Writer::write_singly(const Frame& frame) {
  for (const ByteView& packet : frame.packets) {
    const IoStatus status = adapter_.write({}, std::span(&packet, 1));
    ++(status == IoStatus::kOk ? stats_.frames : stats_.dropped);
    note(status);
  }
}

void Writer::note(IoStatus status) {
  // A single packet that the kernel refuses is the sender's malformed one: dropped, counted, no news about the card.
  if (status != IoStatus::kRefused) worst_ = std::max(worst_, status);
}

}  // namespace lanrage::tun
