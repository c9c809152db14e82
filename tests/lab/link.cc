// lab_link: carries Ethernet frames between pairs of interfaces, as late, lossy and narrow as it is told to.
//
// Runs in the namespace that holds the inner ends of two cables per link; offloads must be off at every end. One
// thread, packet sockets, batches both ways. Commands come on standard input, one line each, and each is answered by
// one line, "ok ..." or "error ...", when it holds; the end of standard input ends the program.
//
//   add NAME UP DOWN              a link between two interfaces; `up` is the direction that leaves by UP
//   set NAME up|down|both K=V...  delay_ms jitter_ms loss_percent burst reorder_percent reorder_ms duplicate_percent
//                                 corrupt_percent rate queue mtu, as class Shape in link.py describes them
//   stats NAME                    frames that came in, went out and were lost, per direction
//
// What a frame meets, in this order: loss, mtu, corruption, the queue of the rate, delay and jitter, reordering.
// Randomness is seeded by the link's number, so a scenario meets the same fate in each run as far as its own timing
// allows.
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <deque>
#include <map>
#include <queue>
#include <random>
#include <sstream>
#include <string>
#include <vector>

namespace {

using Nanoseconds = std::int64_t;

constexpr std::size_t kFrameBytesMax = 2048;
constexpr std::size_t kFramesHeldMax = 32768;
constexpr unsigned kBatch = 64;
constexpr int kReceiveBufferBytes = 8 << 20;
constexpr double kNanosecondsPerMillisecond = 1e6;

Nanoseconds read_clock(clockid_t clock) {
  timespec t{};
  clock_gettime(clock, &t);
  return t.tv_sec * 1'000'000'000LL + t.tv_nsec;
}

// What one direction does to frames.
struct Shape {
  double delay_ms = 0, jitter_ms = 0, loss_percent = 0, burst = 0, reorder_percent = 0, reorder_ms = 5;
  double duplicate_percent = 0, corrupt_percent = 0, rate = 0, queue = 65536, mtu = 0;

  double* field(const std::string& key) {
    const std::map<std::string, double*> fields{
        {"delay_ms", &delay_ms},
        {"jitter_ms", &jitter_ms},
        {"loss_percent", &loss_percent},
        {"burst", &burst},
        {"reorder_percent", &reorder_percent},
        {"reorder_ms", &reorder_ms},
        {"duplicate_percent", &duplicate_percent},
        {"corrupt_percent", &corrupt_percent},
        {"rate", &rate},
        {"queue", &queue},
        {"mtu", &mtu},
    };
    const auto found = fields.find(key);
    return found == fields.end() ? nullptr : found->second;
  }
};

struct Frame {
  std::array<std::uint8_t, kFrameBytesMax> bytes;
  std::size_t size = 0;
};

// All frames on their way, of all links, by the time they are due. Frames live in slots that are used again.
class Held {
 public:
  struct Entry {
    Nanoseconds due;
    std::uint64_t order;  // first come, first served among frames due at once
    std::uint32_t slot;
    std::uint32_t direction;
    bool operator>(const Entry& other) const { return due != other.due ? due > other.due : order > other.order; }
  };

  // A slot to fill, or null when too many frames are held.
  Frame* reserve(std::uint32_t& slot) {
    if (free_.empty()) {
      if (frames_.size() == kFramesHeldMax) return nullptr;
      free_.push_back(static_cast<std::uint32_t>(frames_.size()));
      frames_.emplace_back();
    }
    slot = free_.back();
    free_.pop_back();
    return &frames_[slot];
  }

  void push(Nanoseconds due, std::uint32_t slot, std::uint32_t direction) {
    entries_.push({due, next_order_++, slot, direction});
  }

  const Entry* first() const { return entries_.empty() ? nullptr : &entries_.top(); }
  void pop() { entries_.pop(); }
  Frame& frame(std::uint32_t slot) { return frames_[slot]; }
  void release(std::uint32_t slot) { free_.push_back(slot); }

