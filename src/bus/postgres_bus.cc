#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <optional>
#include <set>
#include <thread>

#include "base/format.h"
#include "bus/bus.h"
#include "crypto/random.h"
#include "store/postgres_connection.h"

namespace lanrage::bus {
namespace {

constexpr Duration kPoll = std::chrono::milliseconds(250);
constexpr Duration kHintGap = std::chrono::milliseconds(100);
constexpr Duration kSweep = std::chrono::seconds(10);  // old rows are deleted
constexpr Duration kPatience = std::chrono::seconds(5);
constexpr std::size_t kWaitingMax = 10000;  // messages, while the database is away

Time now() { return Time{std::chrono::steady_clock::now().time_since_epoch()}; }

class PostgresBus final : public Bus {
 public:
  PostgresBus(const std::string& url, Handlers handlers, const Logger& log)
      : handlers_(std::move(handlers)),
        log_(log),
        sender_(to_hex(crypto::SystemRng().array<8>())),
        wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        connection_(url, kPatience) {}
  ~PostgresBus() override {
    stopping_ = true;
    wake();
    if (thread_.joinable()) thread_.join();
    ::close(wake_);
  }

  Result<void> start() {
    LR_TRY(connect());
    thread_ = std::thread([this] { run(); });
    return {};
  }

  void publish(const party::PartyId& party, std::string message) override { push({party, std::move(message)}); }
  void broadcast(std::string message) override { push({std::nullopt, std::move(message)}); }
  void subscribe(const party::PartyId& party) override {
    const std::lock_guard lock(mutex_);
    parties_.insert(party);
  }
  void unsubscribe(const party::PartyId& party) override {
    const std::lock_guard lock(mutex_);
    parties_.erase(party);
  }
  std::string problem() const override {
    const std::lock_guard lock(mutex_);
    return problem_;
  }
  const char* kind() const override { return "postgresql"; }

 private:
  struct Message {
    std::optional<party::PartyId> party;  // none: for all
    std::string text;
  };

  void push(Message message) {
    {
      const std::lock_guard lock(mutex_);
      if (waiting_.size() < kWaitingMax) waiting_.push_back(std::move(message));
    }
    wake();
  }
  void wake() const {
    const std::uint64_t one = 1;
    if (::write(wake_, &one, sizeof one) < 0) return;  // it is awake
  }

  Result<void> connect() {
    LR_TRY(connection_.open());
    LR_TRY(connection_.script("LISTEN lanrage_news"));
    horizon_.clear();
    seen_.clear();
    return {};
  }

  void run() {
    while (!stopping_) {
      wait();
      auto done = turn();
      const std::string problem = done ? "" : done.error().message;
      if (!problem.empty() && problem != problem_) log_.warn("the servers' news do not flow", {{"problem", problem}});
      const bool has_changed = problem.empty() != problem_.empty();
      {
        const std::lock_guard lock(mutex_);
        problem_ = problem;
      }
      if (has_changed) handlers_.on_gap();
    }
  }

  void wait() {
    pollfd on[] = {{wake_, POLLIN, 0}, {connection_.socket(), POLLIN, 0}};
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(next_poll_ - now());
    ::poll(on, connection_.is_up() ? 2 : 1, std::max(0, static_cast<int>(left.count())));
    std::uint64_t woken = 0;
    while (::read(wake_, &woken, sizeof woken) > 0) continue;
  }

  // Sends what waits; reads what came, if it is time or somebody says so.
  Result<void> turn() {
    if (!connection_.is_up()) {
      next_poll_ = now() + kPoll;
      LR_TRY(connect());
    }
    LR_TRY(send());
    if (!connection_.take_notices() && now() < next_poll_) return {};
    next_poll_ = now() + kPoll;
    return read();
  }

  Result<void> send() {
    std::vector<Message> messages;
    {
      const std::lock_guard lock(mutex_);
      messages.swap(waiting_);
    }
    std::vector<store::Statement> statements;
    for (const Message& message : messages) {
      statements.push_back({"INSERT INTO news(sender, party, message) VALUES($1,$2,$3)"});
      store::Parameters& out = statements.back().parameters.text(sender_);
      message.party ? out.blob(message.party->bytes()) : out.null();
      out.text(message.text);
    }
    if (now() >= next_sweep_) {
      next_sweep_ = now() + kSweep;
      statements.push_back({"DELETE FROM news WHERE at < now() - interval '30 seconds'"});
    }
    if (!messages.empty() && now() >= next_hint_) {
      next_hint_ = now() + kHintGap;
      statements.push_back({"SELECT pg_notify('lanrage_news', '')"});
    }
    if (statements.empty()) return {};
    const auto done = connection_.transact(statements);
    return done ? Result<void>() : done.error();
  }

  Result<void> read() {
    store::Statement news{
        "SELECT number, party, message FROM news WHERE sent >= $1::text::xid8 AND sender<>$2 ORDER BY number"};
    (horizon_.empty() ? news.parameters.null() : news.parameters.text(horizon_)).text(sender_);
    LR_ASSIGN(const auto rows, connection_.transact({news, {"SELECT pg_snapshot_xmin(pg_current_snapshot())::text"}},
                                                    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"));
    // What was under way is asked for again, with what came beside it.
    horizon_ = rows[1][0].text_at(0);
    std::set<std::int64_t> seen;
    for (int at = 0; at < rows[0].size(); ++at) {
      const auto row = rows[0][at];
      const std::int64_t number = row.number_at(0);
      seen.insert(number);
      if (!seen_.contains(number) && is_wanted(row)) handlers_.on_message(row.text_at(2));
    }
    seen_ = std::move(seen);
    return {};
  }
  bool is_wanted(const store::Rows::Row& row) {
    if (row.null_at(1)) return true;
    const auto party = party::PartyId::from_bytes(row.blob_at(1));
    const std::lock_guard lock(mutex_);
    return party && parties_.contains(*party);
  }

  const Handlers handlers_;
  const Logger log_;
  const std::string sender_;
  const int wake_;
  std::atomic<bool> stopping_{false};
  mutable std::mutex mutex_;
  std::vector<Message> waiting_;
  std::set<party::PartyId> parties_;
  std::string problem_;

  // The thread's alone.
  store::Connection connection_;
  Time next_poll_{}, next_hint_{}, next_sweep_{};
  std::string horizon_;          // transactions before it are known; empty: all
  std::set<std::int64_t> seen_;  // by the last reading

  std::thread thread_;  // the last: it uses the others
};

}  // namespace

Result<std::unique_ptr<Bus>> open_postgres_bus(const std::string& url, Handlers handlers, const Logger& log) {
  auto bus = std::make_unique<PostgresBus>(url, std::move(handlers), log.named("bus"));
  LR_TRY(bus->start());
  return std::unique_ptr<Bus>(std::move(bus));
}

}  // namespace lanrage::bus
