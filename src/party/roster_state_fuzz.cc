// Any bytes as a roster's state file or as an update from a member: an error or a roster, never a crash. The checksum
// is made good first, or nothing behind it would ever be reached.
#include "party/roster.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace lanrage;
  static const party::Identity self((party::IdentitySeed()));
  static SeededRng rng(1);
  static const party::Roster fresh =
      *party::Roster::create(self, "fuzz", {IpAddress::v4(10, 66, 7, 0), 24}, {.name = "fuzz"}, {}, rng);
  const ByteView input(data, size);
  Bytes state = to_bytes(input);
  const crypto::Hash sum = crypto::sha256({as_bytes("lanrage roster v1"), input});
  append(state, ByteView(sum).first(16));
  if (auto read = party::Roster::parse(state, self)) {
    read->encode();
    read->apply_update(input);
    read->unpublished_record();
  }
  party::Roster copy = fresh;
  copy.apply_update(input);
  return 0;
}