 private:
  std::deque<Frame> frames_;  // a deque: references stay good while it grows
  std::vector<std::uint32_t> free_;
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> entries_;
  std::uint64_t next_order_ = 0;
};

// One direction of one link: decides each frame's fate.
class Direction {
 public:
  Direction(int in, int out, std::uint32_t number) : in_(in), out_(out), number_(number), random_(number + 1) {}

  int in() const { return in_; }
  int out() const { return out_; }
  Shape& shape() { return shape_; }

  void accept(Nanoseconds arrived, const std::uint8_t* bytes, std::size_t size, Held& held) {
    ++received_;
    const std::size_t payload = size > sizeof(ether_header) ? size - sizeof(ether_header) : 0;
    if (loses() || (shape_.mtu > 0 && static_cast<double>(payload) > shape_.mtu)) {
      ++lost_;
      return;
    }
    const unsigned copies = happens(shape_.duplicate_percent) ? 2 : 1;
    for (unsigned i = 0; i < copies; ++i) hold(arrived, bytes, size, held);
  }

  void count_sent(std::uint64_t sent, std::uint64_t failed) {
    sent_ += sent;
    lost_ += failed;
  }

  std::string stats(const std::string& name) const {
    std::ostringstream text;
    text << name << "_in=" << received_ << ' ' << name << "_out=" << sent_ << ' ' << name << "_lost=" << lost_;
    return text.str();
  }

 private:
  bool happens(double percent) { return percent > 0 && uniform_(random_) * 100 < percent; }

  // Two states, good and bad, whose mean lengths give the asked share and run length (Gilbert's model).
  bool loses() {
    if (shape_.burst <= 1 || shape_.loss_percent >= 100) return happens(shape_.loss_percent);
    const double enter = shape_.loss_percent / (shape_.burst * (100 - shape_.loss_percent));
    bad_ = bad_ ? uniform_(random_) >= 1 / shape_.burst : uniform_(random_) < enter;
    return bad_;
  }

  void hold(Nanoseconds arrived, const std::uint8_t* bytes, std::size_t size, Held& held) {
    Nanoseconds due = arrived;
    if (shape_.rate > 0) {
      const double waiting = std::max(0.0, static_cast<double>(busy_until_ - arrived)) * shape_.rate / 1e9;
      if (waiting + static_cast<double>(size) > shape_.queue) {
        ++lost_;
        return;
      }
      busy_until_ =
          std::max(busy_until_, arrived) + static_cast<Nanoseconds>(static_cast<double>(size) / shape_.rate * 1e9);
      due = busy_until_;
    }
    std::uint32_t slot = 0;
    Frame* frame = held.reserve(slot);
    if (frame == nullptr) {
      ++lost_;
      return;
    }
    std::memcpy(frame->bytes.data(), bytes, size);
    frame->size = size;
    if (happens(shape_.corrupt_percent)) corrupt(*frame);
    const double jitter = (uniform_(random_) * 2 - 1) * shape_.jitter_ms;
    due += static_cast<Nanoseconds>(std::max(0.0, shape_.delay_ms + jitter) * kNanosecondsPerMillisecond);
    if (happens(shape_.reorder_percent)) {
      due += static_cast<Nanoseconds>(shape_.reorder_ms * kNanosecondsPerMillisecond);
    } else {
      last_due_ = due = std::max(due, last_due_);
    }
    held.push(due, slot, number_);
  }

  // One bit behind the Ethernet header, so that the frame still finds its way.
  void corrupt(Frame& frame) {
    if (frame.size <= sizeof(ether_header)) return;
    const std::size_t at = sizeof(ether_header) + random_() % (frame.size - sizeof(ether_header));
    frame.bytes[at] = static_cast<std::uint8_t>(frame.bytes[at] ^ (1U << (random_() % 8)));
  }

