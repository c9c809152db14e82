#include "net/tls.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

namespace lanrage::net {
namespace {

struct Folder {
  std::filesystem::path path;
  Folder() {
    std::string name = std::filesystem::temp_directory_path() / "lanrage-tls-XXXXXX";
    path = ::mkdtemp(name.data());
  }
  ~Folder() { std::filesystem::remove_all(path); }
  std::string file(const char* name) const { return path / name; }
};

TEST(TlsIdentity, KeepsItsKeyAcrossLoads) {
  Folder folder;
  auto made = TlsIdentity::load_or_create(folder.file("server.key"));
  auto loaded = TlsIdentity::load_or_create(folder.file("server.key"));
  ASSERT_TRUE(made && loaded);
  EXPECT_EQ(made->spki_hash(), loaded->spki_hash());
  struct stat status {};
  ASSERT_EQ(::stat(folder.file("server.key").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777u, 0600u);
}

TEST(TlsIdentity, EveryFreshOneIsAnother) {
  EXPECT_NE(TlsIdentity::generate()->spki_hash(), TlsIdentity::generate()->spki_hash());
}

TEST(TlsIdentity, NeverReplacesAFileItCannotUse) {
  Folder folder;
  std::ofstream(folder.file("server.key")) << "half a key";
  auto loaded = TlsIdentity::load_or_create(folder.file("server.key"));
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().code, Code::kInvalid);
  std::string kept;
  std::getline(std::ifstream(folder.file("server.key")), kept);
  EXPECT_EQ(kept, "half a key");
}

TEST(TlsIdentity, RefusesAKeyWithAnothersCertificate) {
  const std::string a = TlsIdentity::generate()->pem();
  const std::string b = TlsIdentity::generate()->pem();
  const std::size_t cut = a.find("-----BEGIN CERTIFICATE");
  EXPECT_TRUE(TlsIdentity::from_pem(a));
  EXPECT_FALSE(TlsIdentity::from_pem(a.substr(0, cut) + b.substr(b.find("-----BEGIN CERTIFICATE"))));
  EXPECT_FALSE(TlsIdentity::from_pem(a.substr(0, cut)));
}

}  // namespace
}  // namespace lanrage::net
