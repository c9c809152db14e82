#include "party/name.h"

#include <gtest/gtest.h>

namespace lanrage::party {
namespace {

TEST(Name, TakesPrintableCharactersOfAnyAlphabet) {
  for (const char* name : {"alice", "Player One", "Åsa", "Борис", "さくら", "🎮 gg", "x"}) {
    EXPECT_TRUE(check_name(name)) << name;
    EXPECT_TRUE(display_safe(name)) << name;
  }
}

TEST(Name, CountsCharactersNotBytes) {
  std::string name;
  for (int i = 0; i < 24; ++i) name += "ы";
  EXPECT_TRUE(check_name(name));
  EXPECT_FALSE(check_name(name + "ы"));
  EXPECT_TRUE(check_party_name(name + name));
  EXPECT_FALSE(check_party_name(name + name + "x"));
}

TEST(Name, RefusesWhatWouldMisleadATerminalOrAReader) {
  const std::string with_zero("a\0b", 3);
  for (const std::string& name :
       {std::string(), std::string(" alice"), std::string("alice "), std::string("a\nb"), std::string("\x1b[31mred"),
        std::string("a\x7f"), std::string("a\u0085b"), std::string("a\u202eb"), std::string("a\u2066b"),
        std::string("a\u200bb"), std::string("a\u00adb"), std::string("a\u00a0b"), std::string("a\ufeffb"),
        std::string("a\U000e0041"), std::string("a\ufe0f"), std::string("a\uffff"), std::string("a\U0001fffe"),
        with_zero}) {
    EXPECT_FALSE(check_name(name)) << name;
  }
}

TEST(Name, RefusesMalformedUtf8) {
  for (const char* name : {"\x80", "\xc0\xaf", "\xc3", "\xe2\x82", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xff"}) {
    EXPECT_FALSE(check_name(name));
    EXPECT_FALSE(display_safe(name));
  }
}

TEST(Name, ErrorSaysWhichRuleAndWhatToDo) {
  const auto result = check_name("a\tb");
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::kInvalid);
  EXPECT_EQ(result.error().message, "the name holds a control or invisible character");
  EXPECT_EQ(result.error().hint, "use 1 to 24 printable characters");
}

TEST(Name, FoldsCaseInTheAlphabetsThatHaveIt) {
  EXPECT_EQ(fold_name("ALICE"), "alice");
  EXPECT_EQ(fold_name("ÅSA ŁŻ"), "åsa łż");
  EXPECT_EQ(fold_name("БОРИС Ё"), "борис ё");
  EXPECT_EQ(fold_name("ΣΊΣΥΦΟΣ").substr(0, 2), "σ");
  EXPECT_EQ(fold_name("×"), "×");
  EXPECT_EQ(fold_name("🎮"), "🎮");
  EXPECT_NE(fold_name("alice"), fold_name("alicé"));
}

TEST(Hostname, IsLettersDigitsAndAFewMarks) {
  EXPECT_TRUE(is_valid_hostname(""));
  EXPECT_TRUE(is_valid_hostname("desk-1.home_net"));
  EXPECT_FALSE(is_valid_hostname("a b"));
  EXPECT_FALSE(is_valid_hostname(std::string(64, 'a')));
}

}  // namespace
}  // namespace lanrage::party
