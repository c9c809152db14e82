// Whatever a stream holds, its frames do not depend on where it was cut, and written again they are the stream.
#include <algorithm>

#include "base/check.h"
#include "wire/relay_stream.h"

using namespace lanrage;

namespace {

using End = wire::RelayStreamReader::End;

Bytes frames_of(End end, ByteView stream, std::size_t step, bool& broken) {
  wire::RelayStreamReader reader(end);
  Bytes out;
  while (!stream.empty() && !reader.is_broken()) {
    const MutableBytes room = reader.room();
    LR_CHECK(!room.empty());
    const std::size_t size = std::min({step, stream.size(), room.size()});
    std::copy_n(stream.begin(), size, room.begin());
    reader.commit(size);
    stream = stream.subspan(size);
    while (const auto datagram = reader.next()) wire::append_relay_stream_frame(out, *datagram);
  }
  broken = reader.is_broken();
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t step = std::size_t{data[0]} + 1;
  const ByteView stream = ByteView(data, size).subspan(1);
  bool broken = false, also_broken = false;
  const Bytes whole = frames_of(End::kRelay, stream, SIZE_MAX, broken);
  LR_CHECK(whole == frames_of(End::kRelay, stream, step, also_broken) && broken == also_broken);
  LR_CHECK(whole.size() <= stream.size() && std::equal(whole.begin(), whole.end(), stream.begin()));
  LR_CHECK(frames_of(End::kAsker, stream, SIZE_MAX, broken) == frames_of(End::kAsker, stream, step, also_broken));
  LR_CHECK(broken == also_broken);
  return 0;
}
