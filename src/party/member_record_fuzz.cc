// Any bytes as a member record: what parses is the one encoding of what it says.
#include <cstdlib>

#include "party/record.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace lanrage;
  const auto parsed = party::SignedRecord::parse({data, size});
  if (!parsed) return 0;
  static const party::Identity self((party::IdentitySeed()));
  party::MemberRecord record = parsed->record();
  record.public_key = self.public_key();
  record.verify_key = self.verify_key();
  const auto again = party::SignedRecord::parse(party::SignedRecord::make(record, self, party::RecordKey()).encoded());
  if (!again || !(again->record() == record) || again->encoded().size() != size) std::abort();
  if (!again->signature_valid() || !again->mac_valid(party::RecordKey())) std::abort();
  return 0;
}
