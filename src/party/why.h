// Why something that claims to belong to a party was refused. Shown in logs and `status`; the names are stable.
#pragma once

#include <cstdint>

namespace lanrage::party {

enum class Why : std::uint8_t {
  kMalformed,       // not in the canonical form, or a field that cannot be
  kWrongParty,      // belongs to another party
  kBadSignature,    // not signed by the key it names
  kBadMac,          // made without the party's secret: a member that the server invented
  kSuperseded,      // an unknown device with the secret of an older epoch only: perhaps one that was kicked
  kUnknownEpoch,    // of an epoch that nobody announced to us, or whose secret we do not have
  kReplayed,        // older than what we hold, or another text under the same version
  kKeyReplaced,     // a known device's other key, exchanged
  kAddressTaken,    // an address or route that another key was seen with first
  kAddressChanged,  // a known device with another address than before
  kAddressInvalid,  // an address or route outside the party's
  kTombstoned,      // of a device that the owner removed
  kNotOwner,        // a statement that the owner did not sign
  kOutOfChain,      // a statement that does not follow what is known: forged, forked, or one was left out
  kGap,             // a statement further on than what is known; what is between is missing
  kForgedEpoch,     // a member list or secret other than the one that the owner signed
  kOldSnapshot,     // the server offers less than was known before
  kTooMany,         // a limit is reached
};

const char* why_name(Why why);  // "bad_mac"
const char* why_text(Why why);  // one clause for people: "made without the party's secret"

}  // namespace lanrage::party
