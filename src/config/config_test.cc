#include "config/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "config/folders.h"

namespace lanrage::config {
namespace {

using testing::AllOf;
using testing::HasSubstr;

Config::Sources sources(std::string file, std::map<std::string, std::string> variables = {},
                        std::map<std::string, std::string> flags = {}) {
  return {"lanrage.toml", std::move(file),
          [variables](const std::string& name) {
            auto it = variables.find(name);
            return it == variables.end() ? std::nullopt : std::optional<std::string>(it->second);
          },
          std::move(flags)};
}

Origin origin_of(const Config& config, const std::string& key) {
  for (const Entry& entry : config.entries()) {
    if (entry.key == key) return entry.origin;
  }
  ADD_FAILURE() << key;
  return Origin::kDefault;
}

TEST(Config, FlagWinsOverEnvironmentOverFileOverDefault) {
  const std::string file = "port = 1\nname = \"file\"\nstrict = true\n";
  const Config config =
      Config::load(sources(file, {{"LANRAGE_PORT", "2"}, {"LANRAGE_NAME", "env"}}, {{"port", "3"}})).value();
  EXPECT_EQ(config.settings().port, 3);
  EXPECT_EQ(config.settings().name, "env");
  EXPECT_TRUE(config.settings().strict);
  EXPECT_EQ(origin_of(config, "port"), Origin::kFlag);
  EXPECT_EQ(origin_of(config, "name"), Origin::kEnvironment);
  EXPECT_EQ(origin_of(config, "strict"), Origin::kFile);
  EXPECT_EQ(origin_of(config, "offload"), Origin::kDefault);
}

TEST(Config, ErrorsNameTheKeyAndTheSource) {
  EXPECT_THAT(Config::load(sources("prot = 1")).error().message,
              AllOf(HasSubstr("lanrage.toml"), HasSubstr("\"prot\"")));
  EXPECT_THAT(Config::load(sources("port = 70000")).error().message, HasSubstr("port"));
  EXPECT_THAT(Config::load(sources("port = [1]")).error().message, HasSubstr("wrong type"));
  EXPECT_THAT(Config::load(sources("a = = b")).error().message, HasSubstr("lanrage.toml:1"));
  EXPECT_THAT(Config::load(sources("", {{"LANRAGE_STRICT", "maybe"}})).error().message, HasSubstr("LANRAGE_STRICT"));
  EXPECT_THAT(Config::load(sources("", {}, {{"log_level", "loud"}})).error().message,
              AllOf(HasSubstr("command line"), HasSubstr("log_level"), HasSubstr("loud")));
  for (const char* wrong : {"interface = \"a/b\"", "interface = \"waytoolonganame0\"", "api = \"0.0.0.0:8666\"",
                            "server = \"nonsense\"", "name = \" x\""}) {
    const std::string key = std::string(wrong).substr(0, std::string(wrong).find(' '));
    EXPECT_THAT(Config::load(sources(wrong)).error().message, AllOf(HasSubstr("lanrage.toml"), HasSubstr(key)))
        << wrong;
  }
  EXPECT_TRUE(Config::load(sources("", {{"LANRAGE_PORT", ""}}))) << "an empty variable is none";
  EXPECT_EQ(Config::load(sources("log_format = \"xml\"")).error().code, Code::kInvalid);
  EXPECT_EQ(Config::load(sources("redundancy = \"on\"")).error().code, Code::kInvalid);
  EXPECT_EQ(Config::load(sources("relay_for_party = \"always\"")).error().code, Code::kInvalid);
  EXPECT_EQ(Config::load(sources("", {}, {{"relay_for_party", "on"}})).value().settings().relay_for_party, "on");
}

TEST(Folders, FollowTheEnvironment) {
  auto environment = [](std::map<std::string, std::string> values) {
    return [values](const std::string& name) {
      auto it = values.find(name);
      return it == values.end() ? std::nullopt : std::optional<std::string>(it->second);
    };
  };
  EXPECT_EQ(Folders::of(environment({{"LANRAGE_DIR", "/x"}}), true).socket(), "/x/lanrage.sock");
  EXPECT_EQ(Folders::of(environment({}), true).state, "/var/lib/lanrage");
  EXPECT_EQ(Folders::of(environment({{"HOME", "/home/p"}, {"XDG_RUNTIME_DIR", "/run/user/5"}}), false).run,
            "/run/user/5/lanrage");
  EXPECT_EQ(Folders::of(environment({{"HOME", "/"}}), false).state, "/.local/state/lanrage");
  EXPECT_EQ(Folders::of(environment({{"HOME", "/home/p"}, {"XDG_STATE_HOME", ""}, {"XDG_RUNTIME_DIR", ""}}), false).run,
            "/home/p/.local/state/lanrage");
}

TEST(Folders, WithoutHomeAreTheAccounts) {
  const auto home = config::environment("HOME");
  ::unsetenv("HOME");
  const auto without = config::environment("HOME");
  ::setenv("HOME", "", 1);
  EXPECT_EQ(config::environment("HOME"), without);
  if (home) ::setenv("HOME", home->c_str(), 1);
  ASSERT_TRUE(without);
  EXPECT_EQ(without->front(), '/');
}

TEST(Files, AreReplacedAtomicallyForTheirOwnerOnly) {
  const std::string folder =
      (std::filesystem::temp_directory_path() / ("lanrage_config_test_" + std::to_string(getpid()))).string();
  const Folders folders{folder, folder};
  ASSERT_TRUE(folders.create());
  ASSERT_TRUE(folders.create());  // a second start finds them there
  const std::string path = folder + "/seed";
  EXPECT_FALSE(read_file(path).value().has_value());
  ASSERT_TRUE(write_file(path, "one"));
  std::ofstream(path + ".tmp") << "half of";  // by a writer that was killed
  ASSERT_TRUE(write_file(path, "two"));
  EXPECT_EQ(read_file(path).value(), "two");
  struct stat status {};
  ASSERT_EQ(stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), std::filesystem::directory_iterator()), 1);
  EXPECT_EQ(write_file("/dev/full/x", "y").error().code, Code::kIo);
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace lanrage::config
