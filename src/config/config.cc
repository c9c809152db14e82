#include "config/config.h"

#include <charconv>
#include <variant>
#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

#include "base/format.h"
#include "base/ip.h"
#include "party/link.h"
#include "party/name.h"
#include "paths/party_relay.h"
#include "paths/redundancy.h"

namespace lanrage::config {
namespace {

constexpr std::size_t kInterfaceBytesMax = 15;  // the kernel's
constexpr std::uint16_t kWriteWindowMax = 5000;

using Member = std::variant<std::string Settings::*, std::uint16_t Settings::*, bool Settings::*>;

struct Setting {
  const char* key;
  Member member;
  const char* help;
};

const Setting kSettings[] = {
    {"interface", &Settings::interface, "name of the network adapter; empty: the first free lanrageN"},
    {"port", &Settings::port, "UDP port of this node; 0: any free one"},
    {"api", &Settings::api, "ADDRESS:PORT of the local page; empty: 127.0.0.1:8666 or the next free port"},
    {"server", &Settings::server, "link of the server to use; empty: host embeds one"},
    {"name", &Settings::name, "your name in parties; empty: this machine's name"},
    {"port_mapping", &Settings::port_mapping,
     "ask the router (PCP, NAT-PMP, UPnP) for ports, so that friends elsewhere get through"},
    {"redundancy", &Settings::redundancy,
     "send game packets on two paths at once: auto (while the best one loses packets or is uneven), off or always"},
    {"relay_for_party", &Settings::relay_for_party,
     "relay for friends in your party who cannot reach each other: auto (where strangers' packets reach this machine, "
     "it has "
     "no battery and the network is not metered), on or off"},
    {"strict", &Settings::strict, "let other members reach only what `lanrage allow` opened"},
    {"offload", &Settings::offload,
     "segmentation offloads, and a relay's forwarding inside the kernel; switch off to rule them out when something is "
     "odd"},
    {"write_window", &Settings::write_window,
     "milliseconds that changes wait at most, while there are many, to share one write to disk; 0: none waits"},
    {"store", &Settings::store,
     "where a server keeps its parties: postgres://USER@HOST/DATABASE; empty: SQLite in its folder"},
    {"bus", &Settings::bus,
     "how servers that share a store hear of each other: nats://HOST:PORT, several with commas between; empty: by the "
     "store's database"},
    {"log_level", &Settings::log_level, "trace, debug, info, warn, error or off; also per logger: info,paths=debug"},
    {"log_format", &Settings::log_format, "text or json"},
    {"log_file", &Settings::log_file,
     "file to log to, rotated at 10 MiB; empty: standard error, in the background lanrage.log"},
};

std::string variable_name(std::string_view key) {
  std::string out = "LANRAGE_";
  for (char c : key) out += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return out;
}

Result<void> assign(Settings& settings, const Setting& setting, std::string_view text, std::string_view where) {
  if (const auto* member = std::get_if<std::string Settings::*>(&setting.member)) {
    settings.*(*member) = std::string(text);
    return {};
  }
  if (const auto* member = std::get_if<bool Settings::*>(&setting.member)) {
    if (text != "true" && text != "false" && text != "1" && text != "0") {
      return Error{Code::kInvalid, format("{}: {} cannot be \"{}\"", where, setting.key, text), "use true or false"};
    }
    settings.*(*member) = text == "true" || text == "1";
    return {};
  }
  std::uint16_t number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) {
    return Error{Code::kInvalid, format("{}: {} cannot be \"{}\"", where, setting.key, text),
                 "use a number from 0 to 65535"};
  }
  settings.*std::get<std::uint16_t Settings::*>(setting.member) = number;
  return {};
}

std::string value_text(const Settings& settings, const Setting& setting) {
  return std::visit(
      [&settings](auto member) -> std::string {
        const auto& value = settings.*member;
        if constexpr (std::is_same_v<std::decay_t<decltype(value)>, std::string>) return value;
        if constexpr (std::is_same_v<std::decay_t<decltype(value)>, bool>) return value ? "true" : "false";
        if constexpr (std::is_same_v<std::decay_t<decltype(value)>, std::uint16_t>) return std::to_string(value);
      },
      setting.member);
}

// What a text setting must be; others can be any text. The error's message says what is wrong, without the value.
Result<void> check(const Settings& settings, std::string_view key) {
  if (key == "interface" && settings.interface.size() > kInterfaceBytesMax)
    return Error{Code::kInvalid, "is too long", "use 15 letters or less"};
  if (key == "interface" && settings.interface.find_first_of("/ \t\n:%") != std::string::npos)
    return Error{Code::kInvalid, "holds what no interface's name may hold", "use letters and digits"};
  if (key == "api" && !settings.api.empty()) {
    const auto endpoint = Endpoint::parse(settings.api);
    if (!endpoint || !endpoint->address.is_loopback())
      return Error{Code::kInvalid, "is no ADDRESS:PORT of this machine alone", "write it like 127.0.0.1:8666"};
  }
  if (key == "server" && !settings.server.empty()) LR_TRY(party::ServerLink::parse(settings.server));
  if (key == "name" && !settings.name.empty()) LR_TRY(party::check_name(settings.name));
  if (key == "redundancy" && !paths::parse_redundancy(settings.redundancy))
    return Error{Code::kInvalid, "is none of auto, off and always", "use auto, off or always"};
  if (key == "relay_for_party" && !paths::parse_relay_for_party(settings.relay_for_party))
    return Error{Code::kInvalid, "is none of auto, on and off", "use auto, on or off"};
  if (key == "write_window" && settings.write_window > kWriteWindowMax)
    return Error{Code::kInvalid, "keeps people waiting", format("use {} ms or less", kWriteWindowMax)};
  if (key == "log_level") LR_TRY(LogLevels::parse(settings.log_level));
  if (key == "log_format" && settings.log_format != "text" && settings.log_format != "json")
    return Error{Code::kInvalid, "is neither text nor json", "use text or json"};
  return {};
}

// A value in the file as the text that the other sources would spell.
std::optional<std::string> node_text(const toml::node& node) {
  if (auto text = node.value_exact<std::string>()) return *text;
  if (auto number = node.value_exact<std::int64_t>()) return std::to_string(*number);
  if (auto flag = node.value_exact<bool>()) return std::string(*flag ? "true" : "false");
  return std::nullopt;
}

}  // namespace

