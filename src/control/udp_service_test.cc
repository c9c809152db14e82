#include "control/udp_service.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include "crypto/random.h"
#include "net/address.h"
#include "net/clock.h"
#include "net/fd.h"
#include "wire/stun.h"

namespace lanrage::control {
namespace {

// A plain UDP socket that asks a server on loopback and waits for the answer.
class Asker {
 public:
  explicit Asker(std::uint16_t port, bool v6 = false)
      : Asker(Endpoint{v6 ? *IpAddress::parse("::1") : IpAddress::v4(127, 0, 0, 1), port}) {}
  explicit Asker(const Endpoint& server)
      : fd_(::socket(server.address.is_v6() ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    sockaddr_storage address{};
    const socklen_t size = net::to_sockaddr(server, address);
    connected_ = ::connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), size) == 0;
    timeval timeout{.tv_sec = 20, .tv_usec = 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
  }
  bool connected() const { return connected_; }
  Endpoint local() const {
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    ::getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    return *net::from_sockaddr(address);
  }
  void send(ByteView datagram) {
    EXPECT_EQ(::send(fd_.get(), datagram.data(), datagram.size(), 0), static_cast<ssize_t>(datagram.size()));
  }
  Bytes receive() {
    Bytes out(2048);
    const ssize_t size = ::recv(fd_.get(), out.data(), out.size(), 0);
    out.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
    return out;
  }

 private:
  net::Fd fd_;
  bool connected_ = false;
};

struct Member {
  crypto::SystemRng rng;
  crypto::PrivateKey key = crypto::PrivateKey::generate(rng);
  crypto::PublicKey name = crypto::public_key(key);
};

// Registers with the relay and gives what it said.
std::optional<wire::RelayRegistered> enter(Asker& asker, const Member& member, const crypto::PublicKey& relay,
                                           const crypto::SigningKey& grants, std::uint32_t index, Bytes& held) {
  const auto mac = wire::relay_mac_key(member.key, relay, member.name, relay);
  wire::RelayGrant grant;
  grant.party = {1, 2, 3};
  grant.peer = member.name;
  grant.expires_unix = unix_seconds(net::now().wall) + 600;
  const auto bytes = wire::sign_grant(grant, grants);
  const std::uint32_t indices[] = {index};
  asker.send(wire::write_relay_register(1, {}, bytes, indices, *mac));
  const Bytes asked = asker.receive();
  const auto challenge = wire::parse_relay_challenge(asked);
  if (!challenge) return std::nullopt;
  asker.send(wire::write_relay_register(1, challenge->cookie, bytes, indices, *mac));
  held = asker.receive();
  return wire::parse_relay_registered(held);
}

TEST(UdpService, AnswersStunOnBothFamiliesWithoutARelay) {
  const auto service = UdpService::start({}, silent_logger());
  ASSERT_TRUE(service) << service.error().message;
  for (const bool v6 : {false, true}) {
    Asker asker((*service)->port(), v6);
    if (v6 && !asker.connected()) continue;
    const wire::StunTransaction transaction{1, 2, 3};
    asker.send(wire::write_stun_request(transaction));
    const auto answer = wire::parse_stun_response(asker.receive());
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->mapped, asker.local());
  }
}

TEST(UdpService, ARelayAloneAnswersNoStunAndOpensNoSecondPort) {
  crypto::SystemRng rng;
  const auto grants = crypto::SigningKey::generate(rng);
  relay::ServerOptions options;
  options.key = crypto::PrivateKey::generate(rng);
  options.grant_keys = {crypto::verify_key(grants)};
  const crypto::PublicKey relay = crypto::public_key(options.key);
  const auto service = UdpService::start({.relay = options, .stun = false}, silent_logger());
  ASSERT_TRUE(service) << service.error().message;
  EXPECT_EQ((*service)->second_port(), 0);
  Asker asker((*service)->port());
  asker.send(wire::write_stun_request({1, 2, 3}));
  const Member alice;
  Bytes held;
  EXPECT_TRUE(enter(asker, alice, relay, grants, 7, held));  // its first answer is the relay's
  EXPECT_EQ((*service)->stats().stun.answered, 0u);
}

TEST(UdpService, SaysThatItsPortIsInUse) {
  const auto first = UdpService::start({}, silent_logger());
  ASSERT_TRUE(first);
  const auto second = UdpService::start({.port = (*first)->port()}, silent_logger());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::kConflict);
}

