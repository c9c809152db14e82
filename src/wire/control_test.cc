#include "wire/control.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/rng.h"

namespace lanrage::wire {
namespace {

using testing::HasSubstr;

class Maker {
 public:
  explicit Maker(std::uint64_t seed) : rng_(seed) {}
  Bytes bytes(std::size_t max) {
    Bytes out(1 + rng_.below(max));
    rng_.fill(out);
    return out;
  }
  template <std::size_t N>
  std::array<std::uint8_t, N> array() {
    return rng_.array<N>();
  }
  crypto::PublicKey key() { return crypto::PublicKey(rng_.array<32>()); }
  std::uint64_t version() { return rng_.u64() >> 1; }
  std::uint32_t below(std::uint32_t n) { return static_cast<std::uint32_t>(rng_.below(n)); }
  std::uint8_t percent() { return static_cast<std::uint8_t>(below(101)); }
  std::vector<Bytes> list() { return {bytes(40), bytes(100)}; }
  InviteInfo invite() { return {"0a1b2c3d4e5f", 1700000000 + below(1000), below(10)}; }

  std::vector<Request> requests() {
    const PartyId party = array<16>();
    return {CreateParty{bytes(200), "alice"},
            Join{party, array<32>(), "böb \"the\" 2nd"},
            PutRecord{party, bytes(300)},
            AddInvite{party, array<32>(), bytes(3000), 1 + below(100), 1 + below(100000)},
            ListInvites{party},
            RevokeInvite{party, "0a1b2c3d4e5f"},
            PutStatements{party, list(), bytes(500), {{"0a1b", bytes(500)}}, version()},
            WithdrawRelay{},
            ReportRelay{percent(),
                        percent(),
                        percent(),
                        percent(),
                        version(),
                        version(),
                        version(),
                        version(),
                        version(),
                        version(),
                        version(),
                        version(),
                        {{"unknown_source", version()}, {"rate", 1}}}};
  }
  std::vector<Event> events() {
    return {Snapshot{array<16>(), version(), bytes(300), list(), bytes(50), list()},
            RecordChanged{version(), bytes(300)},
            StatementAdded{version(), bytes(300), bytes(400)},
            InviteChanged{version(), invite()},
            Online{{key(), key()}},
            Presence{key(), below(2) == 1},
            Signalled{key(), bytes(1000)},
            Relays{{{key(), "eu", {{IpAddress::v4(192, 0, 2, 1), 41820}, *Endpoint::parse("[2001:db8::1]:5")}},
                    {key(), "", {}}},
                   {{IpAddress::v4(192, 0, 2, 1), 41820}},
                   version()},
            Grant{bytes(200), 1700000000},
            GrantKeys{{crypto::VerifyKey(rng_.array<32>()), crypto::VerifyKey(rng_.array<32>())}},
            RelaysHealth{{{key(), percent(), percent()}, {key(), 0, 100}}},
            Servers{{"play.example.org:41820", "192.0.2.1:1", "[2001:db8::1]:41820"}}};
  }

 private:
  SeededRng rng_;
};

TEST(ControlWire, EveryRequestRoundTrips) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    for (const Request& request : Maker(seed).requests()) {
      auto decoded = decode_request(request_path(request), encode(request));
      ASSERT_TRUE(decoded) << decoded.error().message << encode(request);
      EXPECT_EQ(*decoded, request);
    }
  }
}

TEST(ControlWire, EveryEventRoundTrips) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    for (const Event& event : Maker(seed).events()) {
      auto decoded = decode_event(encode(event));
      ASSERT_TRUE(decoded) << decoded.error().message << encode(event);
      ASSERT_TRUE(decoded->has_value());
      EXPECT_EQ(**decoded, event);
    }
  }
}

TEST(ControlWire, EveryResponseRoundTripsByItsRequest) {
  Maker make(1);
  const auto back = [](const Request& request, const Response& response) {
    auto decoded = decode_response(request, encode(response));
    ASSERT_TRUE(decoded) << decoded.error().message;
    EXPECT_EQ(*decoded, response);
  };
  back(Join{}, Admission{*IpAddress::parse("10.66.7.9"), make.bytes(100)});
  back(CreateParty{}, Done{});
  back(AddInvite{}, make.invite());
  back(ListInvites{}, InviteList{{make.invite(), make.invite()}});
  back(PutRecord{}, Done{});
}

