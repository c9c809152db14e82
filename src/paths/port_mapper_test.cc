#include "paths/port_mapper.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "base/format.h"

namespace lanrage::paths {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using State = PortProtocol::State;

const IpAddress kGateway = IpAddress::v4(192, 168, 1, 1);
const IpAddress kSelf = IpAddress::v4(192, 168, 1, 2);
const IpAddress kPublic = IpAddress::v4(5, 9, 2, 2);
const PortToMap kGame{PortTransport::kUdp, 41000};
const PortToMap kServer{PortTransport::kTcp, 41820};

// A router of one or several of the three kinds.
struct Router {
  bool pcp = false, natpmp = false, upnp = false;
  IpAddress address = kPublic;
  std::uint32_t lifetime_s = 1200;
  std::uint8_t pcp_result = 0;
  std::uint16_t natpmp_result = 0;
  std::string status = "Connected";
  std::vector<std::string> errors{};  // of AddPortMapping, one for each question: "718", ...
  std::string describes = "http://192.168.1.1:5000/d.xml";
  std::string controls = "/ctl";
  std::string boot = "1";
  Time started{};
  // Open ports: outside by transport and inside. A PCP mapping belongs to its nonce.
  struct Open {
    std::uint16_t outside;
    std::array<std::uint8_t, 12> nonce{};
  };
  std::map<std::pair<PortTransport, std::uint16_t>, Open> open{};
  int questions = 0;

  void restart(Time now) {
    open.clear();
    started = now;
  }
  std::uint32_t epoch(Time now) const {
    return static_cast<std::uint32_t>(std::chrono::duration_cast<std::chrono::seconds>(now - started).count());
  }

  std::optional<Bytes> answer(Time now, ByteView question) {
    if (const auto request = wire::parse_pcp_request(question)) {
      ++questions;
      if (!pcp) return natpmp ? std::optional(write_pcp(wire::PcpAnswer{.result = 1})) : std::nullopt;
      wire::PcpAnswer out{.epoch_s = epoch(now), .map = request->map};
      if (!request->map) return write_pcp(out);
      const auto key = std::pair(request->map->transport, request->map->inside);
      const auto had = open.find(key);
      out.result =
          had != open.end() && had->second.nonce != request->map->nonce ? wire::PcpAnswer::kNotAuthorized : pcp_result;
      if (out.result != 0) return write_pcp(out);
      out.lifetime_s = std::min(request->lifetime_s, lifetime_s);
      if (out.lifetime_s == 0) {
        open.erase(key);
      } else {
        open[key] = {request->map->outside.port, request->map->nonce};
      }
      out.map->outside.address = address;
      return write_pcp(out);
    }
    if (const auto request = wire::parse_natpmp_request(question)) {
      ++questions;
      if (!natpmp) {
        if (!pcp) return std::nullopt;
        Bytes only_pcp = write_pcp(wire::PcpAnswer{});
        only_pcp[3] = 1;
        return only_pcp;
      }
      wire::NatPmpAnswer out{.transport = request->transport, .result = natpmp_result, .epoch_s = epoch(now)};
      if (!request->transport) {
        out.address = address;
        return write_natpmp(out);
      }
      out.inside = request->inside;
      out.outside = request->outside;
      out.lifetime_s = std::min(request->lifetime_s, lifetime_s);
      const auto key = std::pair(*request->transport, request->inside);
      if (out.lifetime_s == 0) {
        open.erase(key);
      } else {
        open[key] = {request->outside, {}};
      }
      return write_natpmp(out);
    }
    if (upnp && as_text(question).starts_with("M-SEARCH")) {
      ++questions;
      return ssdp("HTTP/1.1 200 OK\r\nST");
    }
    return std::nullopt;
  }
  Bytes ssdp(const std::string& begin) const {
    return to_bytes(
        as_bytes(format("{}: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\nLOCATION: {}\r\n"
                        "BOOTID.UPNP.ORG: {}\r\n\r\n",
                        begin, describes, boot)));
  }

