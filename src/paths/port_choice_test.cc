#include "paths/port_choice.h"

#include <gtest/gtest.h>

#include <vector>

namespace lanrage::paths {
namespace {

PortPattern of(std::vector<std::uint16_t> ports) { return port_pattern(ports); }

TEST(PortChoice, CountersUpAndDownAreForeseen) {
  EXPECT_EQ(of({40000, 40001, 40002}), (PortPattern{PortChoice::kSequential, 1}));
  EXPECT_EQ(of({40000, 40002, 40004}), (PortPattern{PortChoice::kSequential, 2}));
  EXPECT_EQ(of({40010, 40009}), (PortPattern{PortChoice::kSequential, -1}));
  EXPECT_EQ(of({65535, 0, 1}), (PortPattern{PortChoice::kSequential, 1}));
}

TEST(PortChoice, OthersMayHaveTakenSomeInBetween) {
  EXPECT_EQ(of({40000, 40004, 40006}), (PortPattern{PortChoice::kSequential, 2}));
}

TEST(PortChoice, RepeatedPortsAreOneMapping) {
  EXPECT_EQ(of({40000, 40000, 40001}), (PortPattern{PortChoice::kSequential, 1}));
  EXPECT_EQ(of({40000, 40000}), PortPattern());
  EXPECT_EQ(of({40000}), PortPattern());
}

TEST(PortChoice, JumpsAndTurnsAreRandom) {
  EXPECT_EQ(of({40000, 12345}).choice, PortChoice::kRandom);
  EXPECT_EQ(of({40000, 40001, 20000}).choice, PortChoice::kRandom);
  EXPECT_EQ(of({40000, 40001, 40000}).choice, PortChoice::kRandom);
}

TEST(PortChoice, WrapsAround) {
  EXPECT_EQ(port_after(65535, 1, 1), 0);
  EXPECT_EQ(port_after(1, -2, 1), 65535);
}

}  // namespace
}  // namespace lanrage::paths
