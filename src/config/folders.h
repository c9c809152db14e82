// Where a node keeps its things on this machine.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "base/result.h"

namespace lanrage::config {

struct Folders {
  std::string state;  // keys, party, configuration, log
  std::string run;    // the socket of the local API
  std::string socket() const { return run + "/lanrage.sock"; }
  std::string server_socket() const { return run + "/server.sock"; }

  using Environment = std::function<std::optional<std::string>(const std::string&)>;
  // LANRAGE_DIR holds both; else /var/lib/lanrage and /run/lanrage for root, and the XDG folders for others.
  static Folders of(const Environment& environment, bool root);
  // Makes them, for their owner only. kIo says which and why.
  Result<void> create() const;
};

// The process's own environment. Without a HOME it is the one of this user's account. Not while other threads run.
std::optional<std::string> environment(const std::string& name);

// The whole file, or nothing when it does not exist. kIo when it does and cannot be read.
Result<std::optional<std::string>> read_file(const std::string& path);
// Replaces `path` atomically and durably (temporary file beside it, fsync, rename, fsync of the folder). Mode 0600. One
// writer at a time: whoever holds the folder's lock.
Result<void> write_file(const std::string& path, std::string_view content);

}  // namespace lanrage::config
