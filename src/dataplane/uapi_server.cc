#include "dataplane/uapi_server.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <cstring>

#include "base/format.h"
#include "crypto/keys.h"
#include "dataplane/uapi.h"

namespace lanrage::dataplane {
namespace {

// Requests and answers hold private keys.
void wipe(std::string& text) {
  crypto::wipe({reinterpret_cast<std::uint8_t*>(text.data()), text.size()});
  text.clear();
}

std::uint64_t inode_of(const std::string& path) {
  struct stat info {};
  return ::lstat(path.c_str(), &info) == 0 ? info.st_ino : 0;
}

net::Fd new_socket() { return net::Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)); }

}  // namespace

Result<std::unique_ptr<UapiServer>> UapiServer::open(const std::string& interface, net::Poller& poller,
                                                     Handler handler) {
  const std::string path = format("{}/{}.sock", kFolder, interface);
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  if (path.size() >= sizeof name.sun_path)
    return Error{Code::kInvalid, format("interface name too long: {}", interface)};
  std::memcpy(name.sun_path, path.data(), path.size());
  const auto* address = reinterpret_cast<const sockaddr*>(&name);

  if (::mkdir(kFolder, 0755) != 0 && errno != EEXIST)
    return os_error(format("cannot make the folder {}", kFolder), errno);
  const net::Fd probe = new_socket();
  if (::connect(probe.get(), address, sizeof name) == 0)
    return Error{Code::kConflict, format("another program serves {}", path), "choose another interface name"};
  if (errno == ECONNREFUSED) ::unlink(path.c_str());

  net::Fd listener = new_socket();
  if (!listener.is_open()) return os_error("cannot open a Unix socket", errno);
  const mode_t mask = ::umask(0077);
  const int bound = ::bind(listener.get(), address, sizeof name);
  const int error = errno;
  ::umask(mask);
  if (bound != 0) return os_error(format("cannot make the socket {}", path), error);
  if (::listen(listener.get(), static_cast<int>(kClientsMax)) != 0) return os_error("cannot listen", errno);
  LR_TRY(poller.add(listener.get(), kTagBase + static_cast<std::uint64_t>(listener.get())));
  return std::unique_ptr<UapiServer>(new UapiServer(std::move(listener), path, poller, std::move(handler)));
}

UapiServer::UapiServer(net::Fd listener, std::string path, net::Poller& poller, Handler handler)
    : listener_(std::move(listener)),
      path_(std::move(path)),
      inode_(inode_of(path_)),
      poller_(poller),
      handler_(std::move(handler)) {}

UapiServer::~UapiServer() {
  if (is_reachable()) ::unlink(path_.c_str());
  while (!clients_.empty()) close(clients_.begin()->first);
  poller_.remove(listener_.get());
}

bool UapiServer::is_reachable() const { return inode_of(path_) == inode_; }

void UapiServer::handle_ready(const net::Ready& ready) {
  const int fd = static_cast<int>(ready.tag - kTagBase);
  if (fd == listener_.get()) return accept_clients();
  const auto client = clients_.find(fd);
  if (client != clients_.end() && !serve(client->second, ready)) close(fd);
}

void UapiServer::accept_clients() {
  for (;;) {
    net::Fd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!fd.is_open()) return;
    if (clients_.size() >= kClientsMax) {
      const auto oldest = std::min_element(clients_.begin(), clients_.end(), [](const auto& a, const auto& b) {
        return a.second.number < b.second.number;
      });
      close(oldest->first);
    }
    const int number = fd.get();
    if (!poller_.add(number, kTagBase + static_cast<std::uint64_t>(number))) continue;
    clients_[number] = {std::move(fd), ++accepted_, {}, {}};
  }
}

bool UapiServer::serve(Client& client, const net::Ready& ready) {
  if (!client.output.empty()) return write_some(client);
  if (!ready.readable) return !ready.failed;
  char buffer[16384];
  const ssize_t count = net::retry([&] { return ::read(client.fd.get(), buffer, sizeof buffer); });
  if (count < 0) return errno == EAGAIN;
  if (count == 0) return false;
  client.input.append(buffer, static_cast<std::size_t>(count));
  for (std::size_t size = uapi_request_size(client.input); size != 0; size = uapi_request_size(client.input)) {
    client.output += handler_(std::string_view(client.input).substr(0, size));
    crypto::wipe({reinterpret_cast<std::uint8_t*>(client.input.data()), size});
    client.input.erase(0, size);
  }
  if (client.input.size() > kUapiRequestBytesMax) return false;
  return client.output.empty() || write_some(client);
}

bool UapiServer::write_some(Client& client) {
  const auto tag = kTagBase + static_cast<std::uint64_t>(client.fd.get());
  while (!client.output.empty()) {
    const ssize_t count =
        net::retry([&] { return ::send(client.fd.get(), client.output.data(), client.output.size(), MSG_NOSIGNAL); });
    if (count < 0 && errno != EAGAIN) return false;
    if (count < 0) return poller_.modify(client.fd.get(), tag, net::Interest::kWrite).has_value();
    crypto::wipe({reinterpret_cast<std::uint8_t*>(client.output.data()), static_cast<std::size_t>(count)});
    client.output.erase(0, static_cast<std::size_t>(count));
  }
  return poller_.modify(client.fd.get(), tag, net::Interest::kRead).has_value();
}

void UapiServer::close(int fd) {
  const auto client = clients_.find(fd);
  wipe(client->second.input);
  wipe(client->second.output);
  poller_.remove(fd);
  clients_.erase(client);
}

}  // namespace lanrage::dataplane