TEST(UdpService, RelaysBetweenTwoMembersOfAParty) {
  crypto::SystemRng rng;
  const auto grants = crypto::SigningKey::generate(rng);
  relay::ServerOptions options;
  options.key = crypto::PrivateKey::generate(rng);
  const crypto::PublicKey relay = crypto::public_key(options.key);
  options.grant_keys = {crypto::verify_key(grants)};
  const auto service = UdpService::start({.port = 0, .relay = options}, silent_logger());
  ASSERT_TRUE(service);
  Asker a((*service)->port()), b((*service)->port());
  const Member alice, bob;
  Bytes held;
  const auto registered = enter(a, alice, relay, grants, 7, held);
  ASSERT_TRUE(registered);
  EXPECT_EQ(registered->observed, a.local());
  ASSERT_TRUE(enter(b, bob, relay, grants, 8, held));

  Bytes framed(wire::kRelayHeaderBytes + 3);
  wire::write_relay_send(wire::relay_peer(bob.name), Bytes{9, 9, 9}, framed);
  a.send(framed);
  const Bytes delivered = b.receive();
  const auto frame = wire::parse_relay_frame(delivered);
  ASSERT_TRUE(frame);
  EXPECT_EQ(frame->peer, wire::relay_peer(alice.name));
  EXPECT_EQ(to_bytes(frame->payload), (Bytes{9, 9, 9}));

  Bytes data(200, 0xaa);  // WireGuard type 4 for bob's index, several at once
  store_le<std::uint32_t>(data.data(), 4);
  store_le<std::uint32_t>(data.data() + 4, 8);
  for (int i = 0; i < 10; ++i) a.send(data);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(b.receive(), data);

  // What is received alone and waits together leaves together: whole, and in order, whatever the sizes.
  constexpr std::size_t kSizes[] = {200, 200, 150, 32, 220, 220, 220, 40, 1300, 1300};
  std::vector<Bytes> sent;
  for (std::uint32_t i = 0; i < 100; ++i) {
    Bytes& one = sent.emplace_back(data);
    one.resize(kSizes[i % std::size(kSizes)], static_cast<std::uint8_t>(i));
    store_le<std::uint32_t>(one.data() + 8, i);
  }
  for (const Bytes& one : sent) a.send(one);
  for (const Bytes& one : sent) EXPECT_EQ(b.receive(), one);
}

// Connected sockets hear only the address that they asked.
void relay_between(const std::vector<IpAddress>& listen) {
  crypto::SystemRng rng;
  const auto grants = crypto::SigningKey::generate(rng);
  relay::ServerOptions options;
  options.key = crypto::PrivateKey::generate(rng);
  const crypto::PublicKey relay = crypto::public_key(options.key);
  options.grant_keys = {crypto::verify_key(grants)};
  const auto service = UdpService::start({.port = 0, .addresses = listen, .relay = options}, silent_logger());
  ASSERT_TRUE(service) << service.error().message;
  Asker a({IpAddress::v4(127, 0, 0, 2), (*service)->port()}), b({IpAddress::v4(127, 0, 0, 3), (*service)->port()});
  const Member alice, bob;
  Bytes held;
  ASSERT_TRUE(enter(a, alice, relay, grants, 7, held));
  ASSERT_TRUE(enter(b, bob, relay, grants, 8, held));
  Bytes data(200, 0xaa);
  store_le<std::uint32_t>(data.data(), 4);
  store_le<std::uint32_t>(data.data() + 4, 8);
  for (int i = 0; i < 10; ++i) a.send(data);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(b.receive(), data);
}

TEST(UdpService, AnswersAndForwardsFromTheAddressThatWasAsked) {
  relay_between({});
  relay_between({IpAddress::v4(127, 0, 0, 2), IpAddress::v4(127, 0, 0, 3)});
}

TEST(UdpService, IsBoundToTheAddressesThatAreNamedAlone) {
  const auto first = UdpService::start({.addresses = {IpAddress::v4(127, 0, 0, 2)}}, silent_logger());
  ASSERT_TRUE(first) << first.error().message;
  const std::uint16_t port = (*first)->port();
  EXPECT_TRUE(UdpService::start({.port = port, .addresses = {IpAddress::v4(127, 0, 0, 3)}}, silent_logger()));
  const auto same = UdpService::start({.port = port, .addresses = {IpAddress::v4(127, 0, 0, 2)}}, silent_logger());
  ASSERT_FALSE(same);
  EXPECT_EQ(same.error().code, Code::kConflict);
}

}  // namespace
}  // namespace lanrage::control
