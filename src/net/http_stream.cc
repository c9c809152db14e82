#include "net/http_stream.h"

#include <openssl/ssl.h>
#include <sys/socket.h>

#include <cstring>

#include "base/check.h"
#include "net/tls_certificate.h"

namespace lanrage::net {
namespace {

constexpr std::size_t kGroupsMax = 1024;  // of one user; whoever has more is taken for a member of none

template <class T>
auto holding(std::shared_ptr<T> held, Stream::IoDone done) {
  return [held = std::move(held), done = std::move(done)](error_code error, std::size_t size) { done(error, size); };
}

}  // namespace

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
    : tls_(new Tls{tls, asio::ssl::stream<Socket>(std::move(socket), *tls)}) {}

Stream::Socket& Stream::socket() { return tls_ ? tls_->stream.next_layer() : *plain_; }

void Stream::handshake(beast::role_type role, std::function<void(error_code)> done) {
  if (!tls_) return asio::post(get_executor(), [done = std::move(done)] { done({}); });
  using Side = asio::ssl::stream_base;
  tls_->stream.async_handshake(role == beast::role_type::server ? Side::server : Side::client,
                               [hold = tls_, done = std::move(done)](error_code error) { done(error); });
}

TlsExporter Stream::exporter() const {
  TlsExporter out{};
  if (tls_) {
    const int done = ::SSL_export_keying_material(tls_->stream.native_handle(), out.data(), out.size(),
                                                  kTlsExporterLabel, std::strlen(kTlsExporterLabel), nullptr, 0, 0);
    LR_CHECK(done == 1);
  }
  return out;
}

std::optional<SpkiHash> Stream::remote_key() const {
  const std::unique_ptr<X509, decltype(&::X509_free)> certificate(
      tls_ ? ::SSL_get1_peer_certificate(tls_->stream.native_handle()) : nullptr, &::X509_free);
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
  if (tls_) return tls_->stream.async_read_some(buffer, holding(tls_, std::move(done)));
  plain_->async_read_some(buffer, holding(plain_, std::move(done)));
}

void Stream::write_some(asio::const_buffer buffer, IoDone done) {
  if (tls_) return tls_->stream.async_write_some(buffer, holding(tls_, std::move(done)));
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
