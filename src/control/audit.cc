#include "control/audit.h"

#include <algorithm>

namespace lanrage::control {
namespace {

class Auditor {
 public:
  explicit Auditor(const party::Effects& effects) : effects_(effects) {
    for (const party::Change& change : effects.changes) std::visit(*this, change);
  }
  std::vector<AuditLine> take() { return std::move(lines_); }

  void operator()(const party::PartyCreated&) { lines_.push_back({"party registered", nullptr}); }
  void operator()(const party::VersionRaised&) {}
  void operator()(const party::BundleReplaced&) {}
  void operator()(const party::StatementAdded& change) {
    const auto statement = party::Statement::parse(change.statement);
    if (!statement) return;
    if (const auto* kick = std::get_if<party::Tombstone>(&statement->body)) member("peer removed", kick->public_key);
    if (const auto* heir = std::get_if<party::Handover>(&statement->body))
      member("party handed over", heir->public_key);
    if (std::holds_alternative<party::EpochStart>(statement->body)) lines_.push_back({"party rekeyed", nullptr});
  }
  void operator()(const party::MemberPut& change) {
    const party::MemberRow& row = change.row;
    if (row.state == party::MemberState::kPending) member("peer admitted", row.public_key);
    // Its first record since it was admitted, not a later one.
    if (row.state == party::MemberState::kJoined && has_event(row.since)) member("peer joined", row.public_key);
    if (row.state == party::MemberState::kLeft) member("peer left", row.public_key);
  }
  void operator()(const party::MemberRemoved& change) { member("admission over", change.public_key); }
  void operator()(const party::InvitePut& change) {
    const party::InviteRow& row = change.row;
    const bool is_told = std::any_of(effects_.events.begin(), effects_.events.end(), [&](const auto& event) {
      const auto* changed = std::get_if<party::InviteChanged>(&event.body);
      return changed != nullptr && changed->id == row.id;
    });
    if (!is_told) return;  // sealed anew, for another epoch
    const bool is_join = std::any_of(effects_.changes.begin(), effects_.changes.end(),
                                     [](const auto& other) { return std::holds_alternative<party::MemberPut>(other); });
    const char* what = row.state == party::InviteState::kRevoked   ? "invite revoked"
                       : row.state == party::InviteState::kExpired ? "invite expired"
                       : is_join                                   ? "invite used"
                                                                   : "invite added";
    lines_.push_back({what, "invite", row.id.text()});
  }
  void operator()(const party::InviteRemoved&) {}

 private:
  void member(const char* what, const crypto::PublicKey& key) { lines_.push_back({what, "member", key.base64()}); }
  bool has_event(std::uint64_t number) const {
    return std::any_of(effects_.events.begin(), effects_.events.end(),
                       [&](const party::PartyEvent& event) { return event.number == number; });
  }
  const party::Effects& effects_;
  std::vector<AuditLine> lines_;
};

}  // namespace

std::vector<AuditLine> audit_of(const party::Effects& effects) { return Auditor(effects).take(); }

void write(const std::vector<AuditLine>& lines, const Logger& audit) {
  for (const AuditLine& line : lines) {
    if (line.key == nullptr) {
      audit.info(line.what);
    } else {
      audit.info(line.what, {{line.key, line.about}});
    }
  }
}

}  // namespace lanrage::control
