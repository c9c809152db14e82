// The party's side of the node: operations that ask the server, and what its events mean.
#include <algorithm>

#include "base/format.h"
#include "node/node.h"
#include "party/ipam.h"
#include "party/name.h"

namespace lanrage::node {
namespace {

constexpr std::size_t kNoticesMax = 8;

// Kinds of member messages (docs/wire/inner.md).
constexpr std::uint8_t kSummary = 1;
constexpr std::uint8_t kUpdate = 2;

Error in_party_already(bool entering) {
  return {Code::kConflict, entering ? "this machine is about to enter a party" : "this machine is in a party already",
          entering ? "wait a moment, or give up with `lanrage leave`"
                   : "`lanrage leave` first, or use a second LANRAGE_DIR"};
}

Error not_in_party() {
  return {Code::kNotFound, "this machine is in no party", "`lanrage host` starts one, `lanrage join INVITE` joins one"};
}

wire::PartyId wire_id(const party::PartyId& id) {
  wire::PartyId out;
  std::copy(id.bytes().begin(), id.bytes().end(), out.begin());
  return out;
}

wire::Join join_request(const party::Invite& invite, const std::string& name) {
  wire::InviteToken token;
  const party::InviteToken secret = invite.secret.token(invite.party);
  std::copy(secret.bytes().begin(), secret.bytes().end(), token.begin());
  return {wire_id(invite.party), token, name};
}

party::JoinAnswer join_answer(const wire::Admission& admission) { return {admission.address, admission.envelope}; }

template <class T>
Result<T> expect(Result<wire::Response> response) {
  if (!response) return std::move(response).error();
  if (T* value = std::get_if<T>(&*response)) return std::move(*value);
  return Error{Code::kFailed, "the server answered something else than was asked",
               "is it a newer version? update this one"};
}

}  // namespace

party::SelfSettings Node::self_settings(const std::string& name) const {
  party::SelfSettings settings;
  settings.name = name;
  settings.hostname = party::is_valid_hostname(options_.hostname) ? options_.hostname : "";
  return settings;
}

void Node::set_server(Now now, std::optional<party::ServerInfo> server) {
  if (server_ == server) return;
  server_ = std::move(server);
  told_servers_.clear();
  link_state_ = LinkState::kDown;
  link_problem_.clear();
  server_quality_ = {};
  event(ServerChanged{});
  ask_over_udp(now.time);
  fail_questions(now, {Code::kUnavailable, "this machine left that server before it answered", "try again"});
}

// Whoever asked is told; nothing of the old server is waited for.
void Node::fail_questions(Now now, const Error& error) {
  requests_.clear();
  for (auto& [id, answered] : std::exchange(questions_, {})) answered(now, error);
}

void Node::handle_server_addresses(const party::ServerInfo& server) {
  if (!roster_ || roster_->server().key != server.key || roster_->server() == server) return;
  roster_->set_server(server);
  server_ = server;  // the link that leads there stays
  event(SaveParty{});
}

void Node::ask(wire::Request request, Answered answered) {
  if (questions_.size() >= kQuestionsMax) {
    // Called from inside an operation: its own callback gets the answer, as for any failure.
    return answered(Now{},
                    Error{Code::kExhausted, "too many requests are waiting for the server", "try again in a moment"});
  }
  const std::uint64_t id = ++last_question_;
  questions_[id] = std::move(answered);
  requests_.push_back({id, std::move(request), context()});
}

void Node::handle_response(Now now, std::uint64_t id, Result<wire::Response> response) {
  auto question = questions_.find(id);
  if (question == questions_.end()) return;
  const Answered answered = std::move(question->second);
  questions_.erase(question);
  answered(now, std::move(response));
  pump(now);
}

// --- entering and leaving ------------------------------------------------------------------------------------------

void Node::host(Now now, const HostRequest& request, Done<InviteAnswer> done) {
  if (roster_ || entering_) return done(in_party_already(entering_));
  std::vector<IpPrefix> local;
  for (const auto& address : interfaces_) local.push_back(address.prefix);
  auto roster = party::Roster::create(identity_, request.party_name, party::choose_prefix(local, rng_),
                                      self_settings(request.name), request.server, rng_);
  if (!roster) return done(std::move(roster).error());
  entering_ = true;
  set_server(now, request.server);
  const auto shared = std::make_shared<party::Roster>(std::move(*roster));
  ask(wire::CreateParty{shared->encoded_genesis(), request.name},
      [this, shared, started = now.time, done](Now then, Result<wire::Response> response) {
        if (!response) {
          entering_ = false;
          set_server(then, std::nullopt);
          return done(std::move(response).error());
        }
        enter(then, std::move(*shared));
        const ContextScope scope(context());
        party_log_.info("started a party");
        party_log_.timed(op::kCreateParty, then.time - started);
        const Bytes record = roster_->own_record();
        ask(wire::PutRecord{wire_id(roster_->party()), record},
            [this, record, done](Now later, Result<wire::Response> put) {
              if (!roster_) return done(not_in_party());
              if (!put) return done(std::move(put).error());
              roster_->mark_published(record);
              event(SaveParty{});
              follow();
              invite(later, std::chrono::hours{24}, party::kInviteUsesMax, done);
            });
      });
  pump(now);
}

void Node::join(Now now, const party::Invite& invite, const std::string& name, Done<void> done) {
  if (roster_ && roster_->party() == invite.party) return done({});
  meet_server(now, invite, name, [this, done](Now then, Result<void> met) {
    if (!met) return done(std::move(met));
    ask_admission(then, [this, done](Now later, Result<void> admitted) {
      if (!admitted) return done(std::move(admitted));
      if (auto entered = enter_admitted(later); !entered) return done(std::move(entered));
      announce_self(later, [done](Now, Result<void> announced) { done(std::move(announced)); });
    });
  });
}

void Node::meet_server(Now now, const party::Invite& invite, const std::string& name, Stepped done) {
  if (roster_ || entering_) return done(now, in_party_already(entering_));
  if (auto valid = party::check_name(name); !valid) return done(now, std::move(valid));
  const ContextScope scope("party_id", invite.party.text());
  entering_ = true;
  entry_.emplace(Entry{invite, now.time, {}, std::move(done)});
  set_server(now, invite.server);
  // It is sent once the server has shown its key: asking later would cost a round trip.
  ask(join_request(invite, name), [this, name](Now then, Result<wire::Response> response) {
    if (!entry_) return;
    auto admission = expect<wire::Admission>(std::move(response));
    if (!admission) {
      entry_->admitted = std::move(admission).error();
    } else {
      party_log_.timed(op::kAllocateAddress, then.time - entry_->started);
      entry_->admitted.emplace(
          party::Roster::join(identity_, entry_->invite, join_answer(*admission), self_settings(name)));
    }
    if (auto waits = std::exchange(entry_->waits, nullptr)) step_entry(then, waits);
  });
  pump(now);
}

// Goes on, unless the answer is there and says no.
void Node::step_entry(Now now, const Stepped& done) {
  if (!entry_->admitted || *entry_->admitted) return done(now, {});
  const Error error = entry_->admitted->error();
  give_up_entry(now);
  done(now, error);
}

void Node::ask_admission(Now now, Stepped done) {
  if (!entry_) return done(now, not_in_party());
  entry_->met = true;
  if (entry_->admitted) return step_entry(now, done);
  entry_->waits = std::move(done);
}

Result<void> Node::enter_admitted(Now now) {
  if (!entry_ || !entry_->admitted || roster_) return not_in_party();
  enter(now, std::move(**entry_->admitted));
  pump(now);
  return {};
}

void Node::announce_self(Now now, Stepped done) {
  if (!entry_ || !roster_) return done(now, not_in_party());
  joined_ = [this, started = entry_->started, done](Now later, Result<void> published) {
    entry_.reset();
    if (!published) {
      if (roster_) forget_party(later);
      return done(later, std::move(published));
    }
    party_log_.info("joined a party");
    party_log_.timed(op::kJoinParty, later.time - started);
    done(later, {});
  };
  follow();  // the snapshot that it begins with decides what our record must say
  pump(now);
}

void Node::give_up_entry(Now now) {
  const auto waits = entry_ ? std::exchange(entry_->waits, nullptr) : nullptr;
  entry_.reset();
  if (roster_) {
    forget_party(now);
  } else if (entering_) {
    entering_ = false;
    set_server(now, std::nullopt);
  }
  if (waits) waits(now, Error{Code::kUnavailable, "this machine gave up joining", "try again"});
  pump(now);
}

// An epoch began between our joining and our first record, and its secret was sealed without us: the invite has it by
// now. `refusal` is why our record was not taken, should that have been the reason.
void Node::rejoin(Now now, std::optional<Error> refusal) {
  const auto invite = roster_->invite();
  if (!invite || rejoining_) return;
  rejoining_ = true;
  ask(join_request(*invite, roster_->self().name),
      [this, refusal, epoch = roster_->self().epoch](Now then, Result<wire::Response> response) {
        rejoining_ = false;
        if (!roster_) return;
        auto admission = expect<wire::Admission>(std::move(response));
        auto events = admission ? roster_->rejoin(join_answer(*admission)) : std::move(admission).error();
        std::optional<Error> problem;
        if (!events) {
          problem = std::move(events).error();
        } else {
          apply(then, *events);
          if (roster_ && roster_->self().epoch == epoch) problem = refusal;
        }
        if (!roster_) return;
        if (!problem) return publish_record(then);
        if (auto joined = std::exchange(joined_, nullptr)) joined(then, std::move(*problem));
      });
  pump(now);
}

void Node::enter(Now now, party::Roster roster) {
  entering_ = false;
  roster_ = std::move(roster);
  use_told_servers();
  notices_.clear();
  for (const auto& address : interfaces_) {
    if (address.is_ours || !roster_->genesis().prefix.overlaps(address.prefix)) continue;
    notices_.push_back(format("this machine's network {} overlaps the party's {}; the party's addresses win here",
                              address.prefix.network().text(), roster_->genesis().prefix.text()));
  }
  tunnel_.set_private_key(now, identity_.private_key());
  const lan::Self self{lan::origin_of(identity_.public_key().bytes()), options_.adapter_index,
                       IpPrefix{roster_->self().ipv4, roster_->genesis().prefix.length},
                       IpPrefix{roster_->self().ipv6(), 64}};
  lan_.emplace(lan::ForwarderOptions{}, self, tables_, rng_, log_.named("lan"));
  share_filter();
  host_due_ = now.time;
  sync_links(now);
  refresh_candidates(now);
  forwarding_dirty_ = true;
  event(SaveParty{});
  event(AdapterChanged{});
  event(StatusChanged{});
}

void Node::forget_party(Now now) {
  entry_.reset();
  while (!links_.empty()) remove_link(now, crypto::PublicKey(links_.begin()->first));
  relays_.stop();
  relays_.set_grant(now.time, {});
  lifetime_meter_.stop();
  pump(now);
  named_relays_.clear();
  relay_infos_.clear();
  relay_turn_ = 0;
  own_relay_.reset();
  grant_keys_.clear();
  relays_health_.clear();
  planned_health_.clear();
  relay_wanted_.clear();
  legs_.clear();
  legs_due_ = kNever;
  grant_.reset();
  contacts_due_ = kNever;
  event(SaveContacts{});
  history_.clear();
  history_due_ = kNever;
  event(SaveQuality{});
  online_.clear();
  relays_.set_relays(now.time, {});
  roster_.reset();
  tunnel_.set_private_key(now, std::nullopt);
  lan_.reset();
  set_server(now, std::nullopt);
  if (auto joined = std::exchange(joined_, nullptr)) joined(now, not_in_party());
  forwarding_dirty_ = true;
  event(SaveParty{});
  event(AdapterChanged{});
  event(StatusChanged{});
}

void Node::leave(Now now, Done<void> done) {
  if (!roster_ && entering_) {
    give_up_entry(now);
    return done({});
  }
  if (!roster_) return done(not_in_party());
  auto finish = [this, started = now.time, done](Now then, Result<wire::Response>) {
    if (roster_) forget_party(then);
    party_log_.info("left the party");
    party_log_.timed(op::kLeaveParty, then.time - started);
    done({});
  };
  const wire::PartyId id = wire_id(roster_->party());
  const Bytes farewell = roster_->make_farewell();
  event(SaveParty{});  // killed from here on, this machine still knows that it left
  if (link_state_ == LinkState::kConnected) {
    ask(wire::PutRecord{id, farewell}, finish);
  } else {
    finish(now, wire::Response{});  // the others notice that we are gone; the server learns it never
  }
  pump(now);
}

void Node::stop(Now now) {
  relays_.stop();
  pump(now);
}

Result<void> Node::restore(Now now, ByteView saved_party, std::string_view contacts) {
  LR_ASSIGN(party::Roster roster, party::Roster::parse(saved_party, identity_));
  if (roster.self().left) {
    event(SaveParty{});  // there is none any more
    return {};
  }
  const party::ServerInfo server = roster.server();
  enter(now, std::move(roster));
  set_server(now, server);
  follow();
  recall(now, contacts);
  pump(now);
  return {};
}

Bytes Node::saved_party() const { return roster_ ? roster_->encode() : Bytes(); }

void Node::follow() {
  if (!roster_) return;
  ask(wire::Follow{wire_id(roster_->party()), 0}, [this](Now then, Result<wire::Response> response) {
    if (response) return;
    party_log_.warn("cannot follow the party's events", {{"problem", response.error().message}});
    if (auto joined = std::exchange(joined_, nullptr)) joined(then, std::move(response).error());
  });
}

// --- the owner -----------------------------------------------------------------------------------------------------

void Node::invite(Now now, Duration lifetime, std::uint32_t uses, Done<InviteAnswer> done) {
  if (!roster_) return done(not_in_party());
  auto made = roster_->make_invite(now.wall, uses, now.wall + lifetime, rng_);
  if (!made) return done(std::move(made).error());
  wire::AddInvite request{wire_id(roster_->party()), made->request.token_hash, made->request.envelope,
                          made->request.uses, std::chrono::duration_cast<std::chrono::seconds>(lifetime).count()};
  ask(std::move(request), [this, text = made->invite.text(), id = made->id, started = now.time, done](
                              Now then, Result<wire::Response> response) {
    auto info = expect<wire::InviteInfo>(std::move(response));
    if (!info) {
      if (roster_) roster_->forget_invite(id);
      return done(std::move(info).error());
    }
    event(SaveParty{});
    party_log_.timed(op::kCreateInvite, then.time - started);
    done(InviteAnswer{info->id, text, info->expires, info->uses_left});
  });
  pump(now);
}

void Node::list_invites(Now now, Done<std::vector<InviteAnswer>> done) {
  if (!roster_) return done(not_in_party());
  ask(wire::ListInvites{wire_id(roster_->party())}, [done](Now, Result<wire::Response> response) {
    auto list = expect<wire::InviteList>(std::move(response));
    if (!list) return done(std::move(list).error());
    std::vector<InviteAnswer> out;
    for (const wire::InviteInfo& info : list->invites) out.push_back({info.id, "", info.expires, info.uses_left});
    done(std::move(out));
  });
  pump(now);
}

void Node::revoke(Now now, const std::string& id, Done<void> done) {
  if (!roster_) return done(not_in_party());
  ask(wire::RevokeInvite{wire_id(roster_->party()), id},
      [this, id, started = now.time, done](Now then, Result<wire::Response> response) {
        if (!response) return done(std::move(response).error());
        if (const auto known = party::InviteId::parse(id); known && roster_) {
          roster_->forget_invite(*known);
          event(SaveParty{});
        }
        party_log_.timed(op::kRevokeInvite, then.time - started);
        done({});
      });
  pump(now);
}

void Node::finish_statements(Now now, party::StatementsRequest request, Operation operation, Done<void> done) {
  wire::PutStatements put{wire_id(roster_->party()), request.statements, request.bundle, {}, request.seen};
  for (const party::RewrappedInvite& invite : request.invites)
    put.invites.push_back({invite.id.text(), invite.envelope});
  ask(std::move(put), [this, request = std::move(request), operation, started = now.time, done](
                          Now then, Result<wire::Response> response) {
    if (!response) return done(std::move(response).error());
    if (roster_) apply(then, roster_->apply_statements(request.statements, request.bundle));
    party_log_.info("the owner's change is made", {{"change", operation.name}});
    party_log_.timed(operation, then.time - started);
    done({});
  });
  pump(now);
}

void Node::kick(Now now, std::string_view name, Done<void> done) {
  auto member = member_named(name);
  if (!member) return done(std::move(member).error());
  auto request = roster_->kick(now.wall, (*member)->record.record().public_key, rng_);
  if (!request) return done(std::move(request).error());
  finish_statements(now, std::move(*request), op::kKickMember, std::move(done));
}

void Node::rekey(Now now, Done<void> done) {
  if (!roster_) return done(not_in_party());
  auto request = roster_->rekey(now.wall, rng_);
  if (!request) return done(std::move(request).error());
  finish_statements(now, std::move(*request), op::kRekeyParty, std::move(done));
}

void Node::handover(Now now, std::string_view name, Done<void> done) {
  auto member = member_named(name);
  if (!member) return done(std::move(member).error());
  auto request = roster_->handover((*member)->record.record().public_key);
  if (!request) return done(std::move(request).error());
  finish_statements(now, std::move(*request), op::kHandOver, std::move(done));
}

Result<const party::Member*> Node::member_named(std::string_view name) const {
  if (!roster_) return not_in_party();
  if (const party::Member* member = roster_->find(name)) return member;
  if (name == roster_->self().name)
    return Error{Code::kConflict, format("{} is this machine itself", name), "name another player"};
  return Error{Code::kNotFound,
               format("nobody here is called {}", party::display_safe(name) ? std::string(name) : "that"),
               "`lanrage peers` lists who is"};
}

// --- the control link ----------------------------------------------------------------------------------------------

void Node::handle_link(Now now, LinkState state, const std::optional<Error>& problem) {
  const std::string text = problem ? problem->message : "";
  if (state != link_state_ || text != link_problem_) event(StatusChanged{});
  const bool up = state == LinkState::kConnected && link_state_ != LinkState::kConnected;
  link_state_ = state;
  link_problem_ = text;
  if (up && !joined_ && !entry_) publish_record(now);
  // Somebody waits at the keyboard: the first failure is the answer.
  if (entering_ && state == LinkState::kDown && problem) {
    const bool refused = problem->code == Code::kRefused;
    fail_questions(now, {refused ? Code::kRefused : Code::kUnavailable,
                         format("the server {} cannot be used: {}", server_->addresses.front().text(), text),
                         refused ? problem->hint : "check that it runs and that this machine reaches it"});
  }
  pump(now);
}

// It may come before there is a party whose server it is.
void Node::use_told_servers() {
  if (roster_ && !told_servers_.empty())
    handle_server_addresses(party::with_addresses(roster_->server(), told_servers_));
}

void Node::handle_event(Now now, const wire::Event& happened) {
  if (const auto* servers = std::get_if<wire::Servers>(&happened)) {
    told_servers_ = servers->addresses;
    return use_told_servers();
  }
  if (!roster_) return;
  if (const auto* snapshot = std::get_if<wire::Snapshot>(&happened)) {
    apply(now, roster_->apply_snapshot(
                   {snapshot->version, snapshot->genesis, snapshot->statements, snapshot->bundle, snapshot->records}));
    publish_record(now);
  } else if (const auto* record = std::get_if<wire::RecordChanged>(&happened)) {
    apply(now, roster_->apply_record(record->record));
  } else if (const auto* added = std::get_if<wire::StatementAdded>(&happened)) {
    apply(now, roster_->apply_statements({added->statement}, added->bundle));
  } else if (const auto* online = std::get_if<wire::Online>(&happened)) {
    const std::set<crypto::PublicKey> before = online_;
    for (const crypto::PublicKey& key : before) {
      if (std::find(online->members.begin(), online->members.end(), key) == online->members.end())
        set_online(now, key, false);
    }
    for (const crypto::PublicKey& key : online->members) {
      set_online(now, key, true);
      // What was said over the stream before this one may not have arrived.
      Link* link = before.contains(key) ? link_of(key) : nullptr;
      if (link != nullptr) send_signal(*link, link->owed_signal.value_or(false));
    }
    gather_relays(now);
  } else if (const auto* presence = std::get_if<wire::Presence>(&happened)) {
    set_online(now, presence->member, presence->online);
    gather_relays(now);
    event(StatusChanged{});
  } else if (const auto* signalled = std::get_if<wire::Signalled>(&happened)) {
    if (handle_signalled(now, *signalled, true)) online_.insert(signalled->from);
  } else if (const auto* relays = std::get_if<wire::Relays>(&happened)) {
    use_relays(now, *relays);
  } else if (const auto* health = std::get_if<wire::RelaysHealth>(&happened)) {
    relays_health_ = health->relays;
    review_health(now);
  } else if (const auto* grant = std::get_if<wire::Grant>(&happened)) {
    use_grant(now, *grant);
  } else if (const auto* keys = std::get_if<wire::GrantKeys>(&happened)) {
    use_grant_keys(now, *keys);
  }
  if (const auto number = wire::event_version(happened); number && roster_) roster_->saw(*number);
  pump(now);
}

void Node::apply(Now now, const party::RosterEvents& events) {
  bool removed = false;
  for (const party::RosterEvent& happened : events) {
    if (const auto* refused = std::get_if<party::Refused>(&happened)) {
      party_log_.warn("refused what the server or a member says",
                      {{"what", refused->what}, {"why", party::why_name(refused->why)}});
      if (notices_.size() >= kNoticesMax) notices_.erase(notices_.begin());
      notices_.push_back(format("refused: {}, {}", refused->what, party::why_text(refused->why)));
    } else if (const auto* self = std::get_if<party::RemovedSelf>(&happened)) {
      removed = true;
      party_log_.warn("this machine was removed from the party", {{"kicked", self->how == party::Departure::kKicked}});
    } else if (const auto* member = std::get_if<party::MemberJoined>(&happened)) {
      party_log_.info("a member joined", {{"peer_id", member->key.base64()}});
    } else if (const auto* left = std::get_if<party::MemberLeft>(&happened)) {
      party_log_.info("a member left",
                      {{"peer_id", left->key.base64()}, {"kicked", left->how != party::Departure::kLeft}});
      remove_link(now, left->key);
    } else if (std::holds_alternative<party::EpochChanged>(happened)) {
      party_log_.info("a new epoch of the party began", {{"epoch", roster_->epoch()}});
      for (auto& [key, link] : links_) update_keys(now, *link);
    }
  }
  if (removed) {
    forget_party(now);
    notices_.push_back("the party's owner removed this machine from it");
    return;
  }
  if (events.empty()) return;
  if (roster_->missing_secret()) rejoin(now, std::nullopt);
  sync_links(now);
  gather_relays(now);
  publish_record(now);
  forwarding_dirty_ = true;
  event(SaveParty{});
  event(AdapterChanged{});
  event(StatusChanged{});
}

void Node::publish_record(Now now) {
  if (!roster_ || publishing_ || link_state_ != LinkState::kConnected) return;
  const auto record = roster_->unpublished_record();
  if (!record) {
    // A device that lost its state and joins again: the server has had the same record all along.
    if (roster_->missing_secret()) return;
    if (auto joined = std::exchange(joined_, nullptr)) joined(now, {});
    return;
  }
  publishing_ = true;
  ask(wire::PutRecord{wire_id(roster_->party()), *record},
      [this, record = *record](Now then, Result<wire::Response> response) {
        publishing_ = false;
        if (!roster_) return;
        if (!response) {
          // Sent before the snapshot that says what the server has of us; that has raised ours meanwhile.
          if (response.error().code == Code::kConflict && roster_->unpublished_record() != record)
            return publish_record(then);
          party_log_.warn("the server does not take this machine's record", {{"problem", response.error().message}});
          if (joined_ && response.error().code == Code::kConflict) return rejoin(then, std::move(response).error());
          if (auto joined = std::exchange(joined_, nullptr)) joined(then, std::move(response).error());
          return;
        }
        roster_->mark_published(record);
        event(SaveParty{});
        if (auto joined = std::exchange(joined_, nullptr)) joined(then, {});
        publish_record(then);
      });
  pump(now);
}

// --- from member to member -----------------------------------------------------------------------------------------

void Node::announce_summary(Now now, Link& link) {
  if (roster_) send_inner(now, link, wire::MemberMessage::write(kSummary, roster_->summary()), Lane::kBulk);
}

void Node::handle_member_message(Now now, Link& link, const wire::MemberMessage& message) {
  if (!roster_) return;
  if (message.kind == kSummary) {
    for (const Bytes& piece : roster_->export_for(link.key, message.payload)) {
      send_inner(now, link, wire::MemberMessage::write(kUpdate, piece), Lane::kBulk);
    }
  } else if (message.kind == kUpdate) {
    apply(now, roster_->apply_update(message.payload));
  }
}

}  // namespace lanrage::node
