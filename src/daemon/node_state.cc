// The node's state files, and its log as people ask for it.
#include <algorithm>
#include <charconv>

#include "base/format.h"
#include "daemon/node_daemon.h"

namespace lanrage::daemon {
namespace {

constexpr std::size_t kLogTailBytes = 256 * 1024;

}  // namespace

Result<NodeDaemon::Saved> NodeDaemon::load() {
  const Timed timed(log_, op::kStateLoad);
  Saved saved;
  const std::string seed_file = folders_.state + "/identity";
  LR_ASSIGN(auto seed, config::read_file(seed_file));
  if (!seed) {
    saved.seed = party::Identity::generate(rng_).seed();
    LR_TRY(config::write_file(seed_file, as_text(saved.seed.bytes())));
  } else if (const auto read = party::IdentitySeed::from_bytes(as_bytes(*seed))) {
    saved.seed = *read;
  } else {
    return Error{Code::kFailed, format("{} is damaged", seed_file),
                 "restore it from a backup, or remove it to be a new device"};
  }
  LR_ASSIGN(auto floor, config::read_file(folders_.state + "/timestamp"));
  if (const auto bytes = floor ? from_hex(*floor) : std::nullopt; bytes && bytes->size() == saved.floor.bytes.size()) {
    std::copy(bytes->begin(), bytes->end(), saved.floor.bytes.begin());
  }
  LR_ASSIGN(auto party, config::read_file(folders_.state + "/party"));
  saved.party = std::move(party).value_or("");
  LR_ASSIGN(auto contacts, config::read_file(folders_.state + "/contacts"));
  saved.contacts = std::move(contacts).value_or("");
  LR_ASSIGN(auto quality, config::read_file(folders_.state + "/quality"));
  saved.quality = std::move(quality).value_or("");
  LR_ASSIGN(const auto port, config::read_file(folders_.state + "/port"));
  files_.found("timestamp", floor.value_or(""));
  files_.found("party", saved.party);
  files_.found("contacts", saved.contacts);
  files_.found("quality", saved.quality);
  files_.found("port", port.value_or(""));
  if (port) std::from_chars(port->data(), port->data() + port->size(), saved.port);
  return saved;
}

void NodeDaemon::restore(const Saved& saved) {
  if (saved.party.empty()) return;
  if (auto restored = node_->restore(now_, as_bytes(saved.party), saved.contacts); !restored) {
    // Kept for whoever can mend it; the node itself starts without a party.
    const std::string file = folders_.state + "/party";
    const std::string kept = file + ".damaged";
    if (::rename(file.c_str(), kept.c_str()) != 0) log_.warn("the damaged party is not kept", {{"errno", errno}});
    log_.error("the saved party cannot be read", {{"problem", restored.error().message}, {"file", kept}});
    files_.found("party", {});
    damaged_ = format("the saved party could not be read and is kept in {}; join again by an invite", kept);
    return;
  }
  node_->restore_quality(saved.quality);
  // A server of our own served this party: it must be there again, at the same address.
  if (const auto& info = node_->server(); info && ::access((folders_.state + "/server/port").c_str(), F_OK) == 0) {
    auto own = start_server();
    if (!own) log_.warn("the party's server does not start", {{"problem", own.error().message}});
    if (own && server_->info().key != info->key) server_.reset();
  }
}

std::string NodeDaemon::content_of(const std::string& file) const {
  if (file == "party") return std::string(as_text(node_->saved_party()));
  if (file == "contacts") return node_->contacts();
  if (file == "quality") return node_->quality_history();
  if (file == "timestamp") return to_hex(node_->timestamp_floor().bytes);
  return std::to_string(sockets_->port());
}

Result<void> NodeDaemon::write_state(const std::string& file, std::string_view content) {
  const Timed timed(log_, op::kStateSave);
  const std::string path = folders_.state + "/" + file;
  if (!content.empty()) return config::write_file(path, content);
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return os_error(format("cannot remove {}", path), errno);
  return {};
}

void NodeDaemon::save(const std::string& file, StateFiles::Class kind) { files_.request(now_.time, file, kind); }

void NodeDaemon::save() {
  const bool failed = !files_.problem().empty();
  files_.save(now_.time);
  if (files_.problem().empty() == !failed) return;
  if (failed) {
    log_.info("the state is saved again");
  } else {
    log_.error("the state cannot be saved", {{"problem", files_.problem()}});
  }
}

Result<void> NodeDaemon::load_rules() {
  LR_ASSIGN(const auto text, config::read_file(folders_.state + "/rules"));
  std::vector<node::FilterRule> rules;
  std::string_view rest = text ? std::string_view(*text) : std::string_view();
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    const bool allow = line.rfind("allow ", 0) == 0;
    if (!allow && line.rfind("deny ", 0) != 0) continue;
    LR_ASSIGN(auto rule,
              node::FilterRule::parse(allow ? node::FilterRule::Action::kAllow : node::FilterRule::Action::kDeny,
                                      line.substr(line.find(' ') + 1)));
    rules.push_back(rule);
  }
  node_->set_filter(now_, settings_.strict, std::move(rules));
  return {};
}

Result<void> NodeDaemon::save_rules() {
  std::string text;
  for (const node::FilterRule& rule : node_->filter_rules()) {
    text += format("{} {}\n", rule.action == node::FilterRule::Action::kAllow ? "allow" : "deny", rule.text());
  }
  return config::write_file(folders_.state + "/rules", text);
}

Result<std::vector<std::string>> NodeDaemon::log_lines(std::size_t count) const {
  if (settings_.log_file.empty())
    return Error{Code::kNotFound, "this node logs to standard error", "start it with --log-file to read its log here"};
  LR_ASSIGN(const auto text, config::read_file(settings_.log_file));
  std::string_view rest = text ? std::string_view(*text) : std::string_view();
  if (rest.size() > kLogTailBytes) rest.remove_prefix(rest.size() - kLogTailBytes);
  std::vector<std::string> lines;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    lines.emplace_back(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  if (lines.size() > count) lines.erase(lines.begin(), lines.end() - static_cast<std::ptrdiff_t>(count));
  return lines;
}

}  // namespace lanrage::daemon
