#include "party/why.h"

namespace lanrage::party {
namespace {

struct Texts {
  const char* name;
  const char* text;
};

Texts texts(Why why) {
  switch (why) {
    case Why::kMalformed:
      return {"malformed", "malformed"};
    case Why::kWrongParty:
      return {"wrong_party", "belongs to another party"};
    case Why::kBadSignature:
      return {"bad_signature", "not signed by the key it names"};
    case Why::kBadMac:
      return {"bad_mac", "made without the party's secret"};
    case Why::kSuperseded:
      return {"superseded", "an unknown device that knows an older secret only"};
    case Why::kUnknownEpoch:
      return {"unknown_epoch", "of an epoch whose secret is not known here"};
    case Why::kReplayed:
      return {"replayed", "older than what is known, or a second text of the same version"};
    case Why::kKeyReplaced:
      return {"key_replaced", "one key of a known device was exchanged"};
    case Why::kAddressTaken:
      return {"address_taken", "claims an address that another device has"};
    case Why::kAddressChanged:
      return {"address_changed", "a known device with another address"};
    case Why::kAddressInvalid:
      return {"address_invalid", "claims an address outside the party"};
    case Why::kTombstoned:
      return {"tombstoned", "of a device that the owner removed"};
    case Why::kNotOwner:
      return {"not_owner", "not signed by the party's owner"};
    case Why::kOutOfChain:
      return {"out_of_chain", "does not follow the statements that are known"};
    case Why::kGap:
      return {"gap", "follows statements that are missing here"};
    case Why::kForgedEpoch:
      return {"forged_epoch", "not the member list or secret that the owner signed"};
    case Why::kOldSnapshot:
      return {"old_snapshot", "less than was known before"};
    case Why::kTooMany:
      return {"too_many", "a limit is reached"};
  }
  return {"malformed", "malformed"};
}

}  // namespace

const char* why_name(Why why) { return texts(why).name; }
const char* why_text(Why why) { return texts(why).text; }

}  // namespace lanrage::party
