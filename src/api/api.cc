#include "api/api.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <mutex>
#include <set>

#include "api/page.h"
#include "base/format.h"
#include "crypto/keys.h"
#include "net/clock.h"

namespace lanrage::api {
namespace {

constexpr Duration kCodeLife = std::chrono::minutes(10);
constexpr std::size_t kCodesMax = 32;
constexpr std::size_t kCookiesMax = 32;
constexpr std::size_t kStreamsMax = 64;
constexpr std::size_t kCorrelationBytesMax = 64;
constexpr std::uint16_t kPagePort = 8666;
constexpr std::uint16_t kPagePortsTried = 100;

net::HttpResponse json_response(int status, const wire::Json& body) {
  return {status, {{"Content-Type", "application/json"}, {"Cache-Control", "no-store"}}, body.text() + "\n"};
}

net::HttpResponse error_response(const Error& error) {
  return json_response(http_status(error.code), error_json(error));
}

// The value of one cookie of a Cookie header.
std::string_view cookie_value(std::string_view header, std::string_view name) {
  while (!header.empty()) {
    const std::size_t end = header.find(';');
    std::string_view pair = header.substr(0, end);
    header = end == std::string_view::npos ? std::string_view{} : header.substr(end + 1);
    while (!pair.empty() && pair.front() == ' ') pair.remove_prefix(1);
    if (pair.substr(0, name.size()) == name && pair.size() > name.size() && pair[name.size()] == '=') {
      return pair.substr(name.size() + 1);
    }
  }
  return {};
}

const char* schema_type(Field::Type type) {
  switch (type) {
    case Field::kText:
      return "string";
    case Field::kInteger:
      return "integer";
    case Field::kFlag:
      return "boolean";
  }
  return "string";
}

bool in_query(const Route& route) { return route.method == "GET"; }

wire::Json schema_of(const Field& field) {
  return wire::Json::object({{"type", schema_type(field.type)}, {"description", field.help}});
}

bool is_type(const wire::Json& value, Field::Type type) {
  switch (type) {
    case Field::kText:
      return value.if_string() != nullptr;
    case Field::kInteger:
      return value.if_integer() != nullptr;
    case Field::kFlag:
      return value.if_bool() != nullptr;
  }
  return false;
}

bool is_count(const std::string& text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && value >= 0;
}

// Takes what the route is given and checks it. Names what is wrong.
Result<void> take_fields(const Route& route, const net::HttpRequest& request, Request& call) {
  for (const Field& field : route.takes) {
    const Error wrong{Code::kInvalid, format("\"{}\" must be of type {}", field.name, schema_type(field.type)),
                      "GET /api/openapi.json describes it"};
    bool given = false;
    if (in_query(route)) {
      const std::string value = request.query(field.name);
      given = !value.empty();
      if (given && field.type == Field::kInteger && !is_count(value)) return wrong;
      if (given) call.parameters.emplace(field.name, value);
    } else if (const wire::Json* value = call.body.find(field.name); value != nullptr && !value->is_null()) {
      given = true;
      if (!is_type(*value, field.type)) return wrong;
    }
    if (field.required && !given)
      return Error{Code::kInvalid, format("\"{}\" is missing", field.name), "GET /api/openapi.json describes it"};
  }
  return {};
}

wire::Json parameters_of(const Route& route) {
  wire::Json out = wire::Json::array();
  auto add = [&out](std::string_view name, const char* where, bool required, wire::Json schema) {
    out.push(
        wire::Json::object({{"name", name}, {"in", where}, {"required", required}, {"schema", std::move(schema)}}));
  };
  std::string_view rest = route.path;
  for (std::size_t at; (at = rest.find('{')) != std::string_view::npos; rest.remove_prefix(at))
    add(rest.substr(at + 1, rest.find('}', at) - at - 1), "path", true, wire::Json::object({{"type", "string"}})), ++at;
  if (in_query(route))
    for (const Field& field : route.takes) add(field.name, "query", field.required, schema_of(field));
  return out;
}

wire::Json body_of(const Route& route) {
  wire::Json properties = wire::Json::object(), required = wire::Json::array();
  for (const Field& field : route.takes) {
    properties.set(field.name, schema_of(field));
    if (field.required) required.push(field.name);
  }
  const bool needed = !required.if_array()->empty();
  const wire::Json schema =
      wire::Json::object({{"type", "object"}, {"properties", properties}, {"required", required}});
  return wire::Json::object(
      {{"required", needed},
       {"content", wire::Json::object({{"application/json", wire::Json::object({{"schema", schema}})}})}});
}

wire::Json operation_of(const Route& route) {
  const wire::Json answers = wire::Json::object(
      {{"200", wire::Json::object({{"description", "the answer, a JSON object"}})},
       {"default", wire::Json::object({{"description", "{\"error\": {\"code\", \"message\", \"hint\"}}"}})}});
  wire::Json out = wire::Json::object({{"summary", route.help}});
  if (route.secret) out.set("description", "Over the Unix socket only.");
  if (auto parameters = parameters_of(route); !parameters.if_array()->empty()) out.set("parameters", parameters);
  if (!in_query(route) && !route.takes.empty()) out.set("requestBody", body_of(route));
  return out.set("responses", answers);
}

}  // namespace

const std::string& Request::parameter(const std::string& name) const {
  static const std::string kNone;
  auto it = parameters.find(name);
  return it == parameters.end() ? kNone : it->second;
}

wire::Json error_json(const Error& error) {
  return wire::Json::object(
      {{"error",
        wire::Json::object({{"code", code_name(error.code)}, {"message", error.message}, {"hint", error.hint}})}});
}

std::optional<std::map<std::string, std::string>> match_path(std::string_view pattern, std::string_view path) {
  std::map<std::string, std::string> parameters;
  while (!pattern.empty() || !path.empty()) {
    if (pattern.empty() || path.empty() || pattern.front() != '/' || path.front() != '/') return std::nullopt;
    const std::size_t pattern_end = std::min(pattern.find('/', 1), pattern.size());
    const std::size_t path_end = std::min(path.find('/', 1), path.size());
    const std::string_view wanted = pattern.substr(1, pattern_end - 1);
    const std::string_view got = path.substr(1, path_end - 1);
    if (wanted.size() > 2 && wanted.front() == '{') {
      if (got.empty()) return std::nullopt;
      parameters[std::string(wanted.substr(1, wanted.size() - 2))] = std::string(got);
    } else if (wanted != got) {
      return std::nullopt;
    }
    pattern.remove_prefix(pattern_end);
    path.remove_prefix(path_end);
  }
  return parameters;
}

wire::Json describe(const std::vector<Route>& routes) {
  wire::Json paths = wire::Json::object();
  std::map<std::string, wire::Json> by_path;
  for (const Route& route : routes) {
    std::string method = route.method;
    std::transform(method.begin(), method.end(), method.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    by_path[route.path].set(method, operation_of(route));
  }
  for (auto& [path, operations] : by_path) paths.set(path, operations);
  return wire::Json::object({{"openapi", "3.1.0"},
                             {"info", wire::Json::object({{"title", "LANrage local API"}, {"version", "1"}})},
                             {"paths", paths}});
}

// Lives as long as a callback may still run; the HttpServer is destroyed first.
class Api::Server : public std::enable_shared_from_this<Api::Server> {
 public:
  Server(Options options, std::vector<Route> routes, Rng& rng, const Logger& log)
      : options_(std::move(options)), routes_(std::move(routes)), rng_(rng), log_(log.named("api")) {
    description_ = describe(routes_);
  }

  Result<void> start() {
    net::HttpServer::Options server_options;
    server_options.limits.connections_max = 256;
    http_ = net::HttpServer::create(std::move(server_options),
                                    {[this](net::HttpRequest request, net::HttpResponder respond) {
                                       on_request(std::move(request), std::move(respond));
                                     },
                                     [this](net::HttpRequest request, net::WebSocketUpgrade upgrade) {
                                       on_upgrade(std::move(request), std::move(upgrade));
                                     }},
                                    log_);
    LR_TRY(http_->listen(net::UnixListener{options_.socket, options_.group ? 0660u : 0600u, options_.group}));
    return options_.with_page ? listen_page() : Result<void>();
  }

  void stop() { http_.reset(); }

  void publish(const wire::Json& event) {
    const std::string text = event.text();
    const std::lock_guard lock(mutex_);
    for (const auto& [id, stream] : streams_) stream->send(text);
  }

  bool is_watched() {
    const std::lock_guard lock(mutex_);
    return !streams_.empty();
  }

  std::string page_link() {
    const std::lock_guard lock(mutex_);
    const std::string code = to_base64url(rng_.array<18>());
    if (codes_.size() >= kCodesMax) codes_.erase(codes_.begin());
    codes_.push_back({code, net::now().time + kCodeLife});
    return format("http://{}/?code={}", page_.text(), code);
  }

  Endpoint page_endpoint() const { return page_; }

 private:
  struct OneTimeCode {
    std::string text;
    Time expires;
  };

  Result<void> listen_page() {
    if (options_.page) {
      LR_ASSIGN(page_, http_->listen(net::TcpListener{*options_.page, false}));
      return {};
    }
    Error last;
    for (std::uint16_t i = 0; i < kPagePortsTried; ++i) {
      auto bound = http_->listen(
          net::TcpListener{{IpAddress::v4(127, 0, 0, 1), static_cast<std::uint16_t>(kPagePort + i)}, false});
      if (bound) {
        page_ = *bound;
        return {};
      }
      last = bound.error();
    }
    return last;
  }

  std::string random_id() {
    const std::lock_guard lock(mutex_);
    return to_hex(rng_.array<8>());
  }

  // Another site's page, or another name that resolves here.
  std::optional<Error> refuse_host(const net::HttpRequest& request) const {
    const std::string host(request.header("host"));
    if (host != page_.text() && host != format("localhost:{}", page_.port))
      return Error{Code::kRefused, "this address is not the page's", {}};
    const std::string_view origin = request.header("origin");
    if (!origin.empty() && origin != "http://" + host)
      return Error{Code::kRefused, "other sites may not call this API", {}};
    return std::nullopt;
  }

  // Nothing when the caller may go on.
  std::optional<Error> refuse_caller(const net::HttpRequest& request) {
    if (request.peer.credentials) {
      const net::PeerCredentials& who = *request.peer.credentials;
      const auto& groups = who.groups;
      const bool member = options_.group && (who.gid == *options_.group ||
                                             std::find(groups.begin(), groups.end(), *options_.group) != groups.end());
      if (who.uid == 0 || who.uid == ::geteuid() || member) return std::nullopt;
      return Error{Code::kRefused, "this node belongs to another user", "run the command as root or as that user"};
    }
    if (auto foreign = refuse_host(request)) return foreign;
    const std::string_view cookie = cookie_value(request.header("cookie"), "lanrage");
    const std::lock_guard lock(mutex_);
    for (const std::string& known : cookies_) {
      if (crypto::secure_equal(as_bytes(known), as_bytes(cookie))) return std::nullopt;
    }
    return Error{Code::kRefused, "this page was not opened by the node's owner",
                 "`lanrage status` prints the link that opens it"};
  }

  // Spends a one-time code. Nothing: unknown or old.
  std::optional<std::string> spend_code(std::string_view code) {
    const std::lock_guard lock(mutex_);
    const Time now = net::now().time;
    std::erase_if(codes_, [now](const OneTimeCode& c) { return c.expires <= now; });
    auto it = std::find_if(codes_.begin(), codes_.end(), [code](const OneTimeCode& c) {
      return crypto::secure_equal(as_bytes(c.text), as_bytes(code));
    });
    if (it == codes_.end()) return std::nullopt;
    codes_.erase(it);
    if (cookies_.size() >= kCookiesMax) cookies_.erase(cookies_.begin());
    return cookies_.emplace_back(to_base64url(rng_.array<32>()));
  }

  void on_request(net::HttpRequest request, net::HttpResponder respond) {
    const bool page = !request.peer.credentials;
    if (page && request.method == "GET" && request.path() == "/" && !request.query("code").empty()) {
      if (const auto foreign = refuse_host(request)) return respond(error_response(*foreign));
      const auto cookie = spend_code(request.query("code"));
      if (!cookie)
        return respond(error_response(
            {Code::kRefused, "this link was used already or is too old", "`lanrage status` prints a new one"}));
      return respond(
          {303,
           {{"Location", "/"}, {"Set-Cookie", format("lanrage={}; HttpOnly; SameSite=Strict; Path=/", *cookie)}},
           ""});
    }
    if (const auto refusal = refuse_caller(request)) return respond(error_response(*refusal));
    if (request.method == "GET" && request.path() == "/") {
      return respond({200,
                      {{"Content-Type", "text/html; charset=utf-8"},
                       {"Content-Security-Policy",
                        "default-src 'self'; script-src 'self'; style-src 'self'; frame-ancestors 'none'"}},
                      std::string(kPage)});
    }
    if (request.method == "GET" && request.path() == "/page.js")
      return respond({200, {{"Content-Type", "text/javascript"}}, std::string(kPageScript)});
    if (request.method == "GET" && request.path() == "/page.css")
      return respond({200, {{"Content-Type", "text/css"}}, std::string(kPageStyle)});
    if (request.path() == "/api/events") {
      net::HttpResponse response = json_response(
          426, error_json({Code::kInvalid, "events come over a WebSocket", "ask with Upgrade: websocket"}));
      response.headers.emplace_back("Upgrade", "websocket");
      return respond(std::move(response));
    }
    if (request.method == "GET" && request.path() == "/api/openapi.json")
      return respond(json_response(200, description_));
    if (request.method == "GET" && request.path() == "/metrics" && options_.metrics) {
      return options_.post([this, self = shared_from_this(), respond] {
        respond({200, {{"Content-Type", "text/plain; version=0.0.4"}}, options_.metrics()});
      });
    }
    dispatch(std::move(request), std::move(respond), page);
  }

  void dispatch(net::HttpRequest request, net::HttpResponder respond, bool page) {
    bool path_known = false;
    for (const Route& route : routes_) {
      auto parameters = match_path(route.path, request.path());
      if (!parameters) continue;
      path_known = true;
      if (route.method != request.method) continue;
      if (route.secret && page)
        return respond(error_response({Code::kRefused, "only the command line may do this", {}}));
      Request call{wire::Json::object(), std::move(*parameters)};
      if (!request.body.empty()) {
        auto body = wire::Json::parse(request.body);
        if (!body) return respond(error_response(body.error()));
        if (body->if_object() == nullptr)
          return respond(error_response({Code::kInvalid, "the body must be a JSON object", {}}));
        call.body = std::move(*body);
      }
      if (const auto taken = take_fields(route, request, call); !taken) return respond(error_response(taken.error()));
      const std::string correlation(request.header("x-correlation-id"));
      const ContextScope scope("correlation_id",
                               correlation.empty() ? random_id() : correlation.substr(0, kCorrelationBytesMax));
      auto run = [this, self = shared_from_this(), &route, call = std::move(call), respond]() mutable {
        const Timed timed(log_, op::kApiRequest);
        route.handler(std::move(call), [respond](Result<wire::Json> answer) {
          respond(answer ? json_response(200, *answer) : error_response(answer.error()));
        });
      };
      return options_.post(std::move(run));
    }
    respond(path_known ? json_response(405, error_json({Code::kInvalid, "this path does not take that method", {}}))
                       : error_response({Code::kNotFound, format("there is no {}", request.path()),
                                         "GET /api/openapi.json lists what there is"}));
  }

  void on_upgrade(net::HttpRequest request, net::WebSocketUpgrade upgrade) {
    if (const auto refusal = refuse_caller(request)) return upgrade.refuse(error_response(*refusal));
    if (request.path() != "/api/events")
      return upgrade.refuse(error_response({Code::kNotFound, "events are at /api/events", {}}));
    const std::lock_guard lock(mutex_);
    if (streams_.size() >= kStreamsMax)
      return upgrade.refuse(error_response({Code::kExhausted, "too many event streams", {}}));
    const std::uint64_t id = ++last_stream_;
    net::WebSocketHandlers handlers;
    handlers.on_text = [](std::string) {};
    handlers.on_close = [weak = weak_from_this(), id](const Error&) {
      if (auto self = weak.lock()) {
        const std::lock_guard guard(self->mutex_);
        self->streams_.erase(id);
      }
    };
    streams_[id] = upgrade.accept(std::move(handlers));
  }

  const Options options_;
  const std::vector<Route> routes_;
  Rng& rng_;
  const Logger log_;
  wire::Json description_;
  Endpoint page_;
  std::mutex mutex_;  // guards what follows; never held while calling out except to queue a text
  std::vector<OneTimeCode> codes_;
  std::vector<std::string> cookies_;
  std::map<std::uint64_t, std::shared_ptr<net::WebSocket>> streams_;
  std::uint64_t last_stream_ = 0;
  std::unique_ptr<net::HttpServer> http_;
};

Api::Api(std::shared_ptr<Server> server) : server_(std::move(server)) {}
Api::~Api() { server_->stop(); }

Result<std::unique_ptr<Api>> Api::start(Options options, std::vector<Route> routes, Rng& rng, const Logger& log) {
  auto server = std::make_shared<Server>(std::move(options), std::move(routes), rng, log);
  LR_TRY(server->start());
  return std::unique_ptr<Api>(new Api(std::move(server)));
}

void Api::publish(const wire::Json& event) { server_->publish(event); }
bool Api::is_watched() const { return server_->is_watched(); }
std::string Api::page_link() { return server_->page_link(); }
Endpoint Api::page_endpoint() const { return server_->page_endpoint(); }

}  // namespace lanrage::api
