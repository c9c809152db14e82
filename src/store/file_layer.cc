#include "store/file_layer.h"

#include <sqlite3.h>

#include <new>
#include <string>

#include "base/bytes.h"

namespace lanrage::store {

struct FileLayer::Vfs {
  sqlite3_vfs base;
  sqlite3_vfs* system;
  FileCounts* counts;
  std::string name;
};

namespace {

constexpr std::size_t kHeldMax = 0x1ffff;  // what the system's file takes at once (seekAndWriteFd() in os_unix.c)

// What SQLite holds of an open file; the system's own follows it in the same memory.
struct File {
  sqlite3_file base;
  FileCounts* counts;
  bool is_log;
  Bytes held{};  // not in the file yet, from `held_at` on
  sqlite3_int64 held_at = 0;

  static File& of(sqlite3_file* file) { return *reinterpret_cast<File*>(file); }
  sqlite3_file* system() { return reinterpret_cast<sqlite3_file*>(this + 1); }
  const sqlite3_io_methods& methods() { return *system()->pMethods; }

  int write(const void* from, std::size_t size, sqlite3_int64 at) {
    counts->writes.fetch_add(1, std::memory_order_relaxed);
    counts->bytes.fetch_add(size, std::memory_order_relaxed);
    return methods().xWrite(system(), from, static_cast<int>(size), at);
  }
  int flush() {
    if (held.empty()) return SQLITE_OK;
    const int code = write(held.data(), held.size(), held_at);
    held.clear();  // after an error SQLite rolls back and writes it anew
    return code;
  }
  int append(const void* from, std::size_t size, sqlite3_int64 at) {
    const bool follows = at == held_at + static_cast<sqlite3_int64>(held.size());
    if (!follows || held.size() + size > kHeldMax) {
      if (const int code = flush(); code != SQLITE_OK) return code;
    }
    if (held.empty()) held_at = at;
    const auto* bytes = static_cast<const std::uint8_t*>(from);
    held.insert(held.end(), bytes, bytes + size);
    return SQLITE_OK;
  }
};

// Flushes, then asks the system's file for the same.
template <auto Method, class... Arguments>
int after_flush(sqlite3_file* file, Arguments... arguments) {
  File& f = File::of(file);
  if (const int code = f.flush(); code != SQLITE_OK) return code;
  return (f.methods().*Method)(f.system(), arguments...);
}
template <auto Method, class... Arguments>
auto pass(sqlite3_file* file, Arguments... arguments) {
  File& f = File::of(file);
  return (f.methods().*Method)(f.system(), arguments...);
}

using Methods = sqlite3_io_methods;

int close_file(sqlite3_file* file) {
  File& f = File::of(file);
  const int flushed = f.flush();
  const int closed = f.methods().xClose(f.system());
  f.~File();
  return flushed != SQLITE_OK ? flushed : closed;
}
int write_file(sqlite3_file* file, const void* from, int size, sqlite3_int64 at) {
  File& f = File::of(file);
  const auto bytes = static_cast<std::size_t>(size);
  return f.is_log ? f.append(from, bytes, at) : f.write(from, bytes, at);
}
int sync_file(sqlite3_file* file, int flags) {
  File::of(file).counts->syncs.fetch_add(1, std::memory_order_relaxed);
  return after_flush<&Methods::xSync>(file, flags);
}

// Version 2: without memory-mapped reads, which this database does not use.
const Methods kMethods = {
    .iVersion = 2,
    .xClose = close_file,
    .xRead = after_flush<&Methods::xRead, void*, int, sqlite3_int64>,
    .xWrite = write_file,
    .xTruncate = after_flush<&Methods::xTruncate, sqlite3_int64>,
    .xSync = sync_file,
    .xFileSize = after_flush<&Methods::xFileSize, sqlite3_int64*>,
    .xLock = pass<&Methods::xLock, int>,
    .xUnlock = pass<&Methods::xUnlock, int>,
    .xCheckReservedLock = pass<&Methods::xCheckReservedLock, int*>,
    .xFileControl = after_flush<&Methods::xFileControl, int, void*>,
    .xSectorSize = pass<&Methods::xSectorSize>,
    .xDeviceCharacteristics = pass<&Methods::xDeviceCharacteristics>,
    .xShmMap = pass<&Methods::xShmMap, int, int, int, void volatile**>,
    .xShmLock = pass<&Methods::xShmLock, int, int, int>,
    .xShmBarrier = pass<&Methods::xShmBarrier>,
    .xShmUnmap = pass<&Methods::xShmUnmap, int>,
    .xFetch = nullptr,
    .xUnfetch = nullptr,
};

}  // namespace

FileLayer::FileLayer(FileCounts& counts) : vfs_(std::make_unique<Vfs>()) {
  static std::atomic<int> number{0};
  vfs_->system = sqlite3_vfs_find(nullptr);
  vfs_->counts = &counts;
  vfs_->name = "lanrage-" + std::to_string(++number);
  vfs_->base = *vfs_->system;  // all but opening is the system's
  vfs_->base.pNext = nullptr;
  vfs_->base.zName = vfs_->name.c_str();
  vfs_->base.szOsFile = static_cast<int>(sizeof(File)) + vfs_->system->szOsFile;
  vfs_->base.xOpen = [](sqlite3_vfs* base, const char* name, sqlite3_file* memory, int flags, int* flags_out) {
    const Vfs& self = *reinterpret_cast<Vfs*>(base);
    File& file = *new (memory) File{{&kMethods}, self.counts, (flags & SQLITE_OPEN_WAL) != 0};
    const int code = self.system->xOpen(self.system, name, file.system(), flags, flags_out);
    if (file.system()->pMethods == nullptr) {  // not even SQLite closes it
      file.~File();
      memory->pMethods = nullptr;
    }
    return code;
  };
  sqlite3_vfs_register(&vfs_->base, 0);
}

FileLayer::~FileLayer() { sqlite3_vfs_unregister(&vfs_->base); }

const char* FileLayer::name() const { return vfs_->name.c_str(); }

}  // namespace lanrage::store
