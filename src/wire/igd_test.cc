#include "wire/igd.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lanrage::wire {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

const HttpUrl kFrom = *HttpUrl::parse("http://192.168.1.1:5000/rootDesc.xml");

std::string service(const std::string& type, const std::string& control) {
  return "<service><serviceType>" + type + "</serviceType><controlURL>" + control + "</controlURL></service>";
}

TEST(Igd, ReadsUrlsOfAddressesOnly) {
  EXPECT_EQ(kFrom.endpoint, *Endpoint::parse("192.168.1.1:5000"));
  EXPECT_EQ(kFrom.target, "/rootDesc.xml");
  EXPECT_EQ(HttpUrl::parse("http://192.168.1.1")->text(), "http://192.168.1.1:80/");
  EXPECT_EQ(HttpUrl::parse(kFrom.text()), kFrom);
  for (const char* text :
       {"", "http://", "192.168.1.1", "https://192.168.1.1/", "http://localhost:8666/#192.168.1.1",
        "http://192.168.1.1@127.0.0.1/", "http://192.168.1.1:5000@127.0.0.1/", "http://192.168.1.1.example.org/",
        "http://[::1]/", "http://192.168.1.1:/", "http://192.168.1.1:0/", "http://192.168.1.1:65536/",
        "http://192.168.1.1/a b", "http://192.168.1.1/a\r\nHost: x", "http://192.168.1.1?a", "file:///etc/passwd"})
    EXPECT_FALSE(HttpUrl::parse(text)) << text;
}

TEST(Igd, SearchesAndReadsTheAnswer) {
  EXPECT_THAT(write_ssdp_search(2), HasSubstr("ST: urn:schemas-upnp-org:device:InternetGatewayDevice:2\r\n"));
  const auto found =
      parse_ssdp(as_bytes("HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\nst:urn:schemas-upnp-org:device:"
                          "InternetGatewayDevice:1\r\nLocation: http://192.168.1.1:5000/rootDesc.xml\r\n"
                          "BOOTID.UPNP.ORG: 1700000000\r\n\r\n"));
  ASSERT_TRUE(found);
  EXPECT_EQ(found->location, kFrom);
  EXPECT_EQ(found->boot, "1700000000");
  EXPECT_FALSE(found->is_notice || found->is_leaving);
}

TEST(Igd, ReadsNotices) {
  const auto gone =
      parse_ssdp(as_bytes("NOTIFY * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nNT: urn:schemas-upnp-org:device:"
                          "InternetGatewayDevice:1\r\nNTS: ssdp:byebye\r\n\r\n"));
  ASSERT_TRUE(gone);
  EXPECT_TRUE(gone->is_notice && gone->is_leaving);
  EXPECT_FALSE(parse_ssdp(as_bytes("NOTIFY * HTTP/1.1\r\nNT: upnp:rootdevice\r\nNTS: ssdp:alive\r\n\r\n")));
  EXPECT_FALSE(parse_ssdp(as_bytes(write_ssdp_search(1))));
  EXPECT_FALSE(parse_ssdp(as_bytes("HTTP/1.1 500 no\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n")));
  EXPECT_FALSE(parse_ssdp(Bytes(kSsdpBytesMax + 1, 'a')));
}

TEST(Igd, FindsTheServicesThatOpenPorts) {
  const auto found = parse_igd_description(
      "<?xml version=\"1.0\"?><root><device><serviceList>" +
          service("urn:schemas-upnp-org:service:WANCommonInterfaceConfig:1", "/cif") +
          service("urn:schemas-upnp-org:service:WANIPConnection:2", "/ctl?a=1&amp;b=2") +
          service("urn:schemas-upnp-org:service:WANPPPConnection:1", "http://192.168.1.9:8080/ppp") +
          service("urn:schemas-upnp-org:service:WANIPConnection:1", "ctl/ip") + "</serviceList></device></root>",
      kFrom);
  ASSERT_THAT(found, SizeIs(3));
  EXPECT_EQ(found[0].type, "urn:schemas-upnp-org:service:WANIPConnection:2");
  EXPECT_EQ(found[0].control.text(), "http://192.168.1.1:5000/ctl?a=1&b=2");
  EXPECT_EQ(found[1].control.text(), "http://192.168.1.9:8080/ppp");  // whether to go there is the caller's choice
  EXPECT_EQ(found[2].control.text(), "http://192.168.1.1:5000/ctl/ip");
}

TEST(Igd, TakesTheBaseThatADescriptionNames) {
  const std::string ip = service("urn:schemas-upnp-org:service:WANIPConnection:1", "/ctl");
  const auto found = parse_igd_description("<URLBase>http://192.168.1.1:49000/</URLBase>" + ip, kFrom);
  ASSERT_THAT(found, SizeIs(1));
  EXPECT_EQ(found[0].control.text(), "http://192.168.1.1:49000/ctl");
  EXPECT_THAT(parse_igd_description("<URLBase>http://fritz.box/</URLBase>" + ip, kFrom), IsEmpty());
  EXPECT_THAT(parse_igd_description("", kFrom), IsEmpty());
  EXPECT_THAT(parse_igd_description("<service><serviceType>", kFrom), IsEmpty());
  EXPECT_THAT(parse_igd_description(service("urn:schemas-upnp-org:service:WANIPConnection:1\" x", "/ctl"), kFrom),
              IsEmpty());
  std::string many;
  for (int i = 0; i < 100; ++i) many += ip;
  EXPECT_THAT(parse_igd_description(many, kFrom), SizeIs(kIgdServicesMax));
  EXPECT_THAT(parse_igd_description(many + std::string(kIgdBytesMax, ' '), kFrom), IsEmpty());
}

TEST(Igd, AsksAndReadsItsOwnQuestionBack) {
  const IgdService at{"urn:schemas-upnp-org:service:WANIPConnection:1", kFrom};
  const std::string body = write_igd_action(at, "AddPortMapping", {{"NewRemoteHost", ""}, {"NewExternalPort", "7"}});
  EXPECT_THAT(body, HasSubstr("<u:AddPortMapping xmlns:u=\"urn:schemas-upnp-org:service:WANIPConnection:1\">"));
  EXPECT_EQ(igd_value(body, "NewRemoteHost"), "");
  EXPECT_EQ(igd_value(body, "NewExternalPort"), "7");
  EXPECT_FALSE(igd_value(body, "NewInternalPort"));
  EXPECT_FALSE(igd_value(body, "Body"));  // no text
  EXPECT_EQ(igd_value("<a:errorCode xmlns:dt=\"x\"> 718\n</a:errorCode>", "errorCode"), "718");
  EXPECT_FALSE(igd_value("<v>" + std::string(300, 'x') + "</v>", "v"));
}

}  // namespace
}  // namespace lanrage::wire
