// Answers STUN binding requests: tells a node how it looks from here. Stateless; any thread.
#pragma once

#include "base/bytes.h"
#include "base/ip.h"

namespace lanrage::relay {

// Writes the answer to `question` from `source` at `out` (at least wire::kStunResponseBytesMax) and returns its size; 0
// when there is none: not a valid request, or one so short that the answer would be larger (a reflector's food).
std::size_t answer_stun(const Endpoint& source, ByteView question, MutableBytes out);

}  // namespace lanrage::relay
