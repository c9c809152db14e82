// The power goes at every sync of a run: what was synced is there, of what was not some sectors, in any order.
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <future>
#include <map>
#include <mutex>

#include "base/rng.h"
#include "store/test_store.h"

namespace lanrage::store {
namespace {

constexpr std::size_t kSector = 512;

// The system's files, and what a disk would hold of them if the power went now.
class Disk {
 public:
  struct File {
    Bytes now;     // with what waits in the kernel
    Bytes synced;  // what is certain
  };
  struct Cut {
    std::map<std::string, File> files;
    std::uint64_t acknowledged;
  };

  explicit Disk(const std::atomic<std::uint64_t>& acknowledged) : acknowledged_(acknowledged) {
    disk = this;
    system = sqlite3_vfs_find(nullptr);
    vfs_ = *system;
    vfs_.zName = "power-cut";
    vfs_.xOpen = [](sqlite3_vfs*, const char* name, sqlite3_file* file, int flags, int* out) {
      const int code = system->xOpen(system, name, file, flags, out);
      if (code == SQLITE_OK) disk->opened(name, file);
      return code;
    };
    vfs_.xDelete = [](sqlite3_vfs*, const char* name, int sync) {
      disk->removed(name);
      return system->xDelete(system, name, sync);
    };
    sqlite3_vfs_register(&vfs_, 1);
  }
  ~Disk() {
    sqlite3_vfs_unregister(&vfs_);
    sqlite3_vfs_register(system, 1);
    disk = nullptr;
  }
  std::vector<Cut> cuts() {
    const std::lock_guard lock(mutex_);
    return cuts_;
  }

 private:
  static inline Disk* disk = nullptr;
  static inline sqlite3_vfs* system = nullptr;
  static inline const sqlite3_io_methods* methods = nullptr;

  void opened(const char* name, sqlite3_file* file) {
    const std::lock_guard lock(mutex_);
    methods = file->pMethods;  // databases and logs are locked differently, and written alike
    sqlite3_io_methods& watched = watched_.try_emplace(methods, *methods).first->second;
    watched.xWrite = [](sqlite3_file* f, const void* from, int size, sqlite3_int64 at) {
      disk->wrote(f, {static_cast<const std::uint8_t*>(from), static_cast<std::size_t>(size)},
                  static_cast<std::size_t>(at));
      return methods->xWrite(f, from, size, at);
    };
    watched.xTruncate = [](sqlite3_file* f, sqlite3_int64 size) {
      disk->truncated(f, static_cast<std::size_t>(size));
      return methods->xTruncate(f, size);
    };
    watched.xSync = [](sqlite3_file* f, int flags) {
      disk->syncing(f);
      return methods->xSync(f, flags);
    };
    file->pMethods = &watched;
    names_[file] = file_name(name);
  }
  static std::string file_name(const char* path) { return std::filesystem::path(path).filename().string(); }
  void removed(const char* path) {
    const std::lock_guard lock(mutex_);
    files_.erase(file_name(path));
  }
  void wrote(sqlite3_file* f, ByteView bytes, std::size_t at) {
    const std::lock_guard lock(mutex_);
    Bytes& now = files_[names_[f]].now;
    now.resize(std::max(now.size(), at + bytes.size()));
    std::copy(bytes.begin(), bytes.end(), now.begin() + static_cast<std::ptrdiff_t>(at));
  }
  void truncated(sqlite3_file* f, std::size_t size) {
    const std::lock_guard lock(mutex_);
    files_[names_[f]].now.resize(size);
  }
  // Just before: the last moment at which it can be lost.
  void syncing(sqlite3_file* f) {
    const std::lock_guard lock(mutex_);
    cuts_.push_back({files_, acknowledged_});
    File& file = files_[names_[f]];
    file.synced = file.now;
  }