  int in_, out_;
  std::uint32_t number_;
  std::mt19937_64 random_;
  std::uniform_real_distribution<double> uniform_{0, 1};
  Shape shape_;
  bool bad_ = false;
  Nanoseconds last_due_ = 0, busy_until_ = 0;
  std::uint64_t received_ = 0, sent_ = 0, lost_ = 0;
};

// A packet socket that sees what arrives on an interface, not what we send there. Negative: errno.
int open_interface(const std::string& name) {
  const unsigned index = if_nametoindex(name.c_str());
  if (index == 0) return -ENODEV;
  const int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &kReceiveBufferBytes, sizeof(kReceiveBufferBytes));
  setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on));
  setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof(on));
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = static_cast<int>(index);
  if (setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)) != 0 ||
      bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    const int error = errno;
    close(fd);
    return -error;
  }
  return fd;
}

class Program {
 public:
  int run() {
    while (!ended_) {
      wait();
      if (polled_[0].revents != 0) read_commands();
      for (Direction& direction : directions_) receive(direction);
      deliver();
    }
    return 0;
  }

 private:
  struct Link {
    std::size_t up, down;  // places in directions_
  };

  // Until a command, a frame, or the moment the next held frame is due.
  void wait() {
    polled_.assign(1, {STDIN_FILENO, POLLIN, 0});
    for (const Direction& direction : directions_) polled_.push_back({direction.in(), POLLIN, 0});
    timespec timeout{};
    if (const Held::Entry* first = held_.first()) {
      const Nanoseconds left = std::max<Nanoseconds>(0, first->due - read_clock(CLOCK_MONOTONIC));
      timeout = {left / 1'000'000'000, left % 1'000'000'000};
      ppoll(polled_.data(), polled_.size(), &timeout, nullptr);
    } else {
      ppoll(polled_.data(), polled_.size(), nullptr, nullptr);
    }
  }

