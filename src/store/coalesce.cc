#include "store/coalesce.h"

#include <algorithm>
#include <set>
#include <tuple>

namespace lanrage::store {
namespace {

enum class Kind : std::uint8_t { kVersion, kBundle, kMember, kInvite };
// A view into the change, which outlives it.
using Key = std::tuple<party::PartyId, Kind, std::string_view>;

// None: it is written in any case.
std::optional<Key> key_of(const Step& step) {
  struct {
    const party::PartyId& party;
    std::optional<Key> operator()(const party::PartyCreated&) const { return std::nullopt; }
    std::optional<Key> operator()(const party::StatementAdded&) const { return std::nullopt; }
    std::optional<Key> operator()(const party::VersionRaised&) const { return Key{party, Kind::kVersion, {}}; }
    std::optional<Key> operator()(const party::BundleReplaced&) const { return Key{party, Kind::kBundle, {}}; }
    std::optional<Key> operator()(const party::MemberPut& c) const { return of(c.row.public_key); }
    std::optional<Key> operator()(const party::MemberRemoved& c) const { return of(c.public_key); }
    std::optional<Key> operator()(const party::InvitePut& c) const { return of(c.row.id); }
    std::optional<Key> operator()(const party::InviteRemoved& c) const { return of(c.id); }
    Key of(const crypto::PublicKey& key) const { return {party, Kind::kMember, as_text(key.bytes())}; }
    Key of(const party::InviteId& id) const { return {party, Kind::kInvite, as_text(id.bytes())}; }
  } visitor{*step.party};
  return std::visit(visitor, *step.change);
}

}  // namespace

std::vector<Step> coalesce(const std::vector<Step>& steps) {
  std::vector<Step> out;
  std::set<Key> later;
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    const auto key = key_of(*step);
    if (!key || later.insert(*key).second) out.push_back(*step);
  }
  std::reverse(out.begin(), out.end());
  return out;
}

std::size_t bytes_of(const party::Change& change) {
  struct {
    std::size_t operator()(const party::PartyCreated& c) const { return c.genesis.size(); }
    std::size_t operator()(const party::VersionRaised& c) const { return sizeof c.version; }
    std::size_t operator()(const party::StatementAdded& c) const { return c.statement.size(); }
    std::size_t operator()(const party::BundleReplaced& c) const { return c.bundle.size(); }
    std::size_t operator()(const party::MemberPut& c) const { return c.row.name.size() + c.row.record.size(); }
    std::size_t operator()(const party::MemberRemoved& c) const { return c.public_key.bytes().size(); }
    std::size_t operator()(const party::InvitePut& c) const { return c.row.envelope.size(); }
    std::size_t operator()(const party::InviteRemoved& c) const { return c.id.bytes().size(); }
  } visitor;
  return std::visit(visitor, change);
}

}  // namespace lanrage::store