  HttpAnswer answer(const PortOutbox::Http& question) {
    ++questions;
    const auto value = [&](const char* name) { return wire::igd_value(question.body, name).value_or(""); };
    if (question.action.empty())
      return {200, format("<service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType>"
                          "<controlURL>{}</controlURL></service>",
                          controls)};
    if (question.action.ends_with("#GetStatusInfo\""))
      return {200, "<NewConnectionStatus>" + status + "</NewConnectionStatus>"};
    if (question.action.ends_with("#GetExternalIPAddress\""))
      return {200, "<NewExternalIPAddress>" + address.text() + "</NewExternalIPAddress>"};
    const PortTransport transport = value("NewProtocol") == "UDP" ? PortTransport::kUdp : PortTransport::kTcp;
    const auto outside = static_cast<std::uint16_t>(std::stoi(value("NewExternalPort")));
    if (question.action.ends_with("#DeletePortMapping\"")) {
      std::erase_if(open,
                    [&](const auto& one) { return one.first.first == transport && one.second.outside == outside; });
      return {200, "<u:DeletePortMappingResponse/>"};
    }
    EXPECT_EQ(value("NewInternalClient"), kSelf.text());
    if (!errors.empty() && !(errors.front() == "725" && value("NewLeaseDuration") == "0")) {
      const std::string code = errors.front();
      errors.erase(errors.begin());
      return {500, "<errorCode>" + code + "</errorCode><errorDescription>no " + code + "</errorDescription>"};
    }
    open[{transport, static_cast<std::uint16_t>(std::stoi(value("NewInternalPort")))}] = {outside, {}};
    return {200, "<u:AddPortMappingResponse/>"};
  }
};

struct Fixture {
  Time now{1000s};
  SeededRng rng{7};
  Router router;
  std::unique_ptr<PortMapper> mapper;
  bool reachable = true;
  std::vector<PortMapper::Outcome> told;
  std::vector<Endpoint> contacted;

  explicit Fixture(Router given) : router(std::move(given)) { restart_node(); }
  void restart_node() { mapper = std::make_unique<PortMapper>(as_bytes("secret"), rng); }

