// The server's TLS identity: one key and a self-signed certificate around it, made once and kept in its folder.
//
// Clients pin the key, not the certificate: the SHA-256 of its SubjectPublicKeyInfo (RFC 7469, section 2.4) stands in
// every server link and invite. So the certificate has no meaningful name and never expires, and a server that keeps
// its key file keeps its links. Values are immutable and free to use from any thread.
#pragma once

#include <array>
#include <string>

#include "base/result.h"

namespace lanrage::net {

using SpkiHash = std::array<std::uint8_t, 32>;

// The label with which both ends of a TLS session derive the value that binds a proof to it (RFC 8446, section 7.5).
inline constexpr const char* kTlsExporterLabel = "EXPORTER-lanrage";
using TlsExporter = std::array<std::uint8_t, 32>;

class TlsIdentity {
 public:
  // A fresh P-256 key and its certificate.
  static Result<TlsIdentity> generate();
  // From the text that `pem()` gave. kInvalid: not a key and its certificate.
  static Result<TlsIdentity> from_pem(std::string pem);
  // From a file, or a fresh one written there: mode 0600 from its first byte, atomically, synced with its folder.
  // A file that is there and cannot be used is an error, never replaced: links out there carry its key.
  static Result<TlsIdentity> load_or_create(const std::string& path);

  const SpkiHash& spki_hash() const { return spki_hash_; }
  const std::string& pem() const { return pem_; }  // private key, then certificate. Secret.

 private:
  TlsIdentity(std::string pem, const SpkiHash& hash) : pem_(std::move(pem)), spki_hash_(hash) {}
  std::string pem_;
  SpkiHash spki_hash_;
};

}  // namespace lanrage::net
