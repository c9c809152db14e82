// The local API of a node, or of a server (without the page): routes over a Unix socket for the command line, and over
// loopback TCP for the page.
//
// No domain logic: whoever makes it passes a table of routes. Each handler is called through `post`, so on the node's
// control thread, and answers once, at once or later, from any thread.
//
// Who may call: on the Unix socket root, the node's own user and members of `group`, told by SO_PEERCRED. On TCP a
// browser that was opened with a one-time code and holds the cookie it got for it; Host and Origin must be this
// server's own, so no other site reaches it and no other name resolves to it. Routes marked `secret` never answer on
// TCP.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/ip.h"
#include "base/log.h"
#include "base/result.h"
#include "base/rng.h"
#include "net/http.h"
#include "wire/json.h"

namespace lanrage::api {

struct Request {
  wire::Json body;                                              // an object; empty when none was sent
  std::map<std::string, std::string> parameters;                // from the path's {names} and the query's fields
  const std::string& parameter(const std::string& name) const;  // empty when absent
};

using Respond = std::function<void(Result<wire::Json>)>;

// A value that a route takes: of the query where the method is GET, else a member of the body. Null is absent.
struct Field {
  enum Type { kText, kInteger, kFlag };
  std::string name;
  Type type = kText;
  bool required = false;
  std::string help;
};

struct Route {
  std::string method;
  std::string path;  // "/api/invites/{id}"
  std::string help;
  bool secret = false;
  std::function<void(Request, Respond)> handler;
  std::vector<Field> takes{};  // is so when the handler is called; whoever sends something else gets kInvalid
};

struct Options {
  std::string socket;          // path of the Unix socket
  std::optional<gid_t> group;  // its members may use it too; this process must be allowed to give it files
  bool with_page = true;
  std::optional<Endpoint> page;  // loopback TCP; nothing: the first free port from 127.0.0.1:8666
  std::function<void(std::function<void()>)> post;
  std::function<std::string()>
      metrics;  // Prometheus text for GET /metrics, called through `post`; empty: there are none
};

class Api {
 public:
  // kConflict: another node serves that socket.
  static Result<std::unique_ptr<Api>> start(Options options, std::vector<Route> routes, Rng& rng, const Logger& log);
  ~Api();

  // To every open event stream (GET /api/events): one JSON object with "event" and what belongs to it. Any thread.
  void publish(const wire::Json& event);
  // Whether there is such a stream.
  bool is_watched() const;
  // Where the page is, with a fresh one-time code that opens it once within ten minutes. Any thread.
  std::string page_link();
  Endpoint page_endpoint() const;

 private:
  class Server;
  explicit Api(std::shared_ptr<Server> server);
  std::shared_ptr<Server> server_;
};

// The table as an OpenAPI 3.1 document.
wire::Json describe(const std::vector<Route>& routes);
// Path parameters when `path` fits `pattern`.
std::optional<std::map<std::string, std::string>> match_path(std::string_view pattern, std::string_view path);
// Errors as every surface shows them: {"error": {"code", "message", "hint"}}.
wire::Json error_json(const Error& error);

}  // namespace lanrage::api
