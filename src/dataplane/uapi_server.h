// The socket by which `wg` finds and configures a userspace WireGuard interface: /var/run/wireguard/IFNAME.sock.
//
// Owned by the control thread and driven by its poller: every descriptor is added with a tag from `kTagBase` up, and
// such tags are handed to `handle_ready`. What is asked is answered by the handler, in place. Clients are few and
// local; each is bounded in bytes, and the oldest is let go when too many come. Removes its socket file when destroyed.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "net/fd.h"
#include "net/poller.h"

namespace lanrage::dataplane {

class UapiServer {
 public:
  static constexpr std::uint64_t kTagBase = std::uint64_t{1} << 40;
  static constexpr std::size_t kClientsMax = 16;
  static constexpr const char* kFolder = "/var/run/wireguard";

  using Handler = std::function<std::string(std::string_view request)>;  // a whole request, to a whole answer

  // kConflict: something answers on that socket. A file that nobody listens on is replaced. `poller` outlives it.
  static Result<std::unique_ptr<UapiServer>> open(const std::string& interface, net::Poller& poller, Handler handler);
  ~UapiServer();
  UapiServer(const UapiServer&) = delete;
  UapiServer& operator=(const UapiServer&) = delete;

  void handle_ready(const net::Ready& ready);
  // False once the socket file was removed or replaced: by convention that means "end".
  bool is_reachable() const;

 private:
  struct Client {
    net::Fd fd;
    std::uint64_t number = 0;
    std::string input;
    std::string output;
  };

  UapiServer(net::Fd listener, std::string path, net::Poller& poller, Handler handler);
  void accept_clients();
  bool serve(Client& client, const net::Ready& ready);  // false: done with it
  bool write_some(Client& client);
  void close(int fd);

  net::Fd listener_;
  const std::string path_;
  std::uint64_t inode_ = 0;
  net::Poller& poller_;
  Handler handler_;
  std::map<int, Client> clients_;
  std::uint64_t accepted_ = 0;
};

}  // namespace lanrage::dataplane
