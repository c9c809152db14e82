#include "store/group_store.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

namespace lanrage::store {
namespace {

constexpr std::size_t kGroupMax = 512;    // commits in one transaction
constexpr std::size_t kQueueMax = 20000;  // commits that wait

class GroupStore final : public Store {
 public:
  GroupStore(std::unique_ptr<Backend> backend, const Logger& log, Duration window)
      : backend_(std::move(backend)), log_(log), window_(window), reader_([this] { read(); }), writer_([this] {
          run();
        }) {}
  ~GroupStore() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    writer_.join();  // after everything that was queued
    readable_.notify_all();
    reader_.join();
  }

  void load(const party::PartyId& id, Found found) override {
    const std::lock_guard lock(mutex_);
    if (under_way_.contains(id)) {
      is_hurried_ = true;
      wake_.notify_one();
    }
    loads_.push_back({id, std::move(found)});
    readable_.notify_one();
  }

  void changed(Changed changed) override {
    const std::lock_guard lock(mutex_);
    changed_ = std::move(changed);
    readable_.notify_one();
  }

  void commit(Commit commit, Committed done) override {
    {
      const std::lock_guard lock(mutex_);
      ++stats_.requests;
      if (queue_.size() < kQueueMax) {
        ++under_way_[commit.id];
        queue_.push_back({std::move(commit), std::move(done)});
        wake_.notify_one();
        return;
      }
      failed_.insert(commit.id);
      ++stats_.refused;
    }
    done(Error{Code::kExhausted, "the server cannot keep up", "try again in a moment"});
  }

  Result<StoreSize> size() override {
    const std::lock_guard reading(reading_);
    return backend_->size();
  }
  bool is_shared() const override { return backend_->is_shared(); }
  const char* kind() const override { return backend_->kind(); }
  StoreStats stats() const override {
    const std::lock_guard lock(mutex_);
    StoreStats stats = stats_;
    backend_->count(stats);
    if (now() - failed_at_ > kProblemFresh) stats.problem.clear();  // perhaps nobody has asked for anything since
    return stats;
  }

  void retire(WallTime now, std::vector<party::PartyId> in_use, Retired done) override {
    const std::lock_guard lock(mutex_);
    retirement_ = {now, std::move(in_use), std::move(done)};
    wake_.notify_one();
  }

 private:
  struct Entry {
    Commit commit;
    Committed done;
  };
  struct Wanted {
    party::PartyId id;
    Found found;
  };
  struct Asked {
    WallTime now;
    std::vector<party::PartyId> in_use;
    Retired done;
  };

  // The condition variable's clock, as the window counts.
  using Clock = std::chrono::steady_clock;
  static Time now() { return Time{Clock::now().time_since_epoch()}; }

  // Reads what is asked for, a party after what is under way of it.
  void read() {
    for (;;) {
      std::optional<Wanted> wanted;
      Changed changed;
      {
        std::unique_lock lock(mutex_);
        auto next = loads_.end();
        readable_.wait(lock, [&] {
          const bool retires = retirement_ || retiring_;
          next = retires ? loads_.end() : std::find_if(loads_.begin(), loads_.end(), [&](const Wanted& load) {
            return !under_way_.contains(load.id);
          });
          return stopping_ || next != loads_.end() || changed_;
        });
        if (stopping_) return;
        changed = std::exchange(changed_, nullptr);
        if (next != loads_.end()) {
          wanted = std::move(*next);
          loads_.erase(next);
          failed_.erase(wanted->id);
        }
      }
      if (changed) {
        const std::lock_guard reading(reading_);
        changed(backend_->changed());
      }
      if (!wanted) continue;
      const std::lock_guard reading(reading_);
      auto loaded = backend_->load(wanted->id);
      if (!loaded) note_unreadable(loaded.error());
      wanted->found(std::move(loaded));
    }
  }

  void run() {
    std::vector<Entry> group;
    std::optional<Asked> asked;
    for (;;) {
      {
        std::unique_lock lock(mutex_);
        for (const Entry& entry : group) {
          if (const auto left = under_way_.find(entry.commit.id); --left->second == 0) under_way_.erase(left);
        }
        group.clear();
        retiring_ = false;
        readable_.notify_one();
        wake_.wait(lock, [&] { return stopping_ || !queue_.empty() || retirement_; });
        if (queue_.empty() && !retirement_) return;
        const Time due = window_.due(now());
        const bool waits = due > now();
        wake_.wait_until(lock, Clock::time_point(due.time_since_epoch()),
                         [&] { return stopping_ || is_hurried_ || retirement_ || queue_.size() >= kGroupMax; });
        if (waits) {
          window_.begun_after_waiting(now(), queue_.size());
        } else {
          window_.begun(now());
        }
        asked = std::exchange(retirement_, std::nullopt);
        retiring_ = asked.has_value();
        for (; !queue_.empty() && group.size() < kGroupMax; queue_.pop_front())
          group.push_back(std::move(queue_.front()));
        is_hurried_ = is_hurried_ && !queue_.empty();
      }
      if (!group.empty()) write(group);
      if (asked) asked->done(backend_->retire(asked->now, asked->in_use));
    }
  }

