#include "daemon/state_files.h"

#include <algorithm>

namespace lanrage::daemon {
namespace {

constexpr Duration kAgain = std::chrono::milliseconds(100);  // at the soonest, after the disk's no

}  // namespace

void StateFiles::request(Time now, const std::string& file, Class kind) {
  ++stats_.requests;
  if (!unsaved_.insert(file).second) {
    ++stats_.merged;
    if (const auto& known = on_disk_[file]) stats_.bytes_saved += known->size();
  }
  if (kind != Class::kSoft) unsaved_answers_.insert(file);
  const Time due = kind == Class::kAtOnce ? now : kind == Class::kAnswered ? pace_.due(now) : now + window_;
  if (!refused_.contains(file)) due_ = std::min(due_, due);
}

void StateFiles::save(Time now) {
  due_ = kNever;
  const std::uint64_t before = stats_.writes;
  std::string problem;
  std::erase_if(unsaved_, [&](const std::string& file) {
    const auto saved = save(file);
    if (saved) {
      unsaved_answers_.erase(file);
      refused_.erase(file);
    } else {
      refused_.insert(file);
      problem = saved.error().message;
    }
    return saved.has_value();
  });
  problem_ = std::move(problem);
  if (stats_.writes != before) pace_.begun(now);
  if (!unsaved_.empty()) due_ = now + std::max(window_, kAgain);
}

Result<void> StateFiles::save(const std::string& file) {
  std::string content = disk_.content(file);
  auto& known = on_disk_.try_emplace(file, "").first->second;
  if (content == known) {
    ++stats_.unchanged;
    stats_.bytes_saved += content.size();
    return {};
  }
  known.reset();  // it may fail when the file is replaced already
  LR_TRY(disk_.write(file, content));
  ++stats_.writes;
  stats_.bytes += content.size();
  known = std::move(content);
  return {};
}

}  // namespace lanrage::daemon
