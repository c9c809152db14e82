#include "dataplane/data_plane.h"

#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/format.h"
#include "dataplane/rx_thread.h"
#include "dataplane/tx_thread.h"

namespace lanrage::dataplane {
namespace {

constexpr int kDataThreadNice = -10;

// Threads made while this lives take no signals: those are the main thread's.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

// "no_route 3, queue_full 1"
template <class Reason, std::size_t kCount>
std::string drops_text(const std::array<std::uint64_t, kCount>& counts) {
  std::string out;
  for (std::size_t i = 0; i < kCount; ++i)
    if (counts[i] != 0) out += format("{}{} {}", out.empty() ? "" : ", ", drop_name(static_cast<Reason>(i)), counts[i]);
  return out;
}

}  // namespace

Result<std::unique_ptr<ControlQueues>> ControlQueues::create() {
  LR_ASSIGN(auto handshakes, net::Event::create());
  LR_ASSIGN(auto messages, net::Event::create());
  LR_ASSIGN(auto frames, net::Event::create());
  LR_ASSIGN(auto waiting, net::Event::create());
  LR_ASSIGN(auto clear, net::Event::create());
  LR_ASSIGN(auto attention, net::Event::create());
  return std::unique_ptr<ControlQueues>(new ControlQueues{{std::move(handshakes), QueueSizes::kHandshakes},
                                                          {std::move(messages), QueueSizes::kMessages},
                                                          {std::move(frames), QueueSizes::kFrames},
                                                          {std::move(waiting), QueueSizes::kWaiting},
                                                          {std::move(clear), QueueSizes::kClear},
                                                          std::move(attention)});
}

DataPlane::DataPlane(const DataPlaneOptions& options, tun::Adapter& adapter, net::UdpPair& sockets,
                     std::shared_ptr<const node::Forwarding> first, const Logger& log,
                     std::unique_ptr<ControlQueues> queues)
    : options_(options),
      adapter_(adapter),
      sockets_(sockets),
      log_(log.named("dataplane")),
      queues_(std::move(queues)),
      forwarding_(std::move(first)) {}

Result<std::unique_ptr<DataPlane>> DataPlane::start(const DataPlaneOptions& options, tun::Adapter& adapter,
                                                    net::UdpPair& sockets,
                                                    std::shared_ptr<const node::Forwarding> first, const Logger& log) {
  LR_ASSIGN(auto queues, ControlQueues::create());
  std::unique_ptr<DataPlane> plane(new DataPlane(options, adapter, sockets, std::move(first), log, std::move(queues)));
  LR_ASSIGN(net::Poller tx, net::Poller::create());
  LR_TRY(tx.add(adapter.fd(), TxThread::kAdapterTag));
  LR_TRY(tx.add(plane->queues_->clear.fd(), TxThread::kClearTag));
  LR_ASSIGN(net::Poller rx, net::Poller::create());
  if (sockets.v4() != nullptr) LR_TRY(rx.add(sockets.v4()->fd(), RxThread::kV4Tag));
  if (sockets.v6() != nullptr) LR_TRY(rx.add(sockets.v6()->fd(), RxThread::kV6Tag));
  plane->tx_ = std::make_unique<TxThread>(*plane, std::move(tx));
  plane->rx_ = std::make_unique<RxThread>(*plane, std::move(rx));
  const SignalsBlocked blocked;
  plane->tx_->start();
  plane->rx_->start();
  return plane;
}

DataPlane::~DataPlane() {
  stopping_.store(true, std::memory_order_release);
  tx_.reset();
  rx_.reset();
  const DataPlaneStats total = stats();
  log_.debug("data threads stopped", {{"sealed", total.tx.packets},
                                      {"sent", total.tx.datagrams},
                                      {"received", total.rx.datagrams},
                                      {"delivered", total.rx.delivered},
                                      {"dropped_out", drops_text<node::OutboundDrop>(total.tx.dropped)},
                                      {"dropped_in", drops_text<node::InboundDrop>(total.rx.dropped)},
                                      {"not_sent", total.tx.congested + total.tx.too_big + total.tx.failed},
                                      {"not_written", total.rx.frames_lost},
                                      {"overflows", total.rx.overflows}});
}

void DataPlane::publish(std::shared_ptr<const node::Forwarding> forwarding, std::vector<ClearPacket> staged,
                        std::shared_ptr<const ExtraSockets> extra) {
  forwarding_.publish(std::move(forwarding), [&] {
    extra_.swap(extra);  // the old ones are closed by the last thread that lets go of them
    for (ClearPacket& packet : staged)
      if (staged_.size() < QueueSizes::kClear) staged_.push_back(std::move(packet));
  });
  tx_->wake();
  rx_->wake();
}

DataPlaneStats DataPlane::stats() const { return {tx_stats_.load(), rx_stats_.load()}; }

// A busy machine must not make a game wait for its turn. By nice, not by a real-time class, which would starve control
// on two cores. Without the right to it (CAP_SYS_NICE or RLIMIT_NICE) things stay as they are.
void DataPlane::raise_priority() { ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), kDataThreadNice); }

void DataPlane::note_adapter_closed() {
  if (!adapter_open_.exchange(false, std::memory_order_acq_rel)) return;
  log_.debug("adapter closed");
  queues_->attention.signal();
}

}  // namespace lanrage::dataplane