  PortMapper::Wanted wanted(std::vector<PortToMap> ports = {kGame, kServer}) {
    return {{kGateway, kSelf}, std::move(ports)};
  }
  void want(std::vector<PortToMap> ports = {kGame, kServer}) {
    mapper->want(now, wanted(std::move(ports)));
    settle();
  }
  // The router's answers come a millisecond after their questions.
  void settle() {
    for (bool moved = true; moved;) {
      moved = false;
      while (const auto question = mapper->poll_datagram()) {
        contacted.push_back(question->to);
        const bool there = question->to.address == kGateway || question->to.address == wire::kSsdpGroup;
        const auto answer = reachable && there ? router.answer(now, question->bytes) : std::nullopt;
        if (!answer) continue;
        now += 1ms;
        mapper->handle_packet(now, {kGateway, question->to.port}, *answer);
        moved = true;
      }
      while (const auto question = mapper->poll_http()) {
        contacted.push_back(question->url.endpoint);
        const auto answer = reachable ? std::optional(router.answer(*question)) : std::nullopt;
        now += 1ms;
        mapper->handle_http(now, question->id, answer);
        moved = true;
      }
      while (auto event = mapper->poll_event()) told.push_back(std::move(*event));
    }
  }
  void run(Duration time) {
    const Time end = now + time;
    for (auto due = mapper->next_timeout(); due && *due <= end; due = mapper->next_timeout()) {
      now = std::max(now, *due);
      mapper->handle_timeout(now);
      settle();
    }
    now = end;
  }
  PortMapper::Outcome last() const { return told.empty() ? PortMapper::Outcome() : told.back(); }
  std::size_t mapped() const { return last().mappings.size(); }
};

struct Kind {
  const char* name;
  PortMethod method;
  Router router;
};
const Kind kKinds[] = {{"pcp", PortMethod::kPcp, {.pcp = true}},
                       {"natpmp", PortMethod::kNatPmp, {.natpmp = true}},
                       {"upnp", PortMethod::kUpnp, {.upnp = true}}};

TEST(PortMapper, OpensPortsByWhateverTheRouterSpeaks) {
  for (const Kind& kind : kKinds) {
    SCOPED_TRACE(kind.name);
    Fixture f(kind.router);
    f.want();
    ASSERT_THAT(f.told, SizeIs(1));  // at once, and once
    EXPECT_EQ(f.last().by, kind.method);
    EXPECT_STREQ(port_method_name(*f.last().by), kind.name);
    EXPECT_LT(f.last().took, 20ms);
    ASSERT_EQ(f.mapped(), 2u);
    EXPECT_EQ(f.last().mappings[0].outside, (Endpoint{kPublic, 41000}));
    EXPECT_EQ(f.last().mappings[1].inside, kServer);
    EXPECT_EQ(f.last().problem, "");
    EXPECT_TRUE(f.last().speaks && !f.last().offline);
    EXPECT_THAT(f.router.open, SizeIs(2));
  }
}

TEST(PortMapper, OpensThemOnceWhereTheRouterSpeaksAll) {
  Fixture f({.pcp = true, .natpmp = true, .upnp = true});
  f.want();
  EXPECT_EQ(f.mapped(), 2u);
  const auto before = f.router.open.size();
  f.run(1h);
  EXPECT_EQ(f.router.open.size(), before);
  EXPECT_TRUE(f.last().by);
}

TEST(PortMapper, RenewsAtHalfTheLifetime) {
  for (const Kind& kind : kKinds) {
    SCOPED_TRACE(kind.name);
    Fixture f(kind.router);
    f.want();
    const Time until = f.last().mappings[0].until;
    f.run(9min);
    f.router.open.clear();  // what is asked for again reappears
    f.run(2min);
    EXPECT_THAT(f.router.open, SizeIs(2));
    EXPECT_GT(f.last().mappings[0].until, until);
    EXPECT_EQ(f.mapped(), 2u);
  }
}

TEST(PortMapper, TakesTheLifetimeThatIsGranted) {
  for (Router router : {Router{.pcp = true, .lifetime_s = 8}, Router{.natpmp = true, .lifetime_s = 8}}) {
    Fixture f(router);
    f.want();
    const int before = f.router.questions;
    f.run(41s);
    EXPECT_EQ(f.router.questions - before, 20);  // two ports, every four seconds
    EXPECT_EQ(f.mapped(), 2u);
  }
}

TEST(PortMapper, GivesPortsBack) {
  for (const Kind& kind : kKinds) {
    SCOPED_TRACE(kind.name);
    Fixture f(kind.router);
    f.want();
    f.want({kServer});
    EXPECT_THAT(f.router.open, SizeIs(1));
    EXPECT_FALSE(f.mapper->is_idle());
    f.want({});
    EXPECT_THAT(f.router.open, IsEmpty());
    EXPECT_TRUE(f.mapper->is_idle());
    EXPECT_FALSE(f.mapper->next_timeout());
    f.want();  // a second party
    EXPECT_THAT(f.router.open, SizeIs(2));
  }
}

TEST(PortMapper, EndsThoughNobodyAnswersItsGoodbye) {
  for (const Kind& kind : kKinds) {
    SCOPED_TRACE(kind.name);
    Fixture f(kind.router);
    f.want();
    f.reachable = false;
    f.want({});
    f.run(30s);
    EXPECT_TRUE(f.mapper->is_idle());
    EXPECT_FALSE(f.mapper->next_timeout());
  }
}

TEST(PortMapper, TakesItsMappingsOverAfterACrash) {
  for (const Kind& kind : kKinds) {
    SCOPED_TRACE(kind.name);
    Fixture f(kind.router);
    f.want();
    f.restart_node();
    f.told.clear();
    f.want();
    EXPECT_EQ(f.mapped(), 2u);
    EXPECT_THAT(f.router.open, SizeIs(2));
  }
}

TEST(PortMapper, LeavesTheMappingsOfAnotherDeviceAlone) {
  Fixture f({.pcp = true});
  f.want();
  f.mapper = std::make_unique<PortMapper>(as_bytes("another secret"), f.rng);
  f.want();
  f.run(2s);
  EXPECT_EQ(f.mapped(), 0u);
  EXPECT_THAT(f.last().problem, HasSubstr("does not let this machine"));
  f.want({});
  f.run(30s);
  EXPECT_THAT(f.router.open, SizeIs(2));
}

TEST(PortMapper, MapsAgainWhenTheRouterRestarts) {
  for (const Kind& kind : kKinds) {
    SCOPED_TRACE(kind.name);
    Fixture f(kind.router);
    f.want();
    f.run(5min);
    f.router.restart(f.now);
    f.router.boot = "2";
    const Bytes news = kind.router.upnp  ? f.router.ssdp("NOTIFY * HTTP/1.1\r\nNTS: ssdp:alive\r\nNT")
                       : kind.router.pcp ? write_pcp(wire::PcpAnswer{.epoch_s = 0})
                                         : write_natpmp(wire::NatPmpAnswer{.epoch_s = 0, .address = kPublic});
    f.mapper->handle_announcement(f.now, {IpAddress::v4(192, 168, 1, 66), 5351}, news);  // another machine's word
    f.run(1s);
    EXPECT_THAT(f.router.open, IsEmpty());
    f.mapper->handle_announcement(f.now, {kGateway, 5351}, news);
    f.run(1s);
    EXPECT_THAT(f.router.open, SizeIs(2));
    const int questions = f.router.questions;
    f.mapper->handle_announcement(f.now, {kGateway, 5351}, news);  // they come several times
    f.run(1s);
    EXPECT_EQ(f.router.questions, questions);
  }
}

TEST(PortMapper, HearsOfARestartByAnotherProtocolThanItsOwn) {
  for (const Kind& kind : kKinds) {
    SCOPED_TRACE(kind.name);
    Fixture f(kind.router);
    f.want();
    f.router.restart(f.now);
    const Bytes news = kind.router.pcp ? write_natpmp(wire::NatPmpAnswer{.epoch_s = 0, .address = kPublic})
                                       : write_pcp(wire::PcpAnswer{.epoch_s = 0});
    f.mapper->handle_announcement(f.now, {kGateway, 5351}, news);
    f.run(1s);
    EXPECT_THAT(f.router.open, SizeIs(2));
  }
}

TEST(PortMapper, NoticesARestartThatItDidNotHearByTheEpoch) {
  for (Router router : {Router{.pcp = true}, Router{.natpmp = true}}) {
    Fixture f(router);
    f.want({kGame});
    f.run(5min);
    f.router.restart(f.now);
    f.run(6min);
    EXPECT_THAT(f.router.open, SizeIs(1));
  }
}

TEST(PortMapper, BeginsAnewWhenAMappingRunsOut) {
  for (const Kind& kind : kKinds) {
    SCOPED_TRACE(kind.name);
    Fixture f(kind.router);
    f.want();
    f.reachable = false;
    f.run(25min);
    EXPECT_EQ(f.mapped(), 0u);
    EXPECT_NE(f.last().problem, "");
    f.router = {.natpmp = true};  // another box, the same network
    f.reachable = true;
    f.mapper->handle_announcement(f.now, {kGateway, 5351},
                                  write_natpmp(wire::NatPmpAnswer{.epoch_s = 0, .address = kPublic}));
    f.run(1s);
    EXPECT_EQ(f.mapped(), 2u);
    EXPECT_EQ(f.last().by, PortMethod::kNatPmp);
  }
}

TEST(PortMapper, SurvivesLostPackets) {
  Fixture f({.natpmp = true});
  f.reachable = false;
  f.want();
  f.run(200ms);
  f.reachable = true;
  f.run(100ms);
  EXPECT_EQ(f.mapped(), 2u);
}

TEST(PortMapper, BelievesHonestRefusals) {
  const struct {
    Router router;
    const char* problem;
    bool offline;
  } cases[] = {
      {{.natpmp = true, .natpmp_result = 3}, "no public address", true},
      {{.natpmp = true, .natpmp_result = 2}, "does not let this machine", false},
      {{.pcp = true, .pcp_result = 8}, "no ports left, or no public address", true},
      {{.pcp = true, .pcp_result = 2}, "does not let this machine", false},
      {{.pcp = true, .pcp_result = 12}, "another router stands between", true},
      {{.upnp = true, .status = "Disconnected"}, "not connected", true},
      {{.upnp = true, .errors = {"606", "606"}}, "no 606", false},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.problem);
    Fixture f(c.router);
    f.want();
    f.run(3min);
    EXPECT_EQ(f.mapped(), 0u);
    EXPECT_THAT(f.last().problem, HasSubstr(c.problem));
    EXPECT_EQ(f.last().offline, c.offline);
    EXPECT_TRUE(f.last().speaks);
    f.router.questions = 0;
    f.contacted.clear();
    f.run(20h);
    // Only the protocols that the router never answered go on, as slowly as PCP's specification has it.
    EXPECT_LE(f.router.questions, c.router.pcp ? 0 : 90);
  }
}

