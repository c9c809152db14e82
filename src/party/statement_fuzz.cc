// Any bytes as a statement or a genesis: what parses encodes to the same bytes, and a chain takes none of it unsigned.
#include <cstdlib>

#include "party/statement.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace lanrage;
  const ByteView input(data, size);
  if (const auto statement = party::Statement::parse(input)) {
    if (statement->encode() != to_bytes(input)) std::abort();
    party::Chain chain((party::Genesis()));
    if (!chain.append(*statement)) std::abort();
  }
  party::Genesis::parse(input);
  return 0;
}
