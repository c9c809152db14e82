// The node's settings: `lanrage.toml`, the environment and flags as one typed tree, and where each value came from.
//
// A flag wins over LANRAGE_..., which wins over the file, which wins over the default. Every key has the same name
// everywhere: `log_level` in the file, LANRAGE_LOG_LEVEL, --log-level. Parsing is pure: the caller reads the file and
// the environment.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/log.h"
#include "base/result.h"

namespace lanrage::config {

struct Settings {
  std::string interface;            // empty: the first free lanrageN
  std::uint16_t port = 0;           // UDP; 0: any free one
  std::string api;                  // ADDRESS:PORT of the local page; empty: the first free port from 127.0.0.1:8666
  std::string server;               // a server's link; empty: `host` embeds one
  std::string name;                 // this player's name; empty: the machine's
  bool port_mapping = true;         // ask the router for ports while in a party, and for a server
  std::string redundancy = "auto";  // game packets on two paths at once: auto, off or always
  std::string relay_for_party = "auto";  // relay for other members: auto, on or off
  bool strict = false;                   // members reach only what `allow` opens
  bool offload = true;                   // segmentation offloads of adapter and sockets; a relay forwards in the kernel
  std::uint16_t write_window = 100;      // ms that changes of state wait at most to share one write to disk
  std::string bus;                       // of servers that share a store: nats://...; empty: the store's database
  std::string store;                     // of a server: postgres://...; empty: SQLite in its folder
  std::string log_level = "info";
  std::string log_format = "text";
  std::string log_file;  // empty: standard error; the command line sets DIR/lanrage.log in the background

  Result<LogOptions> log_options() const;
};

enum class Origin { kDefault, kFile, kEnvironment, kFlag };
const char* origin_name(Origin origin);

// One setting as `lanrage config` shows it.
struct Entry {
  std::string key;
  std::string value;
  bool quoted;  // a text in the file; not a number, true or false
  Origin origin;
  std::string help;
};

class Config {
 public:
  struct Sources {
    std::string file_name;                                                      // for errors
    std::string file_text;                                                      // TOML; may be empty
    std::function<std::optional<std::string>(const std::string&)> environment;  // by variable name
    std::map<std::string, std::string> flags;                                   // by key
  };
  // kInvalid names the key, where it came from and what it would take.
  static Result<Config> load(const Sources& sources);

  const Settings& settings() const { return settings_; }
  std::vector<Entry> entries() const;
  // Every key with its help, for the command line to offer as flags.
  static std::vector<std::pair<std::string, std::string>> keys();
  static std::vector<std::string> key_names();

 private:
  Settings settings_;
  std::map<std::string, Origin> origins_;
};

}  // namespace lanrage::config
