#include "wire/probe.h"

#include <algorithm>

#include "crypto/hash.h"
#include "wire/demux.h"
#include "wire/endpoint.h"

namespace lanrage::wire {
namespace {

constexpr std::uint32_t kPing = kProbeTypes | 1;
constexpr std::uint32_t kPong = kProbeTypes | 2;
constexpr std::uint8_t kFlagSelected = 1;
constexpr std::uint8_t kFlagDeaf = 2;
constexpr std::uint8_t kFlagFull = 4;
constexpr std::size_t kEndpointAt = 30;
constexpr std::size_t kRateAt = 49;
constexpr std::size_t kMacAt = 52;

bool is_probe(ByteView datagram) {
  if (datagram.size() != kProbeBytes) return false;
  const auto type = load_le<std::uint32_t>(datagram.data());
  return type == kPing || type == kPong;
}

}  // namespace

std::uint64_t probe_tag(ProbeKeyView key, const crypto::PublicKey& sender) {
  return load_be<std::uint64_t>(crypto::blake2s_mac16(key, {as_bytes("lanrage probe tag"), sender.bytes()}).data());
}

ProbeBytes write_probe(const Probe& probe, ProbeKeyView key) {
  ProbeBytes out{};
  store_le(out.data(), probe.pong ? kPong : kPing);
  store_be(out.data() + 4, probe.tag);
  store_be(out.data() + 12, probe.transaction);
  store_be(out.data() + 20, probe.instance);
  store_be(out.data() + 24, probe.rtt_us);
  out[28] = static_cast<std::uint8_t>((probe.selected ? kFlagSelected : 0) | (probe.deaf ? kFlagDeaf : 0) |
                                      (probe.full ? kFlagFull : 0));
  out[29] = probe.loss_percent;
  write_endpoint(out.data() + kEndpointAt, probe.pong ? probe.observed : std::nullopt);
  out[kRateAt] = static_cast<std::uint8_t>(probe.rate_kbps >> 16);
  store_be(out.data() + kRateAt + 1, static_cast<std::uint16_t>(probe.rate_kbps));
  const crypto::Mac mac = crypto::blake2s_mac16(key, {ByteView(out).first(kMacAt)});
  std::copy(mac.begin(), mac.end(), out.begin() + kMacAt);
  return out;
}

std::optional<std::uint64_t> probe_tag_of(ByteView datagram) {
  if (!is_probe(datagram)) return std::nullopt;
  return load_be<std::uint64_t>(datagram.data() + 4);
}

std::optional<Probe> open_probe(ByteView datagram, ProbeKeyView key) {
  if (!is_probe(datagram)) return std::nullopt;
  const std::uint8_t* p = datagram.data();
  Probe probe;
  probe.pong = load_le<std::uint32_t>(p) == kPong;
  probe.tag = load_be<std::uint64_t>(p + 4);
  probe.transaction = load_be<std::uint64_t>(p + 12);
  probe.instance = load_be<std::uint32_t>(p + 20);
  probe.rtt_us = load_be<std::uint32_t>(p + 24);
  if ((p[28] & ~(kFlagSelected | kFlagDeaf | kFlagFull)) != 0 || (p[29] > 100 && p[29] != kLossUnknown))
    return std::nullopt;
  probe.selected = (p[28] & kFlagSelected) != 0;
  probe.deaf = (p[28] & kFlagDeaf) != 0;
  probe.loss_percent = p[29];
  if (!read_endpoint(datagram.subspan(kEndpointAt, kEndpointBytes), probe.observed)) return std::nullopt;
  if (probe.observed && !probe.pong) return std::nullopt;
  probe.rate_kbps = std::uint32_t{p[kRateAt]} << 16 | load_be<std::uint16_t>(p + kRateAt + 1);
  probe.full = (p[28] & kFlagFull) != 0;
  if ((probe.pong && probe.rate_kbps != 0) || (probe.full && probe.rate_kbps == 0)) return std::nullopt;
  const crypto::Mac mac = crypto::blake2s_mac16(key, {datagram.first(kMacAt)});
  if (!crypto::secure_equal(mac, datagram.subspan(kMacAt))) return std::nullopt;
  return probe;
}

}  // namespace lanrage::wire
