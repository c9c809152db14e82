// What a name of a player, a party or a computer may be. Names come from other people and end on terminals, in DNS
// answers and on web pages, so they are checked where they enter (records, genesis, join requests) and nowhere else.
//
// Not a defence against letters of two alphabets that look alike; a member is known by its key, the name is for people.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace lanrage::party {

inline constexpr std::size_t kNameCharactersMax = 24;
inline constexpr std::size_t kPartyNameCharactersMax = 48;
inline constexpr std::size_t kHostnameBytesMax = 63;

// Valid UTF-8 of printable characters only: no control characters, nothing that changes the direction of text, nothing
// invisible, no space but U+0020. What passes may be written to a terminal.
bool display_safe(std::string_view text);

// A player's name: 1 to 24 characters (not bytes), display_safe, no space at either end. The error says which rule.
Result<void> check_name(std::string_view name);
// The same with 48 characters.
Result<void> check_party_name(std::string_view name);
// A computer's own name, for information: empty or up to 63 bytes of letters, digits, '-', '_' and '.'.
bool is_valid_hostname(std::string_view hostname);

// Equal for names that differ only in case (ASCII, Latin, Greek, Cyrillic): names are unique in a party by this.
std::string fold_name(std::string_view name);

}  // namespace lanrage::party
