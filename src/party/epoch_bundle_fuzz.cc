// Any bytes as an epoch bundle or the inside of an invite's envelope: one encoding, no crash on opening.
#include <cstdlib>

#include "party/epoch.h"
#include "party/invite.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace lanrage;
  const ByteView input(data, size);
  static const party::Identity self((party::IdentitySeed()));
  if (const auto bundle = party::EpochBundle::parse(input)) {
    if (bundle->encode() != to_bytes(input)) std::abort();
    bundle->open(self);
  }
  party::InviteContents::open(party::PartyId(), party::WrapKey(), input);
  return 0;
}
