#include "dataplane/uapi.h"

#include <gtest/gtest.h>

#include "base/rng.h"

namespace lanrage::dataplane {
namespace {

const std::string kKey(64, 'a');

TEST(Uapi, TellsWhereARequestEnds) {
  EXPECT_EQ(uapi_request_size("get=1\n\nget=1\n\n"), 7u);
  EXPECT_EQ(uapi_request_size("set=1\nlisten_port=5\n"), 0u);
  EXPECT_EQ(uapi_request_size(""), 0u);
}

TEST(Uapi, ReadsGet) {
  const auto request = parse_uapi("get=1\n\n");
  ASSERT_TRUE(request);
  EXPECT_FALSE(request->set);
}

TEST(Uapi, ReadsEveryKeyOfTheProtocol) {
  const auto request =
      parse_uapi("set=1\nprivate_key=" + kKey +
                 "\nfwmark=0\nlisten_port=12912\nreplace_peers=true\npublic_key=" + kKey + "\npreshared_key=" + kKey +
                 "\nreplace_allowed_ips=true\nallowed_ip=192.168.4.4/32\nallowed_ip=-10.0.0.1/8\n"
                 "endpoint=[abcd:23::33%2]:51820\n\n");
  EXPECT_FALSE(request) << "scoped addresses are not understood";
  const auto good =
      parse_uapi("set=1\nprivate_key=" + kKey +
                 "\nfwmark=0\nlisten_port=12912\nreplace_peers=true\npublic_key=" + kKey + "\npreshared_key=" + kKey +
                 "\nreplace_allowed_ips=true\nallowed_ip=192.168.4.4/32\nallowed_ip=-10.0.0.1/8\n"
                 "endpoint=[abcd:23::33]:51820\npersistent_keepalive_interval=111\nprotocol_version=1\npublic_key=" +
                 std::string(64, 'b') + "\nremove=true\nupdate_only=true\n\n");
  ASSERT_TRUE(good && good->set);
  const UapiChange& change = *good->set;
  EXPECT_EQ(to_hex(change.private_key->bytes()), kKey);
  EXPECT_EQ(change.fwmark, 0u);
  EXPECT_EQ(change.listen_port, 12912);
  EXPECT_TRUE(change.replace_peers);
  ASSERT_EQ(change.peers.size(), 2u);
  const UapiPeerChange& first = change.peers[0];
  EXPECT_TRUE(first.replace_allowed_ips && first.preshared_key);
  EXPECT_EQ(first.endpoint, Endpoint::parse("[abcd:23::33]:51820"));
  EXPECT_EQ(first.persistent_keepalive_s, 111);
  ASSERT_EQ(first.allowed_ips.size(), 2u);
  EXPECT_EQ(first.allowed_ips[1], (UapiAllowedIp{*IpPrefix::parse("10.0.0.0/8"), true}));
  EXPECT_TRUE(change.peers[1].remove && change.peers[1].update_only);
}

TEST(Uapi, RefusesWhatItDoesNotUnderstand) {
  const std::string peer = "set=1\npublic_key=" + kKey + "\n";
  for (const std::string& bad :
       {std::string("get=2\n\n"), std::string("get=1\n"), std::string("\n\n"),
        std::string("set=1\nlisten_port=65536\n\n"), std::string("set=1\nlisten_port=\n\n"),
        std::string("set=1\nlisten_port\n\n"), std::string("set=1\nunknown=1\n\n"),
        std::string("set=1\nprivate_key=abcd\n\n"), "set=1\nprivate_key=" + std::string(64, 'g') + "\n\n",
        std::string("set=1\nendpoint=1.2.3.4:5\n\n"), peer + "listen_port=1\n\n", peer + "endpoint=1.2.3.4\n\n",
        peer + "allowed_ip=1.2.3.4/33\n\n", peer + "remove=false\n\n", peer + "persistent_keepalive_interval=70000\n\n",
        peer + "protocol_version=2\n\n"})
    EXPECT_FALSE(parse_uapi(bad)) << bad;
  EXPECT_FALSE(parse_uapi("set=1\n" + std::string(kUapiRequestBytesMax, '\n')));
}

TEST(Uapi, SetRoundTrips) {
  SeededRng rng(3);
  for (int round = 0; round < 100; ++round) {
    UapiChange change;
    if (rng.below(2)) change.private_key.emplace(rng.array<32>());
    if (rng.below(2)) change.listen_port = static_cast<std::uint16_t>(rng.u32());
    if (rng.below(2)) change.fwmark = rng.u32();
    change.replace_peers = rng.below(2) != 0;
    for (std::uint64_t n = rng.below(4); n > 0; --n) {
      UapiPeerChange& peer = change.peers.emplace_back();
      peer.public_key = crypto::PublicKey(rng.array<32>());
      peer.remove = rng.below(2) != 0;
      peer.update_only = rng.below(2) != 0;
      peer.replace_allowed_ips = rng.below(2) != 0;
      if (rng.below(2)) peer.preshared_key.emplace(rng.array<32>());
      if (rng.below(2)) peer.endpoint = Endpoint{IpAddress::v4(rng.u32()), static_cast<std::uint16_t>(rng.u32())};
      if (rng.below(2)) peer.persistent_keepalive_s = static_cast<std::uint16_t>(rng.u32());
      for (std::uint64_t m = rng.below(4); m > 0; --m)
        peer.allowed_ips.push_back(
            {IpPrefix{IpAddress::v4(rng.u32()), static_cast<int>(rng.below(33))}.network(), rng.below(2) != 0});
    }
    const std::string text = format_uapi(change);
    EXPECT_EQ(uapi_request_size(text), text.size());
    const auto again = parse_uapi(text);
    ASSERT_TRUE(again && again->set);
    EXPECT_EQ(format_uapi(*again->set), text);
  }
}

TEST(Uapi, PrintsADeviceAsWgExpectsIt) {
  UapiDevice device;
  device.listen_port = 5;
  UapiPeer& peer = device.peers.emplace_back();
  peer.endpoint = Endpoint::parse("1.2.3.4:5");
  peer.last_handshake = WallTime{std::chrono::nanoseconds{1'500'000'002}};
  peer.tx_bytes = 7;
  peer.rx_bytes = 8;
  peer.allowed_ips = {*IpPrefix::parse("10.0.0.0/8")};
  const std::string zeros(64, '0');
  EXPECT_EQ(format_uapi(device), "listen_port=5\npublic_key=" + zeros + "\npreshared_key=" + zeros +
                                     "\nprotocol_version=1\nendpoint=1.2.3.4:5\nlast_handshake_time_sec=1\n"
                                     "last_handshake_time_nsec=500000002\ntx_bytes=7\nrx_bytes=8\n"
                                     "persistent_keepalive_interval=0\nallowed_ip=10.0.0.0/8\nerrno=0\n\n");
  EXPECT_EQ(format_uapi_result(0), "errno=0\n\n");
  EXPECT_EQ(format_uapi_result(22), "errno=-22\n\n");
}

}  // namespace
}  // namespace lanrage::dataplane
