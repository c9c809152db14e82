// Asks a router for ports by UPnP's Internet Gateway Device: search, description, "are you connected?", "what is your
// address outside?", then one action for each port, one after the other.
//
// Talks to the gateway alone: a description or a control address anywhere else is left unread, so that no router makes
// this machine send requests to another one. A lease is renewed at half its lifetime, which begins with the question
// for the address. A notice with another boot number means that the router restarted: its description is read anew.
#pragma once

#include "base/rng.h"
#include "paths/port_protocol.h"

namespace lanrage::paths {

class IgdClient final : public PortProtocol {
 public:
  static constexpr int kPortsTried = 8;  // outside, while others hold them

  IgdClient(Rng& rng, PortOutbox& outbox);

  void start(Time now, const RouterPlace& place) override;
  void stop() override;
  void set_ports(Time now, const std::vector<PortToMap>& ports) override;
  void renew(Time now) override;
  void handle_timeout(Time now) override;
  Time next_timeout() const override;
  std::vector<PortMapping> mappings() const override;
  bool is_settled() const override;

  void handle_ssdp(Time now, const wire::SsdpMessage& message);                           // from the gateway
  void handle_http(Time now, std::uint64_t id, const std::optional<HttpAnswer>& answer);  // none: it failed

 private:
  enum class Step : std::uint8_t { kNone, kSearch, kDescription, kStatus, kAddress, kAdd, kRemove };
  struct Port {
    PortToMap inside;
    std::uint16_t outside = 0;
    int ports_tried = 1;
    bool is_permanent = false;  // the router knows nothing else
    bool is_open = false;
    bool is_leaving = false;
    int failures = 0;     // without an answer, in a row
    Time until = kNever;  // where it is open
    Time due = kNever;    // next question; kNever: refused, or open for good
  };

  void search(Time now);
  void describe(const wire::HttpUrl& location);
  void ask(Step step, const wire::IgdService& service, std::string_view action, const wire::IgdArguments& arguments);
  void ask_port(Step step, const Port& port);
  void work(Time now);
  void handle_description(const HttpAnswer& answer);
  void handle_status(const HttpAnswer& answer);
  void handle_address(Time now, const HttpAnswer& answer);
  void handle_added(Time now, const HttpAnswer& answer);
  void handle_failure(Time now, Step step);
  void give_up(std::string why);

  Rng& rng_;
  PortOutbox& outbox_;
  RouterPlace place_;
  Step step_ = Step::kNone;  // whose answer is awaited
  std::uint64_t http_ = 0;   // its question's
  int searches_ = 0;
  Time search_due_ = kNever;
  wire::HttpUrl location_;
  std::string boot_;
  std::vector<wire::IgdService> services_;
  std::size_t service_ = 0;    // the one asked
  bool is_described_ = false;  // and connected, and its address was asked for lately
  std::vector<Port> ports_;
  PortToMap asked_;  // of kAdd and kRemove
};

}  // namespace lanrage::paths
