#include "control/relay_meter.h"

#include <algorithm>
#include <cmath>

#include "relay/health.h"

namespace lanrage::control {
namespace {

// What the kernel takes to forward a packet (bench/relay.py): nobody's thread shows it.
constexpr double kKernelSeconds = 2.5e-6;

double share(double part, double whole) { return whole > 0 ? std::clamp(part / whole, 0.0, 1.0) : 0; }

std::uint8_t percent(double share) { return static_cast<std::uint8_t>(std::lround(100 * share)); }

}  // namespace

RelayMeter::RelayMeter(const UdpService& udp, Time now)
    : udp_(udp), looked_(now), thread_(udp.thread_time()), cpu_(host::read_cpu_times()) {}

wire::ReportRelay RelayMeter::look(Time now) {
  const UdpService::Stats stats = udp_.stats();
  const Duration thread = udp_.thread_time();
  const auto cpu = host::read_cpu_times();
  relay::Usage usage;
  const double seconds = std::chrono::duration<double>(now - looked_).count();
  const double kernel = kKernelSeconds * static_cast<double>(stats.packets_kernel - packets_kernel_);
  usage.thread = share(std::chrono::duration<double>(thread - thread_).count() + kernel, seconds);
  usage.sessions = share(static_cast<double>(stats.sessions), static_cast<double>(stats.sessions_max));
  // The kernel's counts are known to go back now and then, that of waiting for disks.
  if (cpu && cpu_ && cpu->busy >= cpu_->busy && cpu->total >= cpu_->total)
    usage.cpu = share(static_cast<double>(cpu->busy - cpu_->busy), static_cast<double>(cpu->total - cpu_->total));
  usage.memory = host::read_memory_used().value_or(0);
  looked_ = now;
  thread_ = thread;
  packets_kernel_ = stats.packets_kernel;
  cpu_ = cpu;

  const relay::Health health = relay::health_of(usage);
  wire::ReportRelay report;
  report.health = health.health;
  report.load = health.load;
  report.cpu = percent(usage.cpu);
  report.memory = percent(usage.memory);
  report.memory_bytes = host::read_own_memory();
  report.sessions = stats.sessions;
  report.parties = stats.parties;
  report.packets_in = stats.relay.packets_in;
  report.bytes_in = stats.relay.bytes_in;
  report.packets_out = stats.relay.packets_forwarded + stats.relay.frames_forwarded;
  report.bytes_out = stats.relay.bytes_forwarded;
  report.packets_kernel = stats.packets_kernel;
  for (const relay::Drops& drops : relay::drops_of(stats.relay)) {
    if (drops.packets > 0) report.dropped.push_back({std::string(drops.reason), drops.packets});
  }
  if (stats.overflows > 0) report.dropped.push_back({"receive_queue", stats.overflows});
  if (stats.dropped_queue > 0) report.dropped.push_back({"queue", stats.dropped_queue});
  if (stats.unsent > 0) report.dropped.push_back({"send_queue", stats.unsent});
  return report;
}

}  // namespace lanrage::control
