// The node's state files: which have to be written, and when.
//
// What somebody was answered is on disk before the answer, soon: at once while little changes, else together with all
// that changed within a window (store/commit_window.h). Soft state, which is learned anew when it is lost, waits for
// others in any case; what must hold before the next packet leaves waits for nothing. A file whose content is as on
// disk is not written. What the disk does not take stays here and is tried again every window.
//
// Time, content and the disk come in as arguments. One thread.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "base/result.h"
#include "store/commit_window.h"

namespace lanrage::daemon {

class StateFiles {
 public:
  enum class Class : std::uint8_t { kAtOnce, kAnswered, kSoft };
  struct Stats {
    std::uint64_t requests = 0;
    std::uint64_t unchanged = 0;    // of them, or found so when it was their turn: as on disk
    std::uint64_t merged = 0;       // of them: the file waited already
    std::uint64_t writes = 0;       // files replaced or removed
    std::uint64_t bytes = 0;        // that they hold
    std::uint64_t bytes_saved = 0;  // of files that were not written again
  };
  struct Disk {
    std::function<std::string(const std::string& file)> content;  // as it is to be; empty: no such file
    std::function<Result<void>(const std::string& file, std::string_view content)> write;  // empty: removes it
  };

  StateFiles(Duration window, Disk disk) : window_(window), pace_(window), disk_(std::move(disk)) {}

  // So it is on disk, when the program starts.
  void found(const std::string& file, std::string content) { on_disk_[file] = std::move(content); }  // "": it is not
  void request(Time now, const std::string& file, Class kind);
  Time due() const { return due_; }  // of save(); kNever: all is on disk
  // Writes all that waits.
  void save(Time now);
  // Something that somebody is to be answered is not on disk yet. What the disk refuses is not waited for.
  bool holds_answers() const {
    return std::any_of(unsaved_answers_.begin(), unsaved_answers_.end(),
                       [this](const std::string& file) { return !refused_.contains(file); });
  }
  const std::string& problem() const { return problem_; }  // why the disk takes nothing; empty: it does
  const Stats& stats() const { return stats_; }

 private:
  Result<void> save(const std::string& file);

  const Duration window_;
  store::CommitWindow pace_;
  const Disk disk_;
  std::map<std::string, std::optional<std::string>> on_disk_;  // none: nobody knows
  std::set<std::string> unsaved_;
  std::set<std::string> refused_;          // of those, by the disk when they were last tried
  std::set<std::string> unsaved_answers_;  // of those
  std::string problem_;
  Time due_ = kNever;
  Stats stats_;
};

}  // namespace lanrage::daemon
