#include "net/http_stream.h"

#include <boost/asio/ssl/error.hpp>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "net/freer.h"
#include "net/tls_certificate.h"

namespace lanrage::net {
namespace {

constexpr std::size_t kGroupsMax = 1024;  // of one user; whoever has more is taken for a member of none

template <class T>
auto holding(std::shared_ptr<T> held, Stream::IoDone done) {
  return [held = std::move(held), done = std::move(done)](error_code error, std::size_t size) { done(error, size); };
}

int fd_of(BIO* bio) { return static_cast<int>(reinterpret_cast<std::intptr_t>(::BIO_get_data(bio))); }

int moved(BIO* bio, ssize_t size, int retry) {
  ::BIO_clear_retry_flags(bio);
  if (size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
    ::BIO_set_flags(bio, retry | BIO_FLAGS_SHOULD_RETRY);
  return static_cast<int>(size);
}

// OpenSSL's way to a socket; its own writes without MSG_NOSIGNAL.
BIO_METHOD* socket_bio() {
  static BIO_METHOD* const method = [] {
    BIO_METHOD* made = ::BIO_meth_new(::BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket");
    ::BIO_meth_set_write(made, [](BIO* bio, const char* data, int size) {
      return moved(bio, ::send(fd_of(bio), data, static_cast<std::size_t>(size), MSG_NOSIGNAL), BIO_FLAGS_WRITE);
    });
    ::BIO_meth_set_read(made, [](BIO* bio, char* data, int size) {
      return moved(bio, ::recv(fd_of(bio), data, static_cast<std::size_t>(size), 0), BIO_FLAGS_READ);
    });
    ::BIO_meth_set_ctrl(made, [](BIO*, int what, long, void*) -> long { return what == BIO_CTRL_FLUSH ? 1 : 0; });
    return made;
  }();
  return method;
}

error_code tls_error(SSL* ssl, int result) {
  const int system = errno;
  switch (::SSL_get_error(ssl, result)) {
    case SSL_ERROR_ZERO_RETURN:
      return asio::error::eof;
    case SSL_ERROR_SYSCALL:
      if (system == 0) return asio::ssl::error::stream_truncated;
      return {system, boost::system::system_category()};
    default:
      break;
  }
  const unsigned long error = ::ERR_get_error();
  if (ERR_GET_REASON(error) == SSL_R_UNEXPECTED_EOF_WHILE_READING) return asio::ssl::error::stream_truncated;
  return {static_cast<int>(error), asio::error::get_ssl_category()};
}

}  // namespace

// TLS straight on the socket: OpenSSL reads and writes it, and has buffers only while a record is under way
// (SSL_MODE_RELEASE_BUFFERS). asio::ssl::stream keeps 68 KiB for every connection, idle ones too, of which a server has
// tens of thousands.
struct Stream::Tls {
  Tls(Socket connected, std::shared_ptr<asio::ssl::context> with)
      : context(std::move(with)), socket(std::move(connected)), ssl(::SSL_new(context->native_handle())) {
    LR_CHECK(ssl != nullptr);
    error_code ignored;  // a socket that is closed fails at its first use
    socket.native_non_blocking(true, ignored);
    BIO* const bio = ::BIO_new(socket_bio());
    LR_CHECK(bio != nullptr);
    ::BIO_set_data(bio, reinterpret_cast<void*>(static_cast<std::intptr_t>(socket.native_handle())));
    ::BIO_set_init(bio, 1);
    ::SSL_set_bio(ssl.get(), bio, bio);
    ::SSL_set_mode(ssl.get(),
                   SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    ::SSL_set_read_ahead(ssl.get(), 1);
  }

  // Does it now, or as soon as the socket lets it. `act` gives what SSL_read and its like give. `is_first`: inside the
  // caller's call, where `done` must not be called.
  template <class Act>
  static void perform(const std::shared_ptr<Tls>& tls, Act act, IoDone done, bool is_first = true) {
    // Its number may be another socket's by now.
    if (!tls->socket.is_open()) return finish(tls, std::move(done), is_first, asio::error::operation_aborted);
    ::ERR_clear_error();
    errno = 0;
    const int result = act(tls->ssl.get());
    const int state = result > 0 ? SSL_ERROR_NONE : ::SSL_get_error(tls->ssl.get(), result);
    if (state == SSL_ERROR_WANT_READ || state == SSL_ERROR_WANT_WRITE) {
      const auto what = state == SSL_ERROR_WANT_READ ? Socket::wait_read : Socket::wait_write;
      tls->socket.async_wait(what, [tls, act, done = std::move(done)](error_code error) mutable {
        if (error) return done(error, 0);
        perform(tls, act, std::move(done), false);
      });
      return;
    }
    if (result <= 0) return finish(tls, std::move(done), is_first, tls_error(tls->ssl.get(), result));
    finish(tls, std::move(done), is_first, {}, static_cast<std::size_t>(result));
  }
  static void finish(const std::shared_ptr<Tls>& tls, IoDone done, bool is_first, error_code error,
                     std::size_t size = 0) {
    if (!is_first) return done(error, size);
    asio::post(tls->socket.get_executor(), [done = std::move(done), error, size] { done(error, size); });
  }

  const std::shared_ptr<asio::ssl::context> context;
  Socket socket;
  const std::unique_ptr<SSL, Freer<SSL_free>> ssl;
};

std::shared_ptr<asio::ssl::context> server_tls(const TlsIdentity& identity) {
  auto context = std::make_shared<asio::ssl::context>(asio::ssl::context::tls_server);
  ::SSL_CTX_set_min_proto_version(context->native_handle(), TLS1_3_VERSION);
  // No resumption: a resumed session would not show the key, and saves a client with one lasting connection nothing.
  ::SSL_CTX_set_num_tickets(context->native_handle(), 0);
  ::SSL_CTX_set_session_cache_mode(context->native_handle(), SSL_SESS_CACHE_OFF);
  const auto pem = asio::buffer(identity.pem());
  error_code error;
  context->use_certificate_chain(pem, error);
  if (!error) context->use_private_key(pem, asio::ssl::context::pem, error);
  LR_CHECK(!error);  // a TlsIdentity holds a key and its certificate
  return context;
}

std::shared_ptr<asio::ssl::context> client_tls() {
  auto context = std::make_shared<asio::ssl::context>(asio::ssl::context::tls_client);
  ::SSL_CTX_set_min_proto_version(context->native_handle(), TLS1_3_VERSION);
  // The handshake proves that the server holds its certificate's key; the pin says which key. Nothing else counts.
  ::SSL_CTX_set_verify(context->native_handle(), SSL_VERIFY_NONE, nullptr);
  return context;
}

Endpoint from_tcp(const asio::ip::tcp::endpoint& endpoint) {
  const auto& address = endpoint.address();
  if (address.is_v4()) return {IpAddress::v4(address.to_v4().to_uint()), endpoint.port()};
  return {IpAddress::v6(address.to_v6().to_bytes()), endpoint.port()};
}

asio::ip::tcp::endpoint to_tcp(const Endpoint& endpoint) {
  if (endpoint.address.is_v4()) return {asio::ip::address_v4(endpoint.address.v4_value()), endpoint.port};
  asio::ip::address_v6::bytes_type bytes;
  std::memcpy(bytes.data(), endpoint.address.bytes().data(), bytes.size());
  return {asio::ip::address_v6(bytes), endpoint.port};
}

Stream::Stream(Socket socket) : plain_(std::make_shared<Socket>(std::move(socket))) {}

Stream::Stream(Socket socket, std::shared_ptr<asio::ssl::context> tls)
    : tls_(std::make_shared<Tls>(std::move(socket), std::move(tls))) {}

Stream::Socket& Stream::socket() { return tls_ ? tls_->socket : *plain_; }

void Stream::handshake(beast::role_type role, std::function<void(error_code)> done) {
  if (!tls_) return asio::post(get_executor(), [done = std::move(done)] { done({}); });
  role == beast::role_type::server ? ::SSL_set_accept_state(tls_->ssl.get()) : ::SSL_set_connect_state(tls_->ssl.get());
  Tls::perform(tls_, ::SSL_do_handshake, [done = std::move(done)](error_code error, std::size_t) { done(error); });
}

TlsExporter Stream::exporter() const {
  TlsExporter out{};
  if (tls_) {
    const int done = ::SSL_export_keying_material(tls_->ssl.get(), out.data(), out.size(), kTlsExporterLabel,
                                                  std::strlen(kTlsExporterLabel), nullptr, 0, 0);
    LR_CHECK(done == 1);
  }
  return out;
}

std::optional<SpkiHash> Stream::remote_key() const {
  const std::unique_ptr<X509, decltype(&::X509_free)> certificate(
      tls_ ? ::SSL_get1_peer_certificate(tls_->ssl.get()) : nullptr, &::X509_free);
  return certificate ? spki_hash(certificate.get()) : std::nullopt;
}

std::optional<PeerCredentials> Stream::credentials() {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  sockaddr_storage address{};
  socklen_t address_size = sizeof address;
  const int fd = socket().native_handle();
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &address_size) != 0 || address.ss_family != AF_UNIX ||
      ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0)
    return std::nullopt;
  std::vector<gid_t> groups(kGroupsMax);
  socklen_t bytes = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
  const bool known = ::getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &bytes) == 0;
  groups.resize(known ? bytes / sizeof(gid_t) : 0);
  return PeerCredentials{credentials.pid, credentials.uid, credentials.gid, std::move(groups)};
}

void Stream::shutdown_send() {
  error_code ignored;
  socket().shutdown(Socket::shutdown_send, ignored);
}

void Stream::close() {
  error_code ignored;
  socket().close(ignored);
}

void Stream::read_some(asio::mutable_buffer buffer, IoDone done) {
  if (tls_ && buffer.size() == 0) return Tls::finish(tls_, std::move(done), true, {});
  if (tls_) {
    return Tls::perform(
        tls_, [buffer](SSL* ssl) { return ::SSL_read(ssl, buffer.data(), static_cast<int>(buffer.size())); },
        std::move(done));
  }
  plain_->async_read_some(buffer, holding(plain_, std::move(done)));
}

void Stream::write_some(asio::const_buffer buffer, IoDone done) {
  if (tls_ && buffer.size() == 0) return Tls::finish(tls_, std::move(done), true, {});
  if (tls_) {
    return Tls::perform(
        tls_, [buffer](SSL* ssl) { return ::SSL_write(ssl, buffer.data(), static_cast<int>(buffer.size())); },
        std::move(done));
  }
  plain_->async_write_some(buffer, holding(plain_, std::move(done)));
}

std::string describe(const error_code& error) { return error.message(); }

Headers headers_of(const beast::http::fields& fields) {
  Headers out;
  for (const auto& field : fields)
    out.emplace_back(std::string(field.name_string().data(), field.name_string().size()),
                     std::string(field.value().data(), field.value().size()));
  return out;
}

}  // namespace lanrage::net
