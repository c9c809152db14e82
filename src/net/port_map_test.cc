#include "net/port_map.h"

#include <gtest/gtest.h>

#include <future>

namespace lanrage::net {
namespace {

TEST(PortMap, BelievesOnlyAnExternalAddressThatOthersCanReach) {
  EXPECT_EQ(external_address("5.9.2.2"), IpAddress::v4(5, 9, 2, 2));
  for (const char* text :
       {"", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "100.127.255.254", "127.0.0.1",
        "169.254.1.1", "224.0.0.1", "255.255.255.255", "2a0b:4c80::1", "::ffff:10.0.0.1", "5.9.2.2 ", "router"}) {
    EXPECT_FALSE(external_address(text)) << text;
  }
}

TEST(PortMap, TalksToNobodyButTheGateway) {
  const IpAddress gateway = IpAddress::v4(192, 168, 1, 1);
  EXPECT_TRUE(url_is_at("http://192.168.1.1:5000/rootDesc.xml", gateway));
  EXPECT_TRUE(url_is_at("http://192.168.1.1/", gateway));
  EXPECT_TRUE(url_is_at("http://192.168.1.1", gateway));
  for (const char* url :
       {"http://192.168.1.10:5000/", "http://127.0.0.1/192.168.1.1", "http://192.168.1.1@127.0.0.1/",
        "http://192.168.1.1:5000@127.0.0.1/", "https://192.168.1.1/", "192.168.1.1", "http://", "",
        "http://192.168.1.1.example.org/", "file:///etc/passwd", "http://localhost:8666/#192.168.1.1"}) {
    EXPECT_FALSE(url_is_at(url, gateway)) << url;
  }
}

TEST(PortMap, SaysWhyWhenNobodyAnswers) {
  std::promise<PortMap::Outcome> told;
  PortMap map([&told](PortMap::Outcome outcome) { told.set_value(std::move(outcome)); });
  const IpAddress self = IpAddress::v4(127, 0, 0, 1);
  const PortMap::Wanted wanted{self, self, {{Transport::kTcp, 41820}, {Transport::kUdp, 41820}}};
  map.want(wanted);
  const PortMap::Outcome outcome = told.get_future().get();
  EXPECT_EQ(outcome.wanted, wanted);
  EXPECT_TRUE(outcome.mappings.empty());
  EXPECT_FALSE(outcome.problem.empty());
}

}  // namespace
}  // namespace lanrage::net
