// SQLite's way to its files: the system's, with two differences.
//
// What is appended to the write-ahead log is held until something needs it to be in the file (a sync above all), and
// then written in one piece: SQLite writes two pieces for every page. That changes nothing for a power cut or a killed
// process, which keep no promise about what was not synced; no other connection looks for a transaction in the log
// before it is synced (`synchronous=FULL`, sqlite3WalFrames() in wal.c). And what reaches the disk is counted.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

namespace lanrage::store {

struct FileCounts {
  std::atomic<std::uint64_t> writes{0}, bytes{0}, syncs{0};  // system calls, and what the writes carried
};

// Registers a VFS (https://www.sqlite.org/vfs.html) whose work `counts` gets. While the object lives databases may be
// opened by its name; they must be closed before it goes.
class FileLayer {
 public:
  explicit FileLayer(FileCounts& counts);
  ~FileLayer();
  FileLayer(const FileLayer&) = delete;
  FileLayer& operator=(const FileLayer&) = delete;

  const char* name() const;

 private:
  struct Vfs;
  std::unique_ptr<Vfs> vfs_;
};

}  // namespace lanrage::store
