// The party's names for other programs: the socket that answers, and the machine's resolver that asks there.
#include "base/format.h"
#include "daemon/node_daemon.h"
#include "node/names.h"

namespace lanrage::daemon {
namespace {

constexpr std::size_t kQuestionBytesMax = 1232;  // what resolvers send at most without fragments
constexpr std::size_t kQuestionsAtOnce = 16;

}  // namespace

// On our own party address, for programs of this machine alone.
void NodeDaemon::update_names() {
  std::optional<IpAddress> own;
  host::Resolver::Link link;
  for (const IpPrefix& address : configured_.addresses) {
    if (address.address.is_v4()) own = address.address;
    link.routed.push_back(node::reverse_zone(address));
  }
  if (names_ && own == names_->local().address) return;
  if (names_) poller_.remove(names_->fd());
  names_.reset();
  names_problem_.reset();
  if (own) {
    net::UdpOptions options;
    options.bind.address = *own;
    options.segmentation = options.coalescing = false;
    options.receive_buffer = options.send_buffer = 64 * 1024;
    auto socket = net::UdpSocket::open(options);
    if (auto added = socket ? poller_.add(socket->fd(), kNamesTag) : Result<void>(); !socket || !added) {
      names_problem_ = (socket ? added.error() : socket.error()).message;
      return;
    }
    names_.emplace(std::move(*socket));
  }
  if (!resolver_ && !names_) return;
  if (!resolver_) {
    resolver_ = std::make_unique<host::Resolver>([this](std::string problem) {
      post([this, problem = std::move(problem)] {
        if (!names_) return;  // of a party that we left
        if (problem != names_problem_) log_.debug("names for other programs", {{"problem", problem}});
        names_problem_ = problem;
      });
    });
  }
  if (!names_) return resolver_->want({});
  link.interface = adapter_->info().index;
  link.server = names_->local();
  link.search = std::string(node::kNameDomain);
  resolver_->want(std::move(link));
}

void NodeDaemon::answer_names() {
  std::array<std::array<std::uint8_t, kQuestionBytesMax>, kQuestionsAtOnce> buffers;
  std::array<net::ReceiveSlot, kQuestionsAtOnce> slots;
  for (std::size_t i = 0; i < slots.size(); ++i) slots[i].buffer = buffers[i];
  const std::size_t count = names_->receive(slots);
  if (count == 0) return;
  const std::vector<node::NamedMember> members = node_->named_members();
  for (const net::ReceiveSlot& slot : std::span(slots).first(count)) {
    // A program of this machine asks from the address that it asks; the kernel lets no packet from outside have it.
    if (slot.truncated || slot.source.address != names_->local().address) continue;
    if (const auto answer = node::answer_name(members, configured_.addresses, slot.bytes()))
      names_->send(net::SendItem{.destination = slot.source, .bytes = *answer});
  }
}

}  // namespace lanrage::daemon
