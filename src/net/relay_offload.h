// Forwards a relay's game packets in the kernel, before they reach a socket: a BPF program (relay_offload.bpf.c) at the
// ingress of the Ethernet interfaces that lead to members, fed with a copy of the relay's tables. What it does not
// forward, the relay gets as ever, so everything here may fail without harm.
//
// Needs root or CAP_BPF and CAP_NET_ADMIN, and Linux 6.6 (tcx). Links end with the process, however it ends. One thread
// owns it; `totals` is for any.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "net/fd.h"
#include "net/netlink.h"
#include "relay/mirror.h"

struct bpf_object;

namespace lanrage::net {

class RelayOffload final : public relay::Mirror {
 public:
  struct Options {
    std::uint16_t port = 0;  // the relay's
    std::size_t sessions_max = 0;
    std::uint64_t bytes_per_second = 0;  // of a party; more is the relay's to forward or to drop
  };
  struct Totals {
    std::uint64_t packets = 0, bytes = 0;
  };
  // Of a party: more is no game, or one for the relay's fair queue.
  static constexpr std::uint32_t kPacketsPerSecond = 20000;
  static constexpr Duration kSettle = std::chrono::milliseconds(300);  // changes of the network come together

  // kRefused: no privilege. kIo: the kernel cannot.
  static Result<std::unique_ptr<RelayOffload>> load(const Options& options);
  ~RelayOffload() override;

  void set_session(std::uint32_t slot, const Session& session) override;
  void drop_session(std::uint32_t slot) override;
  void set_index(std::uint32_t party, std::uint32_t index, std::uint32_t slot) override;
  void drop_index(std::uint32_t party, std::uint32_t index) override;

  int fd() const { return watch_.fd(); }  // readable: call handle_change
  // Routes, rules or interfaces changed: everything goes by the socket until that is over for kSettle and every
  // member's way was looked up again, some of them by each call of handle_timeout.
  void handle_change(Time now);
  void handle_timeout(Time now);
  std::optional<Time> next_timeout() const { return look_at_; }

  Totals totals() const;

 private:
  struct Maps {
    int sessions = -1, members = -1, receivers = -1, totals = -1;  // the object's
  };
  struct Closer {
    void operator()(bpf_object* object) const;
  };
  struct Link {
    unsigned interface = 0;
    Fd link;
  };
  RelayOffload(Netlink netlink, NetlinkWatch watch) : netlink_(std::move(netlink)), watch_(std::move(watch)) {}
  struct Member {
    Session session;
    std::uint32_t serial = 0;
  };
  std::vector<Interface> interfaces();
  void install(std::uint32_t slot);
  void uninstall(std::uint32_t slot);
  bool attach(unsigned interface);

  Options options_;
  Netlink netlink_;
  NetlinkWatch watch_;
  std::unique_ptr<bpf_object, Closer> object_;
  int program_ = -1;
  Maps maps_;
  std::vector<std::optional<Member>> sessions_;  // by slot
  std::uint32_t last_serial_ = 0;
  std::vector<Link> links_;
  std::vector<Interface> interfaces_;  // as of the last change
  std::optional<Time> look_at_;        // at the members from `next_` on; none: all were looked at, and links are there
  std::uint32_t next_ = 0;
};

}  // namespace lanrage::net
