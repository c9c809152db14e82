// Frames inside the tunnel: what parses is written back the same, and no stream of fragments breaks reassembly.
#include "base/check.h"
#include "wire/inner.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace lanrage;
  using namespace lanrage::wire;
  const ByteView input(data, size);
  if (const auto echo = Echo::parse(input)) LR_CHECK(Echo::parse(echo->bytes()) == echo);
  if (const auto message = MemberMessage::parse(input)) {
    const Bytes again = MemberMessage::write(message->kind, message->payload);
    LR_CHECK(std::equal(again.begin(), again.end(), input.begin()));
  }
  // The input as a stream: two bytes of length and time step, then a frame.
  Reassembler reassembler;
  Time now{};
  ByteReader reader(input);
  while (reader.ok() && !reader.rest().empty()) {
    now += std::chrono::milliseconds(reader.u8());
    const ByteView frame = reader.sized_u8();
    if (const auto fragment = Fragment::parse(frame)) {
      std::uint8_t header[Fragment::kHeaderBytes];
      Fragment::write_header(header, fragment->part, fragment->id, fragment->payload.size());
      LR_CHECK(std::equal(header, header + sizeof header, frame.begin()));
      if (const auto whole = reassembler.handle_fragment(now, *fragment)) LR_CHECK(whole->size() >= 2);
    }
  }
  return 0;
}