  // One transaction for the group; one that fails is repeated party by party, so that only the guilty one fails. Where
  // the database is away it is repeated once as it is, since it may have been there until a moment ago.
  void write(std::vector<Entry>& group) {
    const Timed timed(log_, op::kStoreCommit);
    ++number_;
    auto done = transact(group);
    if (!done && done.error().code == Code::kUnavailable) done = transact(group);
    if (done) {
      for (Entry& entry : group) entry.done({});
      return;
    }
    if (is_away(done.error().code)) return refuse(group, done.error());
    for (Entry& entry : group) {
      std::vector<Entry> one;
      one.push_back({std::move(entry.commit), {}});
      ++number_;
      const Result<void> result = transact(one);
      if (!result) {
        if (result.error().code != Code::kConflict) {
          note_problem(result.error());
          log_.error("a change could not be stored", {{"problem", result.error().message}});
        }
        const std::lock_guard lock(mutex_);
        failed_.insert(one.front().commit.id);
        ++stats_.refused;
      }
      entry.done(result);
    }
  }

  // No party is guilty: the database does not answer.
  static bool is_away(Code code) { return code == Code::kUnavailable || code == Code::kTimedOut; }
  void refuse(std::vector<Entry>& group, const Error& why) {
    note_problem(why);
    log_.error("changes could not be stored", {{"count", group.size()}, {"problem", why.message}});
    {
      const std::lock_guard lock(mutex_);
      for (const Entry& entry : group) failed_.insert(entry.commit.id);
      stats_.refused += group.size();
    }
    for (Entry& entry : group) entry.done(why);
  }
  void note_unreadable(const Error& error) {
    if (stats().problem.empty()) log_.error("a party cannot be read", {{"problem", error.message}});
    note_problem(error);
  }
  void note_problem(const Error& error) {
    const std::lock_guard lock(mutex_);
    stats_.problem = error.message;
    failed_at_ = now();
  }
  bool is_failed(const party::PartyId& id) {
    const std::lock_guard lock(mutex_);
    return failed_.contains(id);
  }

  Result<void> transact(std::vector<Entry>& group) {
    Heads heads;
    std::vector<Step> asked;
    for (const Entry& entry : group) {
      const Commit& commit = entry.commit;
      if (is_failed(commit.id)) return decided_on_the_past();
      Head& head = heads.try_emplace(commit.id, Head{commit.revision}).first->second;
      if (backend_->is_shared() && head.revision + head.raised != commit.revision) return decided_on_the_past();
      if (!commit.changes.empty()) ++head.raised;
      for (const party::Change& change : commit.changes) asked.push_back({&commit.id, &change});
      for (const party::PartyEvent& event : commit.events) head.events.push_back(&event);
    }
    const std::vector<Step> steps = coalesce(asked);
    LR_TRY(backend_->write(number_, heads, steps));
    count(asked, steps);
    return {};
  }
  void count(const std::vector<Step>& asked, const std::vector<Step>& written) {
    const auto sum = [](const std::vector<Step>& steps) {
      std::uint64_t bytes = 0;
      for (const Step& step : steps) bytes += bytes_of(*step.change);
      return bytes;
    };
    const std::lock_guard lock(mutex_);
    stats_.changes += asked.size();
    stats_.superseded += asked.size() - written.size();
    stats_.superseded_bytes += sum(asked) - sum(written);
    ++stats_.transactions;
    if (!written.empty()) stats_.problem.clear();
  }

  const std::unique_ptr<Backend> backend_;
  const Logger log_;
  CommitWindow window_;       // the writer's alone
  std::uint64_t number_ = 0;  // of its last transaction
  std::mutex reading_;        // the backend's connection for reading; never waited for with mutex_ held
  mutable std::mutex mutex_;
  std::condition_variable wake_;      // the writer
  std::condition_variable readable_;  // the reader
  std::deque<Entry> queue_;
  std::deque<Wanted> loads_;
  Changed changed_;                                  // asked for
  std::map<party::PartyId, std::size_t> under_way_;  // commits that wait or are being written
  std::set<party::PartyId> failed_;
  std::optional<Asked> retirement_;  // waits for its turn after the queue's
  StoreStats stats_;
  Time failed_at_{};         // stats_.problem is of then
  bool is_hurried_ = false;  // somebody waits for a commit that waits for others
  bool retiring_ = false;
  bool stopping_ = false;
  std::thread reader_, writer_;  // the last: they use the others
};

}  // namespace

std::unique_ptr<Store> group_store(std::unique_ptr<Backend> backend, const Logger& log, Duration window) {
  return std::make_unique<GroupStore>(std::move(backend), log, window);
}

}  // namespace lanrage::store