TEST(PortMapper, AsksTheNextWhenOneRefuses) {
  Fixture f({.pcp = true, .natpmp = true, .upnp = true, .pcp_result = 2});
  f.want();
  f.run(2s);
  EXPECT_EQ(f.mapped(), 2u);
  EXPECT_NE(f.last().by, PortMethod::kPcp);
}

TEST(PortMapper, TakesNoAddressThatNobodyCanReach) {
  for (const char* text : {"0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "100.127.255.254",
                           "127.0.0.1", "169.254.1.1", "192.0.0.2", "224.0.0.1", "240.0.0.1", "255.255.255.255"}) {
    const IpAddress address = *IpAddress::parse(text);
    EXPECT_FALSE(is_public(address)) << text;
    for (const Kind& kind : kKinds) {
      SCOPED_TRACE(format("{} {}", kind.name, text));
      Fixture f(kind.router);
      f.router.address = address;
      f.want();
      f.run(10s);
      EXPECT_EQ(f.mapped(), 0u);
      EXPECT_TRUE(f.last().offline);
      EXPECT_THAT(f.router.open, IsEmpty());  // PCP tells only when the port is open
    }
  }
  for (const char* text : {"5.9.2.2", "100.63.0.1", "100.128.0.1", "192.0.1.1", "223.255.255.255"})
    EXPECT_TRUE(is_public(*IpAddress::parse(text))) << text;
  EXPECT_FALSE(is_public(*IpAddress::parse("2a0b:4c80::1")));
}