  const std::atomic<std::uint64_t>& acknowledged_;
  sqlite3_vfs vfs_{};
  std::map<const sqlite3_io_methods*, sqlite3_io_methods> watched_;
  std::mutex mutex_;
  std::map<sqlite3_file*, std::string> names_;
  std::map<std::string, File> files_;
  std::vector<Cut> cuts_;
};

// What the disk holds: the synced bytes, and each sector that differs with the given probability.
Bytes after_cut(const Disk::File& file, double share, Rng& rng) {
  Bytes out = file.synced;
  for (std::size_t at = 0; at < file.now.size(); at += kSector) {
    if (rng.unit() >= share) continue;
    const std::size_t end = std::min(at + kSector, file.now.size());
    out.resize(std::max(out.size(), end));
    std::copy(file.now.begin() + static_cast<std::ptrdiff_t>(at), file.now.begin() + static_cast<std::ptrdiff_t>(end),
              out.begin() + static_cast<std::ptrdiff_t>(at));
  }
  return out;
}

std::string make_folder() {
  std::string folder = std::filesystem::temp_directory_path() / "lanrage-power-cut-XXXXXX";
  EXPECT_TRUE(::mkdtemp(folder.data()));
  return folder;
}

TEST(SqliteStore, AtEverySyncThePowerMayGo) {
  constexpr std::uint64_t kVersions = 300;
  const party::PartyId id(std::array<std::uint8_t, 16>{7});
  party::MemberRow row;
  row.public_key = crypto::PublicKey(std::array<std::uint8_t, 32>{1});
  row.state = party::MemberState::kJoined;
  row.ipv4 = IpAddress::v4(10, 66, 1, 1);
  row.record = Bytes(1000, 1);
  std::atomic<std::uint64_t> acknowledged{0};
  const std::string folder = make_folder();
  std::vector<Disk::Cut> cuts;
  {
    Disk disk(acknowledged);
    const auto open = [&] { return SqliteStore::open(folder + "/server.db", silent_logger(), Duration{}).value(); };
    auto store = open();
    std::promise<void> made;
    store->commit({id, 0, {party::PartyCreated{Bytes{1}}}}, [&](const Result<void>&) { made.set_value(); });
    made.get_future().wait();
    // Some changes share a transaction. Closing it now and then writes the log into the database.
    for (std::uint64_t version = 1; version <= kVersions;) {
      if (version % 50 == 0) store.reset(), store = open();
      std::vector<std::future<void>> answers;
      for (std::uint64_t together = 1 + version % 3; together > 0; --together, ++version) {
        row.record_version = version;
        row.public_key = crypto::PublicKey(std::array<std::uint8_t, 32>{static_cast<std::uint8_t>(1 + version % 40)});
        const auto answered = std::make_shared<std::promise<void>>();
        answers.push_back(answered->get_future());
        store->commit({id, 1, {party::VersionRaised{version}, party::MemberPut{row}}},
                      [&acknowledged, version, answered](const Result<void>& result) {
                        if (result) acknowledged = version;
                        answered->set_value();
                      });
      }
      for (const auto& answer : answers) answer.wait();
    }
    store.reset();
    cuts = disk.cuts();
  }
  ASSERT_GE(acknowledged, kVersions);
  ASSERT_GT(cuts.size(), kVersions / 3);
  SeededRng rng(1);
  std::size_t database_syncs = 0;
  for (std::size_t i = 0; i < cuts.size(); ++i) {
    database_syncs += cuts[i].files["server.db"].now != cuts[i].files["server.db"].synced ? 1 : 0;
    for (const double share : {0.0, 0.5, 1.0}) {
      const std::string after = make_folder();
      for (const auto& [name, file] : cuts[i].files) {
        const Bytes bytes = after_cut(file, share, rng);
        std::ofstream(after + "/" + name, std::ios::binary) << as_text(bytes);
      }
      const auto store = SqliteStore::open(after + "/server.db", silent_logger(), Duration{});
      ASSERT_TRUE(store) << store.error().message << " at sync " << i;
      const auto loaded = load(**store, id).value();
      ASSERT_TRUE(loaded || cuts[i].acknowledged == 0) << "at sync " << i;
      if (loaded) {
        const party::PartyData& data = loaded->data;
        EXPECT_GE(data.version, cuts[i].acknowledged) << "at sync " << i;
        std::uint64_t newest = 0;
        for (const auto& [key, member] : data.members) newest = std::max(newest, member.record_version);
        EXPECT_EQ(newest, data.version) << "half of a change, at sync " << i;
      }
      std::filesystem::remove_all(after);
    }
  }
  EXPECT_GT(database_syncs, 0u) << "no cut was in a checkpoint";
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace lanrage::store
