// Asks a router for ports by NAT-PMP or by PCP: two codecs, one state machine.
//
// NAT-PMP's harmless question is for the address outside, PCP's is ANNOUNCE. Retries as RFC 6886 section 3.1 (250 ms,
// doubled eight times, then silent) and RFC 6887 section 8.1.1 (3 s, doubled up to 1024 s, for ever) say. A mapping is
// renewed at half its lifetime and lost at its end. Every answer tells how long ago the router forgot all mappings;
// where that does not fit what it told before (RFC 6887 section 8.5), it restarted, and all are asked for again.
//
// PCP renews and deletes only by the nonce that a mapping was made with. It is derived from a secret of this device,
// the router and the port: so a node that was killed takes its mappings over, and nobody else can.
#pragma once

#include <array>

#include "base/rng.h"
#include "paths/port_protocol.h"

namespace lanrage::paths {

class PortControl final : public PortProtocol {
 public:
  enum class Kind : std::uint8_t { kNatPmp, kPcp };

  // `secret`: of this device, any length.
  PortControl(Kind kind, ByteView secret, Rng& rng, PortOutbox& outbox);

  void start(Time now, const RouterPlace& place) override;
  void stop() override;
  void set_ports(Time now, const std::vector<PortToMap>& ports) override;
  void renew(Time now) override;
  void handle_timeout(Time now) override;
  Time next_timeout() const override;
  std::vector<PortMapping> mappings() const override;
  bool is_settled() const override;

  // What came from the router's port; what is not of this protocol is left alone.
  void handle_packet(Time now, ByteView datagram);

 private:
  struct Port {
    PortToMap inside;
    std::array<std::uint8_t, 12> nonce{};
    Endpoint outside{};        // had or wished
    Time until = Time::min();  // of what is granted
    Time due = kNever;         // next question; kNever: refused
    int tries = 0;             // of this question
    bool is_asked = false;     // and not refused: the router may have opened it
    bool is_leaving = false;   // it is being given back
  };
  // How the router counts, at some moment.
  struct Epoch {
    std::uint32_t router_s;
    Time at;
  };

  Duration retry_after(int tries);
  void ask_first(Time now);
  void ask(Time now, Port& port);
  void granted(Time now, Port& port, const Endpoint& outside, std::uint32_t lifetime_s);
  void refused(Port& port, std::string why, bool offline);
  void check_epoch(Time now, std::uint32_t router_s);
  void handle_natpmp(Time now, const wire::NatPmpAnswer& answer);
  void handle_pcp(Time now, const wire::PcpAnswer& answer);
  std::array<std::uint8_t, 12> nonce_of(const PortToMap& port) const;

  const Kind kind_;
  const Bytes secret_;
  Rng& rng_;
  PortOutbox& outbox_;
  RouterPlace place_;
  Time first_due_ = kNever;  // of the harmless question
  int first_tries_ = 0;
  std::optional<Epoch> epoch_;
  std::vector<Port> ports_;
};

}  // namespace lanrage::paths
