#include "net/firewall.h"

#include <gmock/gmock.h>

namespace lanrage::net {
namespace {

TEST(Firewall, NamesTheCommandOfTheProgramInCharge) {
  EXPECT_EQ(allow_command({.ufw = true, .chains = {{"ip", "filter", "INPUT", true}}}, "lanrage0"),
            "ufw allow in on lanrage0");
  EXPECT_EQ(allow_command({.firewalld = true, .chains = {{"inet", "firewalld", "filter_INPUT", false}}}, "lanrage0"),
            "firewall-cmd --zone=trusted --add-interface=lanrage0");
}

TEST(Firewall, NamesEveryChainThatDrops) {
  EXPECT_EQ(allow_command({.chains = {{"inet", "mine", "in", true}, {"ip", "other", "watch", false}}}, "lanrage1"),
            "nft insert rule inet mine in iifname lanrage1 accept");
  EXPECT_EQ(allow_command({.chains = {{"ip", "a", "x", true}, {"inet", "b", "y", true}}}, "lanrage1"),
            "nft insert rule ip a x iifname lanrage1 accept && nft insert rule inet b y iifname lanrage1 accept");
}

TEST(Firewall, NamesChainsWhoseRulesMayDropWhereNoPolicyDoes) {
  EXPECT_EQ(allow_command({.chains = {{"inet", "filter", "input", false}}}, "lanrage0"),
            "nft insert rule inet filter input iifname lanrage0 accept");
  EXPECT_EQ(allow_command({}, "lanrage0"), "iptables -I INPUT -i lanrage0 -j ACCEPT");
}

}  // namespace
}  // namespace lanrage::net