TEST(PortMapper, SaysInTimeThatNobodyAnswers) {
  Fixture f({});
  f.want();
  EXPECT_THAT(f.told, IsEmpty());
  f.run(kRouterPatience);
  ASSERT_THAT(f.told, SizeIs(1));
  EXPECT_FALSE(f.last().speaks);
  EXPECT_THAT(f.last().problem, HasSubstr("does not answer by UPnP, NAT-PMP or PCP"));
  f.contacted.clear();
  f.run(24h);
  EXPECT_LT(f.contacted.size(), 120u);
}

TEST(PortMapper, TalksToNobodyButTheGateway) {
  for (const bool place : {true, false}) {
    Fixture f({.upnp = true});
    (place ? f.router.describes : f.router.controls) = "http://192.168.1.10:8080/x";
    f.want();
    f.run(1min);
    EXPECT_EQ(f.mapped(), 0u);
    for (const Endpoint& one : f.contacted)
      EXPECT_TRUE(one.address == kGateway || one.address == wire::kSsdpGroup) << one.text();
  }
}

TEST(PortMapper, TriesOtherPortsWhileOthersHoldThem) {
  Fixture f({.upnp = true, .errors = {"718", "718"}});
  f.want({kGame});
  ASSERT_EQ(f.mapped(), 1u);
  EXPECT_EQ(f.last().mappings[0].outside.port, 41002);
  Fixture full({.upnp = true, .errors = std::vector<std::string>(20, "718")});
  full.want({kGame});
  full.run(2s);
  EXPECT_EQ(full.mapped(), 0u);
  EXPECT_THAT(full.last().problem, HasSubstr("no 718"));
}

TEST(PortMapper, TakesNoPortFromItself) {
  const PortToMap first{PortTransport::kUdp, 41820}, second{PortTransport::kUdp, 41821};
  Fixture f({.upnp = true, .errors = {"718"}});
  f.want({first, second});
  ASSERT_EQ(f.mapped(), 2u);
  EXPECT_EQ(f.last().outside_of(first)->port, 41821);
  EXPECT_EQ(f.last().outside_of(second)->port, 41822);
}

TEST(PortMapper, TakesAPermanentMappingWhereTheRouterKnowsNoOther) {
  Fixture f({.upnp = true, .errors = {"725", "725"}});
  f.want({kGame});
  ASSERT_EQ(f.mapped(), 1u);
  EXPECT_EQ(f.last().mappings[0].until, kNever);
}

TEST(PortMapper, AsksAnotherRouterAnewAndForgetsTheFirst) {
  Fixture f({.natpmp = true});
  f.want();
  f.mapper->want(f.now, {{IpAddress::v4(10, 0, 0, 1), IpAddress::v4(10, 0, 0, 2)}, {kGame}});
  f.settle();
  f.run(5s);
  EXPECT_EQ(f.mapped(), 0u);
  EXPECT_EQ(f.last().wanted.place.gateway, IpAddress::v4(10, 0, 0, 1));
  f.want();
  EXPECT_EQ(f.mapped(), 2u);
}

}  // namespace
}  // namespace lanrage::paths
