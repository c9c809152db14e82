// Games on one machine and members elsewhere, through everything of LANrage that stands between: the forwarder with the
// real tables, packet sockets, memberships, injection and a real TAP.
#include <gtest/gtest.h>

#include "host/test_machine.h"

namespace lanrage::host {
namespace {

// --- What a game here sends ------------------------------------------------------------------------------------------

TEST(LanGames, AskTheWholePartyByLimitedBroadcast) {
  on_a_machine([](Machine& m) {
    Game game;
    game.bind_any(40'000).send({ip("255.255.255.255"), 27960}, "getinfo");
    m.pump();
    EXPECT_EQ(m.sent, List{"getinfo 10.66.1.1 > 255.255.255.255:27960"});
    const auto programs = m.forwarder->status().programs;
    ASSERT_EQ(programs.size(), 1u);
    EXPECT_EQ(programs[0].program, "host_root_test");
    EXPECT_EQ(programs[0].port, 27960);
  });
}

TEST(LanGames, AskByEverySubnetBroadcast) {
  on_a_machine([](Machine& m) {
    Game game;
    game.send({ip("192.168.9.255"), 8303}, "other card");
    game.send({ip("10.66.1.255"), 8303}, "party");
    m.pump();
    std::sort(m.sent.begin(), m.sent.end());
    EXPECT_EQ(m.sent, (List{"other card 10.66.1.1 > 10.66.1.255:8303", "party 10.66.1.1 > 10.66.1.255:8303"}));
  });
}

TEST(LanGames, AnnounceToGroupsWhicheverCardTheyChoose) {
  on_a_machine([](Machine& m) {
    for (const char* group : {"224.0.0.251", "239.255.255.250", "224.0.2.60", "225.1.1.1"}) {
      for (const unsigned interface : {m.eth0_index, m.adapter_index}) {
        Game game;
        game.send_groups_by(interface);
        const std::uint16_t port = std::string(group) == "224.0.0.251"       ? 5353
                                   : std::string(group) == "239.255.255.250" ? 1900
                                                                             : 4445;
        game.send({ip(group), port}, "hello");
        m.pump();
        EXPECT_EQ(m.sent, List{"hello 10.66.1.1 > " + std::string(group) + ":" + std::to_string(port)});
        m.sent.clear();
      }
    }
  });
}

TEST(LanGames, AnnounceOverIpv6ByLinkLocalSource) {
  on_a_machine([](Machine& m) {
    Game game(AF_INET6);
    game.send({ip("ff02::1"), 6000}, "hello", m.eth0_index);
    game.send({ip("ff02::1"), 6001}, "hello", m.adapter_index);
    m.pump();
    std::sort(m.sent.begin(), m.sent.end());
    EXPECT_EQ(m.sent, (List{"hello fd00:66::1 > [ff02::1]:6000", "hello fd00:66::1 > [ff02::1]:6001"}));
  });
}

TEST(LanGames, AnnounceOnEachCardInTurnAndAreHeardOnceEachTime) {
  on_a_machine([](Machine& m) {
    Game by_eth0, by_adapter;
    by_eth0.bind({ip("192.168.9.1"), 4445});
    by_adapter.bind({ip("10.66.1.1"), 4445});
    for (int round = 0; round < 3; ++round) {
      by_eth0.send({ip("255.255.255.255"), 4445}, "same");
      m.pump();
      by_adapter.send({ip("255.255.255.255"), 4445}, "same");
      m.pump();
    }
    EXPECT_EQ(m.sent, List(3, "same 10.66.1.1 > 255.255.255.255:4445"));
    EXPECT_EQ(m.dropped(lan::Drop::kCardInTurn), 3u);
  });
}

TEST(LanGames, SendNothingElseIntoTheParty) {
  on_a_machine([](Machine& m) {
    Game game;
    game.join(ip("225.1.1.1"), Machine::kAdapterName);  // IGMP leaves by the adapter
    game.send({ip("255.255.255.255"), 67}, "dhcp");
    game.send({ip("10.66.1.255"), 137}, "netbios");
    m.pump();
    EXPECT_EQ(m.sent, List{});
    EXPECT_EQ(m.dropped(lan::Drop::kNeverForwarded), 2u);
  });
}

// --- What a member said ----------------------------------------------------------------------------------------------

TEST(LanGames, HearMembersHoweverTheyAreBound) {
  on_a_machine([](Machine& m) {
    Game any, by_address, by_party_address, dual(AF_INET6);
    any.bind_any(6000);
    by_address.bind({ip("192.168.9.1"), 6001});
    by_party_address.bind({ip("10.66.1.1"), 6002});
    dual.bind({ip("::"), 6003});
    for (const char* destination : {"255.255.255.255", "10.66.1.255"}) {
      for (std::uint16_t port = 6000; port < 6004; ++port) m.say(destination, port, "hello");
      for (const Game* game : {&any, &by_address, &by_party_address, &dual})
        EXPECT_EQ(game->heard(), List{"hello from 10.66.1.7:4000"});
    }
  });
}

TEST(LanGames, HearOnceEachOnOnePort) {
  on_a_machine([](Machine& m) {
    Game any, by_address;
    any.bind_any(6000);
    by_address.bind({ip("192.168.9.1"), 6000});
    m.say("255.255.255.255", 6000, "hello");
    EXPECT_EQ(any.heard(), List{"hello from 10.66.1.7:4000"});
    EXPECT_EQ(by_address.heard(), List{"hello from 10.66.1.7:4000"});
  });
}

TEST(LanGames, BoundToAnotherAddressAreAnsweredAndAskedInTurn) {
  on_a_machine([](Machine& m) {
    Game game;
    game.bind({ip("192.168.9.1"), 6000});
    m.say("255.255.255.255", 6000, "who");
    EXPECT_EQ(game.heard(), List{"who from 10.66.1.7:4000"});
    game.send({ip("10.66.1.7"), 4000}, "me");
    m.pump();
    // The data path takes it from here, with the forwarder's snapshot.
    const auto translation = m.forwarder->translation();
    Bytes answer = m.last_left;
    ASSERT_TRUE(translation->rewrite_outbound(answer, *wire::parse_ip(answer)));
    const auto udp = wire::parse_udp_packet(answer);
    EXPECT_EQ(udp->source, (Endpoint{ip("10.66.1.1"), 6000}));
    EXPECT_TRUE(wire::has_valid_checksum(answer, udp->ip));
    Bytes join = wire::build_udp({ip("10.66.1.7"), 4001}, {ip("10.66.1.1"), 6000}, as_bytes("join"));
    lan::FragmentTrail trail;
    ASSERT_TRUE(translation->rewrite_inbound(Time{}, join, *wire::parse_ip(join), trail));
    m.write(join);
    EXPECT_EQ(game.heard(), List{"join from 10.66.1.7:4001"});
  });
}

TEST(LanGames, HearGroupsWhereverTheyJoinedThem) {
  on_a_machine([](Machine& m) {
    const char* groups[] = {"224.0.0.251", "239.255.255.250", "224.0.2.60", "225.1.1.1"};
    for (const char* group : groups) {
      for (const char* interface : {static_cast<const char*>(nullptr), "eth0", Machine::kAdapterName}) {
        for (const int multicast_all : {1, 0}) {
          Game game;
          game.set(IPPROTO_IP, IP_MULTICAST_ALL, multicast_all).bind_any(4445).join(ip(group), interface);
          // Tables a moment old do not know this socket; an answer milliseconds after the join must still arrive.
          m.tables->view(net::now().time, lan::Freshness::kNow);
          for (const char* text : {"one", "two"}) {
            m.say(group, 4445, text);
            EXPECT_EQ(game.heard(), List{std::string(text) + " from 10.66.1.7:4000"})
                << group << " on " << (interface != nullptr ? interface : "any") << ", all " << multicast_all;
          }
        }
      }
    }
  });
}

TEST(LanGames, OfBothKindsHearAGroupOnceEach) {
  on_a_machine([](Machine& m) {
    Game native, java;
    native.bind_any(4445).join(ip("224.0.2.60"));
    m.say("224.0.2.60", 4445, "first");
    EXPECT_EQ(native.heard(), List{"first from 10.66.1.7:4000"});
    java.set(IPPROTO_IP, IP_MULTICAST_ALL, 0).bind_any(4445).join(ip("224.0.2.60"), "eth0");
    m.tables->view(net::now().time, lan::Freshness::kNow);
    m.say("224.0.2.60", 4445, "second");
    EXPECT_EQ(native.heard(), List{"second from 10.66.1.7:4000"});
    EXPECT_EQ(java.heard(), List{"second from 10.66.1.7:4000"});
    m.pump();
    EXPECT_EQ(m.sent, List{}) << "our own injection is not taken up";
    const auto groups = m.forwarder->status().groups;
    ASSERT_EQ(groups.size(), 1u);
    EXPECT_EQ(groups[0].interface, "eth0");
  });
}

TEST(LanGames, HearIpv6Groups) {
  on_a_machine([](Machine& m) {
    for (const int multicast_all : {1, 0}) {
      Game game(AF_INET6);
      game.set(IPPROTO_IPV6, IPV6_MULTICAST_ALL, multicast_all).bind({ip("::"), 4445}).join(ip("ff05::1234"), "eth0");
      m.say("ff05::1234", 4445, "hello");
      EXPECT_EQ(game.heard(), List{"hello from [fd00:66::7]:4000"});
      m.say("ff02::1", 4445, "all");
      // All nodes: nobody joins it, so it is for those who hear what others joined.
      EXPECT_EQ(game.heard(), multicast_all == 1 ? List{"all from [fd00:66::7]:4000"} : List{});
    }
  });
}

TEST(LanGames, JoinedAMomentAgoHearTheAnswerToAnotherGroup) {
  on_a_machine([](Machine& m) {
    Game asker;
    asker.bind_any(5556).join(ip("225.1.1.1"));
    asker.send({ip("225.1.1.1"), 5555}, "servers?");
    m.pump();  // reads the tables for the program's name
    Game listener;
    listener.bind_any(5557).join(ip("225.1.1.2"));
    m.say("225.1.1.2", 5557, "here");
    EXPECT_EQ(listener.heard(), List{"here from 10.66.1.7:4000"});
  });
}

TEST(LanGames, BoundToADeviceAreNamedWhereNothingReachesThem) {
  on_a_machine([](Machine& m) {
    Game game;
    game.bind_any(6000).bind_device("eth0");
    m.say("255.255.255.255", 6000, "hello");
    EXPECT_EQ(game.heard(), List{});
    EXPECT_NE(m.status_text().find("host_root_test on port 6000 is bound to the device eth0"), std::string::npos)
        << m.status_text();
    game.join(ip("224.0.2.60"), "eth0");
    m.tables->view(net::now().time, lan::Freshness::kNow);
    m.say("224.0.2.60", 6000, "group");
    EXPECT_EQ(game.heard(), List{"group from 10.66.1.7:4000"}) << "its group reaches it by injection";
  });
}

TEST(LanGames, MayHoldMoreGroupsThanOneSocketCan) {
  on_a_machine([](Machine& m) {
    std::vector<std::unique_ptr<Game>> games;
    for (int n = 0; n < 50; ++n) {
      const std::string group = "225.2.0." + std::to_string(n + 1);
      games.push_back(std::make_unique<Game>());
      games.back()->bind_any(static_cast<std::uint16_t>(7000 + n)).join(ip(group.c_str()));
    }
    m.tables->view(net::now().time, lan::Freshness::kNow);
    for (int n = 0; n < 50; ++n) {
      m.say(("225.2.0." + std::to_string(n + 1)).c_str(), static_cast<std::uint16_t>(7000 + n), "hello");
      EXPECT_EQ(games[static_cast<std::size_t>(n)]->heard(), List{"hello from 10.66.1.7:4000"}) << n;
    }
  });
}

// --- Cards come and go -----------------------------------------------------------------------------------------------

TEST(LanCapture, FollowsCardsThatComeAndGo) {
  on_a_machine([](Machine& m) {
    EXPECT_EQ(m.capture->watched(), 2u);  // eth0 and its far end
    shell(
        "ip link add late0 type veth peer name late1 && ip link set late1 up && ip link set late0 up && "
        "ip addr add 192.168.10.1/24 brd + dev late0");
    m.pump();
    EXPECT_EQ(m.capture->watched(), 4u);
    m.tables->view(net::now().time, lan::Freshness::kNow);
    Game game;
    game.send({ip("192.168.10.255"), 6000}, "late");
    m.pump();
    EXPECT_EQ(m.sent, List{"late 10.66.1.1 > 10.66.1.255:6000"});
    shell("ip link del late0");
    m.pump();
    EXPECT_EQ(m.capture->watched(), 2u);
    EXPECT_EQ(m.capture->lost(), 0u);
  });
}

TEST(LanCapture, LeavesTheAdaptersOfOtherNodesAlone) {
  on_a_machine([](Machine& m) {
    shell(
        "ip link add lanrage9 type veth peer name peer9 && ip link set lanrage9 up && "
        "ip addr add 10.66.9.1/24 brd + dev lanrage9");
    m.pump();
    EXPECT_EQ(m.capture->watched(), 2u);
    Game game;
    game.send({ip("10.66.9.255"), 6000}, "their party");
    m.pump();
    EXPECT_EQ(m.sent, List{});
  });
}

}  // namespace
}  // namespace lanrage::host
