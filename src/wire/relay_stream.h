// A relay's datagrams in a byte stream: for networks that let no UDP out (docs/wire/relay.md, "Over TLS").
//
// Who connects to the relay's TCP port asks there, in HTTP, for an upgrade to kRelayStreamProtocol, and may send frames
// right behind the question. After "101 Switching Protocols" both ends send frames alone: a length (u16, big endian, 1
// to kRelayStreamDatagramMax) and so many bytes, a datagram as it would have come over UDP.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"

namespace lanrage::wire {

inline constexpr std::string_view kRelayStreamPath = "/v1/relay/stream";
inline constexpr std::string_view kRelayStreamProtocol = "lanrage-relay";
inline constexpr std::size_t kRelayStreamHeaderBytes = 2;
inline constexpr std::size_t kRelayStreamDatagramMax = 2048;  // more than any path carries

// What the asker says first; `host` is the HTTP header's. And what the relay answers when it agrees.
std::string relay_stream_question(std::string_view host);
inline constexpr std::string_view kRelayStreamAnswer =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: lanrage-relay\r\n\r\n";

// `datagram` has 1 to kRelayStreamDatagramMax bytes.
void append_relay_stream_frame(Bytes& out, ByteView datagram);

// Finds the datagrams again, however the stream was cut. Read into `room()`, say how much with `commit`, then take
// `next()` until there is nothing.
class RelayStreamReader {
 public:
  enum class End : std::uint8_t { kAsker, kRelay };  // the asker's frames come after an answer
  explicit RelayStreamReader(End end) : buffer_(kBufferBytes), answered_(end == End::kRelay) {}

  MutableBytes room();  // never empty once next() gave nothing; ends what next() gave before
  void commit(std::size_t size);
  std::optional<ByteView> next();
  // The other side did not agree, or says a length that cannot be: nothing that follows means anything.
  bool is_broken() const { return broken_; }

 private:
  static constexpr std::size_t kBufferBytes = 16 * 1024;
  static constexpr std::size_t kAnswerBytesMax = 4 * 1024;
  bool skip_answer(ByteView rest);

  Bytes buffer_;
  std::size_t begin_ = 0, end_ = 0;  // what is not taken yet
  bool answered_;
  bool broken_ = false;
};

}  // namespace lanrage::wire
