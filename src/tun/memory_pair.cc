#include "tun/memory_pair.h"

#include <algorithm>
#include <deque>
#include <mutex>

#include "net/event.h"

namespace lanrage::tun {
namespace {

struct StoredFrame {
  VnetHeader vnet;
  Bytes packet;
};

// One direction.
class Wire {
 public:
  explicit Wire(net::Event event) : event_(std::move(event)) {}

  bool push(StoredFrame frame) {
    const std::lock_guard lock(mutex_);
    if (frames_.size() >= kMemoryPairFramesMax) return false;
    frames_.push_back(std::move(frame));
    event_.signal();
    return true;
  }

  bool pop(StoredFrame& frame) {
    const std::lock_guard lock(mutex_);
    if (frames_.empty()) return false;
    frame = std::move(frames_.front());
    frames_.pop_front();
    if (frames_.empty()) event_.clear();
    return true;
  }

  int fd() const { return event_.fd(); }

 private:
  net::Event event_;
  std::mutex mutex_;
  std::deque<StoredFrame> frames_;
};

class MemoryAdapter final : public Adapter {
 public:
  MemoryAdapter(AdapterInfo info, bool refuse_merged, std::shared_ptr<Wire> in, std::shared_ptr<Wire> out)
      : info_(std::move(info)), refuse_merged_(refuse_merged), in_(std::move(in)), out_(std::move(out)) {}

  const AdapterInfo& info() const override { return info_; }
  int fd() const override { return in_->fd(); }

  ReadResult read(std::span<ReadBuffer> buffers) override {
    ReadResult result;
    StoredFrame frame;
    for (; result.count < buffers.size(); ++result.count) {
      if (!in_->pop(frame)) {
        result.status = IoStatus::kEmpty;
        break;
      }
      ReadBuffer& buffer = buffers[result.count];
      buffer.vnet = frame.vnet;
      buffer.size = static_cast<std::uint32_t>(frame.packet.size());
      std::ranges::copy(frame.packet, buffer.packet().begin());
    }
    return result;
  }

  IoStatus write(const VnetHeader& vnet, std::span<const ByteView> pieces) override {
    StoredFrame frame{vnet, {}};
    for (const ByteView piece : pieces) append(frame.packet, piece);
    if (frame.packet.empty() || frame.packet.size() > ReadBuffer::kPacketMax) return IoStatus::kRefused;
    if (refuse_merged_ && vnet.gso_type != VnetHeader::kGsoNone) return IoStatus::kRefused;
    return out_->push(std::move(frame)) ? IoStatus::kOk : IoStatus::kFull;
  }

  IoStatus write_packet(ByteView packet) override { return write({}, std::span(&packet, 1)); }

  void set_neighbourhood(Neighbourhood) override {}  // as a TUN: there is no Ethernet

 private:
  AdapterInfo info_;
  bool refuse_merged_;
  std::shared_ptr<Wire> in_;
  std::shared_ptr<Wire> out_;
};

}  // namespace

Result<std::pair<std::unique_ptr<Adapter>, std::unique_ptr<Adapter>>> make_memory_pair(
    const MemoryPairOptions& options) {
  LR_ASSIGN(auto event_a, net::Event::create());
  LR_ASSIGN(auto event_b, net::Event::create());
  auto a = std::make_shared<Wire>(std::move(event_a));
  auto b = std::make_shared<Wire>(std::move(event_b));
  AdapterInfo info;
  info.kind = Kind::kTun;
  info.mtu = options.mtu;
  info.tcp_offload = options.tcp_offload;
  info.udp_offload = options.udp_offload;
  info.name = "memory0";
  std::unique_ptr<Adapter> first = std::make_unique<MemoryAdapter>(info, options.refuse_merged, a, b);
  info.name = "memory1";
  std::unique_ptr<Adapter> second = std::make_unique<MemoryAdapter>(info, options.refuse_merged, b, a);
  return std::pair(std::move(first), std::move(second));
}

}  // namespace lanrage::tun