  void receive(Direction& direction) {
    struct Control {
      alignas(cmsghdr) std::array<std::uint8_t, CMSG_SPACE(sizeof(timespec))> bytes;
    };
    std::array<mmsghdr, kBatch> messages{};
    std::array<iovec, kBatch> vectors;
    std::array<Control, kBatch> controls;
    for (unsigned i = 0; i < kBatch; ++i) {
      vectors[i] = {buffers_[i].data(), buffers_[i].size()};
      messages[i].msg_hdr.msg_iov = &vectors[i];
      messages[i].msg_hdr.msg_iovlen = 1;
      messages[i].msg_hdr.msg_control = controls[i].bytes.data();
      messages[i].msg_hdr.msg_controllen = controls[i].bytes.size();
    }
    const int count = recvmmsg(direction.in(), messages.data(), kBatch, MSG_DONTWAIT, nullptr);
    if (count <= 0) return;
    // The kernel's time of arrival takes our own wake-up out of the delay; it is wall-clock time.
    const Nanoseconds now = read_clock(CLOCK_MONOTONIC);
    const Nanoseconds wall = read_clock(CLOCK_REALTIME);
    for (int i = 0; i < count; ++i) {
      if ((messages[i].msg_hdr.msg_flags & MSG_TRUNC) != 0) {
        direction.count_sent(0, 1);
        continue;
      }
      Nanoseconds arrived = now;
      const cmsghdr* control = CMSG_FIRSTHDR(&messages[i].msg_hdr);
      if (control != nullptr && control->cmsg_type == SCM_TIMESTAMPNS) {
        timespec stamp{};
        std::memcpy(&stamp, CMSG_DATA(control), sizeof(stamp));
        arrived = now - (wall - (stamp.tv_sec * 1'000'000'000LL + stamp.tv_nsec));
      }
      direction.accept(std::min(arrived, now), buffers_[i].data(), messages[i].msg_len, held_);
    }
  }

  // Sends all that is due, in order, one batch per run of frames for the same direction.
  void deliver() {
    const Nanoseconds now = read_clock(CLOCK_MONOTONIC);
    std::array<std::uint32_t, kBatch> slots{};
    while (const Held::Entry* first = held_.first()) {
      if (first->due > now) return;
      const std::uint32_t number = first->direction;
      unsigned count = 0;
      while (first != nullptr && first->due <= now && first->direction == number && count < kBatch) {
        slots[count++] = first->slot;
        held_.pop();
        first = held_.first();
      }
      send(directions_[number], slots.data(), count);
      for (unsigned i = 0; i < count; ++i) held_.release(slots[i]);
    }
  }

  void send(Direction& direction, const std::uint32_t* slots, unsigned count) {
    std::array<mmsghdr, kBatch> messages{};
    std::array<iovec, kBatch> vectors;
    for (unsigned i = 0; i < count; ++i) {
      Frame& frame = held_.frame(slots[i]);
      vectors[i] = {frame.bytes.data(), frame.size};
      messages[i].msg_hdr.msg_iov = &vectors[i];
      messages[i].msg_hdr.msg_iovlen = 1;
    }
    unsigned done = 0, failed = 0;
    while (done + failed < count) {
      const int sent = sendmmsg(direction.out(), &messages[done + failed], count - done - failed, 0);
      if (sent > 0) {
        done += static_cast<unsigned>(sent);
      } else if (errno != EINTR) {
        ++failed;
      }
    }
    direction.count_sent(done, failed);
  }

  void read_commands() {
    std::array<char, 4096> bytes;
    const ssize_t size = read(STDIN_FILENO, bytes.data(), bytes.size());
    if (size <= 0) {
      ended_ = true;
      return;
    }
    input_.append(bytes.data(), static_cast<std::size_t>(size));
    for (std::size_t end = input_.find('\n'); end != std::string::npos; end = input_.find('\n')) {
      const std::string answer = obey(input_.substr(0, end)) + "\n";
      input_.erase(0, end + 1);
      if (write(STDOUT_FILENO, answer.data(), answer.size()) < 0) ended_ = true;
    }
  }

  std::string obey(const std::string& line) {
    std::istringstream words(line);
    std::string verb, name;
    words >> verb >> name;
    if (verb == "add") return add(name, words);
    const auto link = links_.find(name);
    if (link == links_.end()) return "error no such link";
    if (verb == "set") return set(link->second, words);
    if (verb == "stats") {
      return "ok " + directions_[link->second.up].stats("up") + " " + directions_[link->second.down].stats("down");
    }
    return "error no such command";
  }

  std::string add(const std::string& name, std::istringstream& words) {
    std::string up, down;
    words >> up >> down;
    if (links_.count(name) != 0) return "error the link exists";
    const int outer = open_interface(up);
    const int inner = open_interface(down);
    if (outer < 0 || inner < 0) return std::string("error ") + std::strerror(-std::min(outer, inner));
    const std::size_t first = directions_.size();
    directions_.emplace_back(inner, outer, static_cast<std::uint32_t>(first));
    directions_.emplace_back(outer, inner, static_cast<std::uint32_t>(first + 1));
    links_[name] = {first, first + 1};
    return "ok";
  }

  std::string set(const Link& link, std::istringstream& words) {
    std::string which, word;
    words >> which;
    if (which != "up" && which != "down" && which != "both") return "error direction is up, down or both";
    Shape up = directions_[link.up].shape(), down = directions_[link.down].shape();
    while (words >> word) {
      const std::size_t equals = word.find('=');
      double value = 0;
      const std::string key = word.substr(0, equals);
      if (equals == std::string::npos || up.field(key) == nullptr) return "error no such setting: " + word;
      const auto end = word.data() + word.size();
      if (std::from_chars(word.data() + equals + 1, end, value).ptr != end || value < 0)
        return "error bad value: " + word;
      *up.field(key) = *down.field(key) = value;
    }
    if (which != "down") directions_[link.up].shape() = up;
    if (which != "up") directions_[link.down].shape() = down;
    return "ok";
  }

  std::vector<Direction> directions_;
  std::map<std::string, Link> links_;
  Held held_;
  std::vector<pollfd> polled_;
  std::array<std::array<std::uint8_t, kFrameBytesMax>, kBatch> buffers_;
  std::string input_;
  bool ended_ = false;
};

}  // namespace

int main() {
  // Exact to the timer, and ahead of the programs under test when they load the machine. Without the right to it the
  // link still works, only its tails grow.
  prctl(PR_SET_TIMERSLACK, 1);
  sched_param priority{};
  priority.sched_priority = 1;
  sched_setscheduler(0, SCHED_RR, &priority);
  return Program{}.run();
}