TEST(ControlWire, SessionMessagesRoundTrip) {
  Maker make(2);
  const Hello hello{make.key()};
  EXPECT_EQ(*decode_hello(encode(hello)), hello);
  const Challenge challenge{make.array<16>(), make.key(), make.array<32>()};
  EXPECT_EQ(*decode_challenge(encode(challenge)), challenge);
  const Proof proof{make.array<16>(), make.array<32>()};
  EXPECT_EQ(*decode_proof(encode(proof)), proof);
  const Session session{Bytes(72, 7), 1700000000, 1690000000, {"play.example.org:41820"}};
  EXPECT_EQ(*decode_session(encode(session)), session);
  const Signal signal{make.array<16>(), make.key(), make.bytes(500)};
  EXPECT_EQ(*decode_signal(encode_signal(signal)), signal);
}

TEST(ControlWire, FollowTravelsInTheQuery) {
  Maker make(3);
  const Follow follow{make.array<16>(), make.version()};
  const std::string target = follow_target(follow);
  EXPECT_THAT(target, testing::StartsWith("/v1/events?party="));
  const std::size_t and_at = target.find('&');
  auto parsed = parse_follow(target.substr(17, and_at - 17), target.substr(and_at + 6));
  ASSERT_TRUE(parsed);
  EXPECT_EQ(*parsed, follow);
  const std::string party = to_text(follow.party);
  for (const char* from : {"", "-1", "1x", "18446744073709551615", " 1"})
    EXPECT_FALSE(parse_follow(party, from)) << from;
  EXPECT_FALSE(parse_follow(party.substr(2), "0"));
}

TEST(ControlWire, ARelaysOfferTravelsInTheQuery) {
  OfferRelay offer{"eu-west", {{IpAddress::v4(192, 0, 2, 1), 41820}, *Endpoint::parse("[2001:db8::1]:5")}};
  EXPECT_EQ(offer_target(offer), "/v1/relay?region=eu-west&addresses=192.0.2.1:41820,%5B2001:db8::1%5D:5");
  const auto parsed = parse_offer("eu-west", "192.0.2.1:41820,[2001:db8::1]:5", "");
  ASSERT_TRUE(parsed);
  EXPECT_EQ(*parsed, offer);
  offer.stream = StreamPin{7, 8};
  const std::string pin = to_base64url(*offer.stream);
  EXPECT_TRUE(offer_target(offer).ends_with("&stream=" + pin));
  EXPECT_EQ(parse_offer("eu-west", "192.0.2.1:41820,[2001:db8::1]:5", pin).value(), offer);
  for (const std::string& wrong : {std::string("x"), pin + "AAAA", pin.substr(4)})
    EXPECT_FALSE(parse_offer("", "192.0.2.1:1", wrong)) << wrong;
  EXPECT_TRUE(parse_offer("", "192.0.2.1:1", ""));
  for (const char* region : {"eu west", "eu/1", "0123456789012345678901234567890123"})
    EXPECT_FALSE(parse_offer(region, "192.0.2.1:1", "")) << region;
  for (const char* addresses : {"", ",", "192.0.2.1:1,", "192.0.2.1", "192.0.2.1:0", "name:1"})
    EXPECT_FALSE(parse_offer("", addresses, "")) << addresses;
  std::string many = "192.0.2.1:1";
  for (std::size_t i = 1; i < kRelayAddressesMax; ++i) many += ",192.0.2.1:1";
  EXPECT_TRUE(parse_offer("", many, ""));
  EXPECT_FALSE(parse_offer("", many + ",192.0.2.1:1", ""));
}

