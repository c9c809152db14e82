#include "config/folders.h"

#include <fcntl.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "base/format.h"

namespace lanrage::config {
namespace {

// Closes on every way out.
struct File {
  int fd;
  ~File() {
    if (fd >= 0) ::close(fd);
  }
};

}  // namespace

Folders Folders::of(const Environment& environment, bool root) {
  if (auto folder = environment("LANRAGE_DIR"); folder && !folder->empty()) return {*folder, *folder};
  if (root) return {"/var/lib/lanrage", "/run/lanrage"};
  const auto path = [&environment](const char* name) {
    return std::filesystem::path(environment(name).value_or(""));  // empty is unset
  };
  std::filesystem::path state = path("XDG_STATE_HOME");
  if (state.empty()) state = (path("HOME").empty() ? "/" : path("HOME")) / ".local/state";
  const std::filesystem::path runtime = path("XDG_RUNTIME_DIR");
  return {state / "lanrage", (runtime.empty() ? state : runtime) / "lanrage"};
}

Result<void> Folders::create() const {
  for (const std::string& folder : {state, run}) {
    std::error_code error;
    std::filesystem::create_directories(std::filesystem::path(folder).parent_path(), error);
    if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) {
      Error failure = os_error(format("cannot make the folder {}", folder), errno);
      failure.hint = "run as root, or choose another with LANRAGE_DIR";
      return failure;
    }
  }
  return {};
}

std::optional<std::string> environment(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  if (name == "HOME" && (value == nullptr || *value == '\0')) {
    if (const passwd* user = ::getpwuid(::geteuid())) value = user->pw_dir;
  }
  return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

Result<std::optional<std::string>> read_file(const std::string& path) {
  const File file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.fd < 0) {
    if (errno == ENOENT) return std::optional<std::string>();
    return os_error(format("cannot read {}", path), errno);
  }
  std::string content;
  char buffer[16384];
  for (;;) {
    const ssize_t count = ::read(file.fd, buffer, sizeof buffer);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return os_error(format("cannot read {}", path), errno);
    if (count == 0) return std::optional<std::string>(std::move(content));
    content.append(buffer, static_cast<std::size_t>(count));
  }
}

Result<void> write_file(const std::string& path, std::string_view content) {
  const std::string temporary = path + ".tmp";  // one name: what a killed writer left goes with the next write
  ::unlink(temporary.c_str());
  auto fail = [&](const char* what) -> Error {
    const int error = errno;
    ::unlink(temporary.c_str());
    return os_error(format("cannot {} {}", what, path), error);
  };
  {
    const File file{::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)};
    if (file.fd < 0) return fail("create");
    while (!content.empty()) {
      const ssize_t count = ::write(file.fd, content.data(), content.size());
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return fail("write");
      content.remove_prefix(static_cast<std::size_t>(count));
    }
    if (::fsync(file.fd) != 0) return fail("sync");
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) return fail("replace");
  const std::string folder = std::filesystem::path(path).parent_path().string();
  const File directory{::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (directory.fd < 0 || ::fsync(directory.fd) != 0) return fail("sync the folder of");
  return {};
}

}  // namespace lanrage::config
