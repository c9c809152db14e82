#include "store/group_store.h"

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
      : backend_(std::move(backend)), log_(log), window_(window), thread_([this] { run(); }) {}
  ~GroupStore() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    thread_.join();  // after everything that was queued
  }

  Result<std::optional<party::PartyData>> load(const party::PartyId& id) override {
    {
      std::unique_lock lock(mutex_);
      if (under_way_.contains(id)) {
        is_hurried_ = true;
        wake_.notify_one();
      }
      settled_.wait(lock, [&] { return !under_way_.contains(id) && !retirement_ && !retiring_; });
      failed_.erase(id);
    }
    return backend_->load(id);
  }

  void commit(const party::PartyId& id, std::vector<party::Change> changes, Committed done) override {
    {
      const std::lock_guard lock(mutex_);
      ++stats_.requests;
      if (queue_.size() < kQueueMax) {
        queue_.push_back({id, std::move(changes), std::move(done)});
        ++under_way_[id];
        wake_.notify_one();
        return;
      }
      failed_.insert(id);
      ++stats_.refused;
    }
    done(Error{Code::kExhausted, "the server cannot keep up", "try again in a moment"});
  }

  Result<StoreSize> size() override { return backend_->size(); }
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
    party::PartyId id;
    std::vector<party::Change> changes;
    Committed done;
  };
  struct Asked {
    WallTime now;
    std::vector<party::PartyId> in_use;
    Retired done;
  };

  // The condition variable's clock, as the window counts.
  using Clock = std::chrono::steady_clock;
  static Time now() { return Time{Clock::now().time_since_epoch()}; }

  void run() {
    std::vector<Entry> group;
    std::optional<Asked> asked;
    for (;;) {
      {
        std::unique_lock lock(mutex_);
        for (const Entry& entry : group) {
          if (const auto left = under_way_.find(entry.id); --left->second == 0) under_way_.erase(left);
        }
        group.clear();
        retiring_ = false;
        settled_.notify_all();
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
    auto done = transact(group);
    if (!done && done.error().code == Code::kUnavailable) done = transact(group);
    if (done) {
      for (Entry& entry : group) entry.done({});
      return;
    }
    if (is_away(done.error().code)) return refuse(group, done.error());
    for (Entry& entry : group) {
      Result<void> result = Error{Code::kIo, "an earlier change of this party could not be stored", "try again"};
      if (!is_failed(entry.id)) {
        std::vector<Entry> one;
        one.push_back({entry.id, std::move(entry.changes), {}});
        result = transact(one);
        if (!result) note_problem(result.error());
      }
      if (!result) {
        log_.error("a change could not be stored", {{"problem", result.error().message}});
        const std::lock_guard lock(mutex_);
        failed_.insert(entry.id);
        ++stats_.refused;
      }
      entry.done(std::move(result));
    }
  }

  // No party is guilty: the database does not answer, or is another server's.
  static bool is_away(Code code) {
    return code == Code::kUnavailable || code == Code::kTimedOut || code == Code::kConflict;
  }
  void refuse(std::vector<Entry>& group, const Error& why) {
    note_problem(why);
    log_.error("changes could not be stored", {{"count", group.size()}, {"problem", why.message}});
    {
      const std::lock_guard lock(mutex_);
      for (const Entry& entry : group) failed_.insert(entry.id);
      stats_.refused += group.size();
    }
    for (Entry& entry : group) entry.done(why);
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
    std::vector<Step> asked;
    for (const Entry& entry : group) {
      if (is_failed(entry.id))
        return Error{Code::kIo, "an earlier change of this party could not be stored", "try again"};
      for (const party::Change& change : entry.changes) asked.push_back({&entry.id, &change});
    }
    const std::vector<Step> steps = coalesce(asked);
    LR_TRY(backend_->write(steps));
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
  CommitWindow window_;  // the thread's alone
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable settled_;
  std::deque<Entry> queue_;
  std::map<party::PartyId, std::size_t> under_way_;  // commits that wait or are being written
  std::set<party::PartyId> failed_;
  std::optional<Asked> retirement_;  // waits for its turn after the queue's
  StoreStats stats_;
  Time failed_at_{};         // stats_.problem is of then
  bool is_hurried_ = false;  // somebody waits for a commit that waits for others
  bool retiring_ = false;
  bool stopping_ = false;
  std::thread thread_;  // the last: it uses the others
};

}  // namespace

std::unique_ptr<Store> group_store(std::unique_ptr<Backend> backend, const Logger& log, Duration window) {
  return std::make_unique<GroupStore>(std::move(backend), log, window);
}

}  // namespace lanrage::store
