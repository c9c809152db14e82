#include "dataplane/sealed_batch.h"

#include <algorithm>

#include "base/check.h"

namespace lanrage::dataplane {

SealedBatch::SealedBatch(net::UdpPair& sockets) : sockets_(sockets), slab_(new std::uint8_t[kSlabBytes]) {}

void SealedBatch::set_extra(std::shared_ptr<const ExtraSockets> extra) {
  extra_ = extra ? std::move(extra) : std::make_shared<ExtraSockets>();
}

std::size_t SealedBatch::segments_max(const Run& run) {
  std::size_t most = run.segment > 0xffff ? 1 : kSlabBytes;
  for (std::uint32_t i = 0; i < run.path_count; ++i) {
    net::UdpSocket* socket = socket_of(run.paths[i], sockets_, *extra_);
    most = std::min(most, socket != nullptr ? socket->segments_max(run.segment) : 1);
  }
  return most;
}

bool SealedBatch::add(std::uint32_t key, std::span<const Path> paths, std::size_t size) {
  LR_DCHECK(size <= kDatagramMax && paths.size() <= kPathsMax);
  Run* last = runs_used_ > 0 ? &runs_[runs_used_ - 1] : nullptr;
  if (last != nullptr && last->segments_left > 0 && last->key == key && size <= last->segment &&
      std::equal(paths.begin(), paths.end(), last->paths.begin(), last->paths.begin() + last->path_count)) {
    last->size += size;
    last->segments_left = size < last->segment ? 0 : last->segments_left - 1;  // a shorter one ends the run
  } else {
    Run& run = runs_[runs_used_++];
    run.key = key;
    run.path_count = static_cast<std::uint32_t>(paths.size());
    std::copy(paths.begin(), paths.end(), run.paths.begin());
    run.begin = used_;
    run.size = size;
    run.segment = size;
    run.segments_left = segments_max(run) - 1;
  }
  used_ += size;
  return used_ >= kFlushBytes || runs_used_ == kRunsMax;
}

void SealedBatch::flush() {
  std::array<net::SendItem, kRunsMax * kPathsMax> items;
  std::size_t count = 0;
  for (const Run& run : std::span(runs_).first(runs_used_))
    for (std::uint32_t i = 0; i < run.path_count; ++i) {
      const Path& path = run.paths[i];
      net::SendItem& item = items[count];
      item = {};
      item.destination = path.endpoint;
      item.bytes = ByteView(slab_.get() + run.begin, run.size);
      item.segment_size = run.size > run.segment ? static_cast<std::uint16_t>(run.segment) : std::uint16_t{0};
      if (path.socket == 0)
        ++count;
      else if (net::UdpSocket* extra = socket_of(path, sockets_, *extra_))
        send(std::span(&item, 1), extra);
      else
        ++totals_.failed;
    }
  send(std::span(items).first(count), nullptr);
  runs_used_ = 0;
  used_ = 0;
}

void SealedBatch::send(std::span<const net::SendItem> items, net::UdpSocket* extra) {
  const net::SendReport report = extra != nullptr ? extra->send(items) : sockets_.send(items);
  totals_.sends += items.size();
  totals_.datagrams += report.sent;
  totals_.congested += report.congested;
  totals_.too_big += report.too_big;
  totals_.failed += report.failed;
}

}  // namespace lanrage::dataplane
