#include "wire/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lanrage::wire {
namespace {

using testing::HasSubstr;

TEST(Json, WritesWhatItReads) {
  const std::string text = R"({"b":[1,-9223372036854775808,1.5,true,null,{}],"a":"line\nquote\" \u0001 ü","empty":[]})";
  auto json = Json::parse(text);
  ASSERT_TRUE(json);
  EXPECT_EQ(json->text(), text);
}

TEST(Json, RefusesWhatIsNotOneText) {
  for (const char* text : {"", "{", "{}x", "{\"a\":}", "nul", "'a'", "[1,]", "\"\xff\"", "01", "NaN"})
    EXPECT_FALSE(Json::parse(text)) << text;
}

TEST(Json, BoundsDepthAndSize) {
  const std::string deep(100000, '[');
  EXPECT_FALSE(Json::parse(deep));
  EXPECT_TRUE(Json::parse("[[[]]]", {.depth_max = 3}));
  EXPECT_FALSE(Json::parse("[[[[]]]]", {.depth_max = 3}));
  EXPECT_FALSE(Json::parse("[1,2,3]", {.text_bytes_max = 6}));
}

TEST(Json, BuildsObjectsInOrder) {
  Json json = Json::object({{"name", "a"}, {"port", std::uint16_t{41820}}, {"none", std::optional<int>{}}});
  json.set("name", "b").set("list", Json::list(std::vector<int>{1, 2}, [](int i) { return i * 2; }));
  EXPECT_EQ(json.text(), R"({"name":"b","port":41820,"none":null,"list":[2,4]})");
  EXPECT_EQ(Json(std::numeric_limits<double>::infinity()).text(), "null");
}

TEST(JsonReader, NamesTheFirstFieldThatIsWrong) {
  const Json json = *Json::parse(R"({"name":"alice","age":"old","token":"AAEC"})");
  JsonReader reader(json);
  EXPECT_EQ(reader.string("name", 5), "alice");
  EXPECT_EQ(reader.array<3>("token"), (std::array<std::uint8_t, 3>{0, 1, 2}));
  EXPECT_TRUE(reader.ok());
  EXPECT_EQ(reader.integer("age", 0, 10), 0);
  EXPECT_EQ(reader.string("name", 5), "");
  ASSERT_FALSE(reader.result());
  EXPECT_EQ(reader.result().error().code, Code::kInvalid);
  EXPECT_THAT(reader.result().error().message, HasSubstr("\"age\" must be an integer from 0 to 10"));
}

TEST(JsonReader, HoldsEveryBound) {
  const Json json = *Json::parse(R"({"s":"abcd","i":11,"f":1,"b":"AAEC","bad":"A*","items":[1,2],"n":null})");
  const auto fails = [&](auto read) {
    JsonReader reader(json);
    read(reader);
    return !reader.ok();
  };
  EXPECT_TRUE(fails([](JsonReader& r) { (void)r.string("s", 3); }));
  EXPECT_TRUE(fails([](JsonReader& r) { (void)r.string("s", 9, 5); }));
  EXPECT_TRUE(fails([](JsonReader& r) { (void)r.integer("i", 0, 10); }));
  EXPECT_TRUE(fails([](JsonReader& r) { (void)r.flag("f"); }));
  EXPECT_TRUE(fails([](JsonReader& r) { (void)r.bytes("b", 2); }));
  EXPECT_TRUE(fails([](JsonReader& r) { (void)r.bytes("b", 9, 4); }));
  EXPECT_TRUE(fails([](JsonReader& r) { (void)r.bytes("bad", 9); }));
  EXPECT_TRUE(fails([](JsonReader& r) { (void)r.items("items", 1); }));
  EXPECT_TRUE(fails([](JsonReader& r) { (void)r.string("absent", 9); }));
  EXPECT_TRUE(fails([](JsonReader& r) { (void)r.counter("n"); }));
  EXPECT_FALSE(fails([](JsonReader& r) {
    (void)r.string("s", 4, 4), (void)r.integer("i", 11, 11), (void)r.bytes("b", 3, 3), (void)r.items("items", 2);
  }));
  JsonReader none(*json.find("items"));
  EXPECT_FALSE(none.ok());
}

}  // namespace
}  // namespace lanrage::wire