const char* origin_name(Origin origin) {
  switch (origin) {
    case Origin::kDefault:
      return "default";
    case Origin::kFile:
      return "file";
    case Origin::kEnvironment:
      return "environment";
    case Origin::kFlag:
      return "flag";
  }
  return "default";
}

Result<LogOptions> Settings::log_options() const {
  LogOptions options;
  LR_ASSIGN(options.levels, LogLevels::parse(log_level));
  if (log_format != "text" && log_format != "json") {
    return Error{Code::kInvalid, format("log_format cannot be \"{}\"", log_format), "use text or json"};
  }
  options.format = log_format == "json" ? LogFormat::kJson : LogFormat::kText;
  options.file = log_file;
  return options;
}

Result<Config> Config::load(const Sources& sources) {
  Config config;
  toml::parse_result parsed = toml::parse(sources.file_text, sources.file_name);
  if (!parsed) {
    return Error{Code::kInvalid,
                 format("{}:{}: {}", sources.file_name, parsed.error().source().begin.line,
                        std::string(parsed.error().description())),
                 "mend that line, or remove the file to use the defaults"};
  }
  const toml::table& table = parsed.table();
  for (const auto& [key, node] : table) {
    const bool known = std::any_of(std::begin(kSettings), std::end(kSettings),
                                   [&key = key](const Setting& s) { return key == s.key; });
    if (!known) {
      return Error{Code::kInvalid, format("{}: there is no setting \"{}\"", sources.file_name, std::string(key.str())),
                   "`lanrage config` lists them"};
    }
  }
  for (const Setting& setting : kSettings) {
    Origin origin = Origin::kDefault;
    if (const toml::node* node = table.get(setting.key)) {
      const auto text = node_text(*node);
      if (!text) {
        return Error{Code::kInvalid, format("{}: {} has the wrong type", sources.file_name, setting.key), setting.help};
      }
      LR_TRY(assign(config.settings_, setting, *text, sources.file_name));
      origin = Origin::kFile;
    }
    const std::string variable = variable_name(setting.key);
    // An empty variable is one that is not set.
    if (const auto text = sources.environment ? sources.environment(variable) : std::nullopt; text && !text->empty()) {
      LR_TRY(assign(config.settings_, setting, *text, variable));
      origin = Origin::kEnvironment;
    }
    if (auto flag = sources.flags.find(setting.key); flag != sources.flags.end()) {
      LR_TRY(assign(config.settings_, setting, flag->second, "command line"));
      origin = Origin::kFlag;
    }
    config.origins_[setting.key] = origin;
    if (auto valid = check(config.settings_, setting.key); !valid) {
      const std::string where = origin == Origin::kFlag          ? "command line"
                                : origin == Origin::kEnvironment ? variable
                                                                 : sources.file_name;
      return Error{valid.error().code, format("{}: {}: {}", where, setting.key, valid.error().message),
                   valid.error().hint};
    }
  }
  return config;
}

std::vector<Entry> Config::entries() const {
  std::vector<Entry> out;
  for (const Setting& setting : kSettings) {
    const bool quoted = std::holds_alternative<std::string Settings::*>(setting.member);
    out.push_back({setting.key, value_text(settings_, setting), quoted, origins_.at(setting.key), setting.help});
  }
  return out;
}

std::vector<std::pair<std::string, std::string>> Config::keys() {
  std::vector<std::pair<std::string, std::string>> out;
  for (const Setting& setting : kSettings) out.emplace_back(setting.key, setting.help);
  return out;
}

std::vector<std::string> Config::key_names() {
  std::vector<std::string> out;
  for (const Setting& setting : kSettings) out.push_back(setting.key);
  return out;
}

}  // namespace lanrage::config
