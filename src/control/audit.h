// What an operator may look up afterwards: which change of which party was asked for by whom, one line each, once it is
// stored. The lines are of the logger `audit`, at info; who asked, in which party and under which correlation id is in
// their context. Names, addresses and tokens are not in them.
#pragma once

#include <string>
#include <vector>

#include "base/log.h"
#include "party/server_party.h"

namespace lanrage::control {

struct AuditLine {
  const char* what;     // "peer joined"
  const char* key;      // what `about` is: "member", "invite"; null: nothing
  std::string about{};  // a member's key in base64, an invite's id
};

std::vector<AuditLine> audit_of(const party::Effects& effects);
void write(const std::vector<AuditLine>& lines, const Logger& audit);

}  // namespace lanrage::control
