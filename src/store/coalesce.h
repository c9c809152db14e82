// Which of many changes have to be written where all are written at once: the last of every key. Pure functions.
#pragma once

#include <vector>

#include "party/server_party.h"

namespace lanrage::store {

struct Step {
  const party::PartyId* party;
  const party::Change* change;
};

// In the order given, without those that a later one of the same key replaces. Applying it leaves every party as
// applying all of them does.
std::vector<Step> coalesce(const std::vector<Step>& steps);

// What a change carries, without what a store adds to it.
std::size_t bytes_of(const party::Change& change);

}  // namespace lanrage::store
