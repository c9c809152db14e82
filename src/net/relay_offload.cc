#include "net/relay_offload.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "net/relay_offload_maps.h"

// The compiled program, as the build made it.
asm(".section .rodata\n"
    ".balign 8\n"
    "lanrage_relay_program:\n"
    ".incbin \"" LANRAGE_RELAY_PROGRAM
    "\"\n"
    "lanrage_relay_program_end:\n"
    ".byte 0\n"
    ".text\n");
extern "C" const char lanrage_relay_program[], lanrage_relay_program_end[];

namespace lanrage::net {
namespace {

constexpr auto kTcxIngress = static_cast<bpf_attach_type>(46);  // BPF_TCX_INGRESS, which Debian 12's headers lack
constexpr std::size_t kIndicesMax = 1 << 18;  // that fit in the kernel's copy; those of the rest go by the socket
constexpr std::uint32_t kLooksAtOnce = 16;
constexpr int kMtuMin = 1280;

relay_place place_of(const IpAddress& address, std::uint16_t port) {
  relay_place out{};
  auto* to = reinterpret_cast<std::uint8_t*>(out.address);
  if (address.is_v4()) {
    to[10] = to[11] = 0xff;
    std::copy_n(address.bytes().data(), 4, to + 12);
  } else {
    std::copy_n(address.bytes().data(), 16, to);
  }
  store_be(reinterpret_cast<std::uint8_t*>(&out.port), port);
  return out;
}

// The index as the four bytes that stand in a packet.
relay_receiver receiver_of(std::uint32_t party, std::uint32_t index) {
  relay_receiver out{party, 0};
  store_le(reinterpret_cast<std::uint8_t*>(&out.index), index);
  return out;
}

// Not loopback: who is there speaks by TLS (net/stream_bridge.h), and what comes from it holds on to its route, which
// kernels before the end of 2025 forget when it is redirected.
bool is_ethernet(const Interface& one) {
  return !one.loopback && one.broadcast && one.mac != std::array<std::uint8_t, 6>{};
}

Error load_error(int code) {
  if (code == -EPERM || code == -EACCES)
    return {Code::kRefused, "no privilege to load a program into the kernel",
            "run as root, or give it CAP_BPF and CAP_NET_ADMIN", -code};
  return os_error("the kernel does not take the relay's program", -code);
}

}  // namespace

void RelayOffload::Closer::operator()(bpf_object* object) const { bpf_object__close(object); }

Result<std::unique_ptr<RelayOffload>> RelayOffload::load(const Options& options) {
  LR_ASSIGN(Netlink netlink, Netlink::open());
  LR_ASSIGN(NetlinkWatch watch, NetlinkWatch::open());
  LR_TRY(watch.add_rules());
  std::unique_ptr<RelayOffload> out(new RelayOffload(std::move(netlink), std::move(watch)));
  out->options_ = options;
  libbpf_set_print(nullptr);
  bpf_object_open_opts named{};
  named.sz = sizeof named;
  named.object_name = "lanrage_relay";
  out->object_.reset(bpf_object__open_mem(
      lanrage_relay_program, static_cast<std::size_t>(lanrage_relay_program_end - lanrage_relay_program), &named));
  bpf_object* object = out->object_.get();
  if (object == nullptr) return load_error(-errno);
  const auto sessions_max = static_cast<std::uint32_t>(options.sessions_max);
  bpf_map__set_max_entries(bpf_object__find_map_by_name(object, "sessions"), sessions_max);
  bpf_map__set_max_entries(bpf_object__find_map_by_name(object, "members"), sessions_max);
  bpf_map__set_max_entries(bpf_object__find_map_by_name(object, "shares"), sessions_max);
  bpf_map__set_max_entries(bpf_object__find_map_by_name(object, "receivers"), kIndicesMax);
  if (const int code = bpf_object__load(object); code < 0) return load_error(code);
  const auto fd_of = [&](const char* name) { return bpf_object__find_map_fd_by_name(object, name); };
  out->maps_ = {fd_of("sessions"), fd_of("members"), fd_of("receivers"), fd_of("totals")};
  out->program_ = bpf_program__fd(bpf_object__find_program_by_name(object, "lanrage_relay"));
  const std::uint32_t zero = 0;
  constexpr double kWindowSeconds = static_cast<double>(1u << RELAY_WINDOW_BITS) / 1e9;
  const relay_settings settings{
      static_cast<std::uint32_t>(kPacketsPerSecond * kWindowSeconds),
      static_cast<std::uint32_t>(std::min(static_cast<double>(options.bytes_per_second) * kWindowSeconds, 1e9))};
  if (const int code = bpf_map_update_elem(fd_of("settings"), &zero, &settings, BPF_ANY); code < 0)
    return load_error(code);
  // Whether links of this kind are to be had shows at the first one: at loopback, which every machine has.
  const Fd probe(bpf_link_create(out->program_, 1, kTcxIngress, nullptr));
  if (!probe.is_open() && errno == EINVAL)
    return Error{Code::kIo, "this kernel cannot forward for a relay", "Linux 6.6 or newer can", EINVAL};
  if (!probe.is_open()) return load_error(-errno);
  out->interfaces_ = out->interfaces();
  return out;
}

RelayOffload::~RelayOffload() = default;

std::vector<Interface> RelayOffload::interfaces() {
  auto found = netlink_.interfaces();
  return found ? *std::move(found) : std::vector<Interface>();
}

void RelayOffload::set_session(std::uint32_t slot, const Session& session) {
  if (slot >= options_.sessions_max) return;
  if (slot >= sessions_.size()) sessions_.resize(slot + 1);
  uninstall(slot);
  const std::uint32_t serial = sessions_[slot] ? sessions_[slot]->serial : ++last_serial_;
  sessions_[slot] = {session, serial};
  if (!look_at_ || slot < next_) install(slot);
}

void RelayOffload::drop_session(std::uint32_t slot) {
  uninstall(slot);
  if (slot < sessions_.size()) sessions_[slot].reset();
}

void RelayOffload::set_index(std::uint32_t party, std::uint32_t index, std::uint32_t slot) {
  if (slot >= sessions_.size() || !sessions_[slot]) return;
  const relay_receiver key = receiver_of(party, index);
  const relay_name name{slot, sessions_[slot]->serial};
  bpf_map_update_elem(maps_.receivers, &key, &name, BPF_ANY);
}

void RelayOffload::drop_index(std::uint32_t party, std::uint32_t index) {
  const relay_receiver key = receiver_of(party, index);
  bpf_map_delete_elem(maps_.receivers, &key);
}

void RelayOffload::uninstall(std::uint32_t slot) {
  if (slot >= sessions_.size() || !sessions_[slot]) return;
  const Endpoint& at = sessions_[slot]->session.member;
  const relay_place member = place_of(at.address, at.port);
  const relay_session nobody{};
  bpf_map_delete_elem(maps_.members, &member);
  bpf_map_update_elem(maps_.sessions, &slot, &nobody, BPF_ANY);
}

// After uninstall.
void RelayOffload::install(std::uint32_t slot) {
  const Session& session = sessions_[slot]->session;
  if (session.local.is_unspecified() || session.member.address.is_link_local()) return;
  const auto way = netlink_.interface_to(session.member, {session.local, options_.port});
  if (!way || !attach(*way)) return;
  relay_session entry{};
  entry.serial = sessions_[slot]->serial;
  entry.party = session.party;
  entry.member = place_of(session.member.address, session.member.port);
  entry.local = place_of(session.local, options_.port);
  entry.interface = *way;
  const relay_name name{slot, entry.serial};
  bpf_map_update_elem(maps_.sessions, &slot, &entry, BPF_ANY);
  bpf_map_update_elem(maps_.members, &entry.member, &name, BPF_ANY);
}

// Sees to it that packets of who is reached by this interface are looked at; false: they cannot be.
bool RelayOffload::attach(unsigned interface) {
  if (std::ranges::find(links_, interface, &Link::interface) != links_.end()) return true;
  const auto known = std::ranges::find(interfaces_, interface, &Interface::index);
  if (known == interfaces_.end() || !is_ethernet(*known) || known->mtu < kMtuMin) return false;
  Link link{interface, {}};
  if (!look_at_) link.link = Fd(bpf_link_create(program_, static_cast<int>(interface), kTcxIngress, nullptr));
  if (!look_at_ && !link.link.is_open()) return false;
  links_.push_back(std::move(link));
  return true;
}

void RelayOffload::handle_change(Time now) {
  if (!watch_.take_changes()) return;
  links_.clear();
  look_at_ = now + kSettle;
  next_ = 0;
}

void RelayOffload::handle_timeout(Time now) {
  if (!look_at_ || now < *look_at_) return;
  if (next_ == 0) interfaces_ = interfaces();
  const std::uint32_t until = std::min(static_cast<std::uint32_t>(sessions_.size()), next_ + kLooksAtOnce);
  for (; next_ < until; ++next_) {
    if (!sessions_[next_]) continue;
    uninstall(next_);
    install(next_);
  }
  if (next_ < sessions_.size()) return;
  look_at_.reset();
  std::erase_if(links_, [&](Link& one) {
    one.link = Fd(bpf_link_create(program_, static_cast<int>(one.interface), kTcxIngress, nullptr));
    return !one.link.is_open();
  });
}

RelayOffload::Totals RelayOffload::totals() const {
  const int cpus = libbpf_num_possible_cpus();
  const std::uint32_t zero = 0;
  std::vector<relay_totals> each(cpus > 0 ? static_cast<std::size_t>(cpus) : 0);
  Totals out;
  if (each.empty() || bpf_map_lookup_elem(maps_.totals, &zero, each.data()) < 0) return out;
  for (const relay_totals& one : each) {
    out.packets += one.packets;
    out.bytes += one.bytes;
  }
  return out;
}

}  // namespace lanrage::net