TEST(ControlWire, HoldsItsBounds) {
  Maker make(4);
  const PartyId party = make.array<16>();
  const auto refused = [](const Request& request) { return !decode_request(request_path(request), encode(request)); };
  EXPECT_TRUE(refused(Join{party, {}, ""}));
  EXPECT_TRUE(refused(Join{party, {}, std::string(kNameBytesMax + 1, 'a')}));
  EXPECT_TRUE(refused(PutRecord{party, Bytes(kRecordBytesMax + 1)}));
  EXPECT_TRUE(refused(AddInvite{party, {}, Bytes(10), 0, 60}));
  EXPECT_TRUE(refused(AddInvite{party, {}, Bytes(10), 1, 0}));
  EXPECT_TRUE(refused(AddInvite{party, {}, Bytes(kInviteEnvelopeBytesMax + 1), 1, 60}));
  EXPECT_TRUE(refused(PutStatements{party, std::vector<Bytes>(kStatementsMax + 1, Bytes(1)), {}, {}, 0}));
  EXPECT_FALSE(refused(AddInvite{party, {}, Bytes(kInviteEnvelopeBytesMax), 1, 60}));
  EXPECT_FALSE(decode_signal(encode_signal({party, make.key(), Bytes(kSignalBytesMax + 1)})));
}

TEST(ControlWire, RefusesWhatIsNotTheMessage) {
  EXPECT_EQ(decode_request("/v1/nowhere", "{}").error().code, Code::kNotFound);
  for (const char* text : {"", "[]", "{}", "{\"party\":5}", R"({"party":"ABABABABABABABABABABABABABABABAB"})"})
    EXPECT_EQ(decode_request("/v1/invite/list", text).error().code, Code::kInvalid) << text;
  EXPECT_TRUE(decode_request("/v1/invite/list", R"({"party":"abababababababababababababababab","more":1})"));
}

TEST(ControlWire, ARelaysReportIsInBounds) {
  ReportRelay report;
  const std::string_view path = request_path(report);
  EXPECT_TRUE(decode_request(path, encode(Request(report))));
  for (const char* reason : {"", "Rate", "a b", "\x1b[2J", "a_reason_that_is_longer_than_any_that_we_have"}) {
    report.dropped = {{reason, 1}};
    EXPECT_FALSE(decode_request(path, encode(Request(report)))) << reason;
  }
  report.dropped = std::vector<ReportRelay::Drops>(kDropReasonsMax + 1, {"rate", 1});
  EXPECT_FALSE(decode_request(path, encode(Request(report))));
  report.dropped.clear();
  report.load = 101;
  EXPECT_FALSE(decode_request(path, encode(Request(report))));
}

TEST(ControlWire, SkipsEventsOfALaterVersion) {
  auto event = decode_event(R"({"type":"weather","sun":true})");
  ASSERT_TRUE(event);
  EXPECT_FALSE(event->has_value());
  EXPECT_FALSE(decode_event("{}"));
  EXPECT_FALSE(decode_event(R"({"type":"statement","version":1})"));
  EXPECT_FALSE(decode_event(R"({"type":"invite","version":1})"));
}

TEST(ControlWire, ErrorsKeepTheirCodeOrGetOneFromTheStatus) {
  const Error error = decode_error(409, encode(Error{Code::kConflict, "the name is taken", "choose another"}));
  EXPECT_EQ(error.code, Code::kConflict);
  EXPECT_EQ(error.message, "the name is taken");
  EXPECT_EQ(error.hint, "choose another");
  EXPECT_EQ(decode_error(429, "<html>").code, Code::kExhausted);
  EXPECT_EQ(decode_error(413, "").code, Code::kInvalid);
  EXPECT_EQ(decode_error(503, "{}").code, Code::kUnavailable);
  EXPECT_EQ(decode_error(500, "{\"error\":1}").code, Code::kFailed);
  EXPECT_THAT(decode_error(404, "").message, HasSubstr("404"));
}

TEST(ControlWire, OnlyNumberedEventsHaveANumber) {
  for (const Event& event : Maker(5).events()) EXPECT_EQ(event_version(event).has_value(), event.index() < 4);
}

}  // namespace
}  // namespace lanrage::wire
