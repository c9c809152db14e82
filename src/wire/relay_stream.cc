#include "wire/relay_stream.h"

#include <algorithm>

#include "base/check.h"
#include "base/format.h"

namespace lanrage::wire {

std::string relay_stream_question(std::string_view host) {
  return format("GET {} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: {}\r\n\r\n", kRelayStreamPath, host,
                kRelayStreamProtocol);
}

void append_relay_stream_frame(Bytes& out, ByteView datagram) {
  LR_CHECK(!datagram.empty() && datagram.size() <= kRelayStreamDatagramMax);
  std::array<std::uint8_t, kRelayStreamHeaderBytes> header;
  store_be(header.data(), static_cast<std::uint16_t>(datagram.size()));
  append(out, header);
  append(out, datagram);
}

MutableBytes RelayStreamReader::room() {
  std::copy(buffer_.begin() + static_cast<std::ptrdiff_t>(begin_), buffer_.begin() + static_cast<std::ptrdiff_t>(end_),
            buffer_.begin());
  end_ -= begin_;
  begin_ = 0;
  return MutableBytes(buffer_).subspan(end_);
}

void RelayStreamReader::commit(std::size_t size) {
  LR_CHECK(size <= buffer_.size() - end_);
  end_ += size;
}

// HTTP as far as it matters here: the status line's code, and where the header ends.
bool RelayStreamReader::skip_answer(ByteView rest) {
  const std::string_view text = as_text(rest);
  const std::size_t end = text.substr(0, kAnswerBytesMax).find("\r\n\r\n");
  if (end == std::string_view::npos) {
    broken_ = text.size() >= kAnswerBytesMax;
    return false;
  }
  broken_ = !text.starts_with("HTTP/1.1 101 ");
  begin_ += end + 4;
  answered_ = !broken_;
  return answered_;
}

std::optional<ByteView> RelayStreamReader::next() {
  if (!answered_ && (broken_ || !skip_answer(ByteView(buffer_).subspan(begin_, end_ - begin_)))) return std::nullopt;
  const ByteView rest = ByteView(buffer_).subspan(begin_, end_ - begin_);
  if (broken_ || rest.size() < kRelayStreamHeaderBytes) return std::nullopt;
  const std::size_t size = load_be<std::uint16_t>(rest.data());
  if (size == 0 || size > kRelayStreamDatagramMax) {
    broken_ = true;
    return std::nullopt;
  }
  if (rest.size() < kRelayStreamHeaderBytes + size) return std::nullopt;
  begin_ += kRelayStreamHeaderBytes + size;
  return rest.subspan(kRelayStreamHeaderBytes, size);
}

}  // namespace lanrage::wire
