#include "net/tls.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <sys/stat.h>

#include <filesystem>
#include <memory>

#include "net/fd.h"
#include "net/freer.h"
#include "net/tls_certificate.h"

namespace lanrage::net {
namespace {

using Key = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, Freer<X509_free>>;
using Bio = std::unique_ptr<BIO, Freer<BIO_free_all>>;

constexpr std::size_t kFileBytesMax = 64 * 1024;

Error library_error(std::string message) {
  char text[256] = "";
  if (const unsigned long code = ERR_get_error(); code != 0) {
    ERR_error_string_n(code, text, sizeof text);
    message += std::string(": ") + text;
  }
  ERR_clear_error();
  return Error{Code::kFailed, std::move(message)};
}

Result<SpkiHash> hash_of(X509* certificate) {
  const auto hash = spki_hash(certificate);
  if (!hash) return library_error("cannot read the certificate's key");
  return *hash;
}

// Valid from 1970 to the date that RFC 5280 (section 4.1.2.5) has for "no end": nobody looks at dates of a pinned key.
bool set_fields(X509* certificate, EVP_PKEY* key) {
  X509_NAME* name = X509_get_subject_name(certificate);
  const auto* text = reinterpret_cast<const unsigned char*>("lanrage");
  return X509_set_version(certificate, X509_VERSION_3) == 1 &&
         ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1) == 1 &&
         ASN1_TIME_set_string(X509_getm_notBefore(certificate), "19700101000000Z") == 1 &&
         ASN1_TIME_set_string(X509_getm_notAfter(certificate), "99991231235959Z") == 1 &&
         X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, text, -1, -1, 0) == 1 &&
         X509_set_issuer_name(certificate, name) == 1 && X509_set_pubkey(certificate, key) == 1 &&
         X509_sign(certificate, key, EVP_sha256()) > 0;
}

Result<std::string> read_file(const std::string& path) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.is_open()) return os_error("cannot read " + path, errno);
  std::string text(kFileBytesMax, '\0');
  std::size_t size = 0;
  while (size < text.size()) {
    const ssize_t n = retry([&] { return ::read(fd.get(), text.data() + size, text.size() - size); });
    if (n < 0) return os_error("cannot read " + path, errno);
    if (n == 0) break;
    size += static_cast<std::size_t>(n);
  }
  text.resize(size);
  return text;
}

Result<void> write_file(const std::string& path, const std::string& text) {
  const std::string fresh = path + ".new";
  ::unlink(fresh.c_str());
  {
    const Fd fd(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!fd.is_open()) return os_error("cannot create " + fresh, errno);
    std::size_t done = 0;
    while (done < text.size()) {
      const ssize_t n = retry([&] { return ::write(fd.get(), text.data() + done, text.size() - done); });
      if (n < 0) return os_error("cannot write " + fresh, errno);
      done += static_cast<std::size_t>(n);
    }
    if (::fsync(fd.get()) != 0) return os_error("cannot sync " + fresh, errno);
  }
  if (::rename(fresh.c_str(), path.c_str()) != 0) return os_error("cannot rename to " + path, errno);
  const std::string folder = std::filesystem::path(path).parent_path().string();
  const Fd dir(::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!dir.is_open() || ::fsync(dir.get()) != 0) return os_error("cannot sync the folder of " + path, errno);
  return {};
}

}  // namespace

std::optional<SpkiHash> spki_hash(X509* certificate) {
  unsigned char* der = nullptr;
  const int size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);
  if (size <= 0) return std::nullopt;
  SpkiHash hash;
  SHA256(der, static_cast<std::size_t>(size), hash.data());
  OPENSSL_free(der);
  return hash;
}

Result<TlsIdentity> TlsIdentity::generate() {
  const Key key(EVP_EC_gen("P-256"));
  const Certificate certificate(X509_new());
  if (!key || !certificate || !set_fields(certificate.get(), key.get())) return library_error("cannot make a TLS key");
  const Bio out(BIO_new(BIO_s_secmem()));
  if (!out || PEM_write_bio_PrivateKey(out.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) != 1 ||
      PEM_write_bio_X509(out.get(), certificate.get()) != 1)
    return library_error("cannot write a TLS key");
  char* text = nullptr;
  const long size = BIO_get_mem_data(out.get(), &text);
  LR_ASSIGN(const SpkiHash hash, hash_of(certificate.get()));
  return TlsIdentity(std::string(text, static_cast<std::size_t>(size)), hash);
}

Result<TlsIdentity> TlsIdentity::from_pem(std::string pem) {
  const Bio in(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  const Key key(PEM_read_bio_PrivateKey(in.get(), nullptr, nullptr, nullptr));
  const Certificate certificate(key ? PEM_read_bio_X509(in.get(), nullptr, nullptr, nullptr) : nullptr);
  if (!certificate || X509_check_private_key(certificate.get(), key.get()) != 1) {
    ERR_clear_error();
    return Error{Code::kInvalid, "not a TLS key and its certificate"};
  }
  LR_ASSIGN(const SpkiHash hash, hash_of(certificate.get()));
  return TlsIdentity(std::move(pem), hash);
}

Result<TlsIdentity> TlsIdentity::load_or_create(const std::string& path) {
  if (::access(path.c_str(), F_OK) == 0) {
    LR_ASSIGN(std::string pem, read_file(path));
    auto loaded = from_pem(std::move(pem));
    if (loaded) return loaded;
    return Error{Code::kInvalid, path + " is not a TLS key and its certificate",
                 "restore it from a backup; if you delete it, every link and invite to this server stops working"};
  }
  LR_ASSIGN(TlsIdentity fresh, generate());
  LR_TRY(write_file(path, fresh.pem()));
  return fresh;
}

}  // namespace lanrage::net
