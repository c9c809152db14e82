// host, join, leave, invite, revoke, kick, rekey, handover: who is in the party and who may come.
#include <CLI/CLI.hpp>
#include <qrencode.h>
#include <unistd.h>

#include <cstdio>
#include <future>
#include <iostream>
#include <memory>

#include "base/format.h"
#include "cli.h"
#include "interrupt.h"
#include "party/invite.h"
#include "terminal.h"

namespace lanrage::cli {
namespace {

using wire::Json;

// Two modules to a character cell, dark on light whatever the terminal's colours are.
void print_qr(const std::string& text) {
  const std::unique_ptr<QRcode, decltype(&QRcode_free)> code(QRcode_encodeString8bit(text.c_str(), 0, QR_ECLEVEL_L),
                                                             &QRcode_free);
  if (!code) return;
  constexpr int kQuiet = 2;
  const int width = code->width;
  auto dark = [&](int x, int y) {
    return x >= 0 && y >= 0 && x < width && y < width && (code->data[y * width + x] & 1) != 0;
  };
  for (int y = -kQuiet; y < width + kQuiet; y += 2) {
    std::string line = "\x1b[30;47m";
    for (int x = -kQuiet; x < width + kQuiet; ++x) {
      const bool top = dark(x, y);
      const bool bottom = dark(x, y + 1);
      line += top ? (bottom ? "█" : "▀") : (bottom ? "▄" : " ");
    }
    std::printf("%s\x1b[0m\n", line.c_str());
  }
}

// Host and join wait for a server. Ctrl-C gives up: else the node would go on alone, and be in a party some time later.
Result<Json> enter_party(const char* path, const Json& body) {
  const InterruptWatch interrupts;
  auto answer =
      std::async(std::launch::async, [path, &body] { return call_node("POST", path, body, std::chrono::seconds(60)); });
  while (answer.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
    if (!interrupts.wait(std::chrono::milliseconds(5))) continue;
    const auto left = call_node("POST", "/api/party/leave");
    answer.wait();
    return Error{Code::kFailed, "interrupted", left ? "this machine is in no party" : left.error().message};
  }
  return answer.get();
}

Result<void> host(Cli& cli, const std::string& name, const std::string& nick) {
  if (auto server = cli.flags.find("server"); server != cli.flags.end())
    LR_TRY(party::ServerLink::parse(server->second));
  LR_TRY(ensure_node(cli));
  progress(cli, "making the party…");
  Json body = Json::object();
  if (!name.empty()) body.set("name", name);
  if (!nick.empty()) body.set("as", nick);
  if (auto server = cli.flags.find("server"); server != cli.flags.end()) body.set("server", server->second);
  LR_ASSIGN(const Json answer, enter_party("/api/party/host", body));
  if (cli.json) {
    print_json(answer);
    return {};
  }
  const std::string invite = text_of(answer, "invite");
  std::printf("You host \"%s\" as %s, %s on %s.\n", safe(text_of(member_of(answer, "party"), "name")).c_str(),
              safe(text_of(member_of(answer, "self"), "name")).c_str(),
              items_of(member_of(answer, "self"), "addresses").empty()
                  ? "?"
                  : items_of(member_of(answer, "self"), "addresses")[0].if_string()->c_str(),
              text_of(member_of(answer, "self"), "interface").c_str());
  if (const std::string reach = text_of(answer, "reach"); !reach.empty()) print_wrapped("", reach);
  std::printf("\nFriends join with:\n\n  lanrage join %s\n\n", invite.c_str());
  if (::isatty(1) == 1) print_qr(invite);
  std::printf("Dashboard: %s\n", text_of(answer, "dashboard").c_str());
  return {};
}

// Standard input's first line that is not empty.
Result<std::string> read_invite() {
  std::string line;
  while (line.find_first_not_of(" \t\r") == std::string::npos) {
    line.clear();
    if (!std::getline(std::cin, line)) break;
  }
  if (line.empty()) return Error{Code::kInvalid, "there is no invite on standard input", "paste it and press enter"};
  return line;
}

void print_party(const Json& status) {
  const Json& party = member_of(status, "party");
  const Json& self = member_of(status, "self");
  std::string text = format("You are in \"{}\" as {}", safe(text_of(party, "name")), safe(text_of(self, "name")));
  if (const auto& addresses = items_of(self, "addresses"); !addresses.empty() && addresses[0].if_string() != nullptr) {
    text += format(", {} on {}", *addresses[0].if_string(), text_of(self, "interface"));
  }
  print_wrapped("", text + ". Start the game; `lanrage status` shows who is here.");
}

Result<void> join(Cli& cli, std::string invite, const std::string& nick) {
  if (invite == "-") {
    LR_ASSIGN(invite, read_invite());
  } else {
    wipe_argument(cli, invite);
  }
  LR_TRY(party::Invite::parse(invite));  // before a node is started for nothing
  LR_TRY(ensure_node(cli));
  progress(cli, "joining…");
  Json body = Json::object({{"invite", invite}});
  if (!nick.empty()) body.set("as", nick);
  LR_ASSIGN(const Json status, enter_party("/api/party/join", body));
  if (cli.json) {
    print_json(status);
  } else {
    print_party(status);
  }
  return {};
}

Result<void> invite(Cli& cli, const std::string& expires, int uses) {
  LR_ASSIGN(const Duration life, parse_duration(expires));
  Json body = Json::object({{"expires_s", std::chrono::duration_cast<std::chrono::seconds>(life).count()}});
  if (uses > 0) body.set("uses", uses);
  LR_ASSIGN(const Json answer, call_node("POST", "/api/invites", body, std::chrono::seconds(15)));
  if (cli.json) {
    print_json(answer);
    return {};
  }
  std::printf("%s\n", text_of(answer, "invite").c_str());
  if (::isatty(1) == 1) print_qr(text_of(answer, "invite"));
  return {};
}

std::string uses_text(const Json& invite) {
  const auto uses = number_of(invite, "uses_left");
  return uses ? format("{:.0f}", *uses) : "any";
}

Result<void> list_invites(Cli& cli) {
  LR_ASSIGN(const Json answer, call_node("GET", "/api/invites"));
  if (cli.json) {
    print_json(answer);
    return {};
  }
  const auto& invites = items_of(answer, "invites");
  if (invites.empty()) std::printf("No invite is valid. `lanrage invite` makes one.\n");
  for (const Json& entry : invites) {
    std::printf("%-14s  uses left %-4s  expires %s\n", text_of(entry, "id").c_str(), uses_text(entry).c_str(),
                text_of(entry, "expires").c_str());
  }
  return {};
}

// A request whose success is one line for a person and the answer for a program.
Result<void> simple(Cli& cli, const char* method, const std::string& path, const Json& body, const std::string& line) {
  LR_ASSIGN(const Json answer, call_node(method, path, body, std::chrono::seconds(30)));
  if (cli.json) {
    print_json(answer);
  } else {
    std::printf("%s\n", line.c_str());
  }
  return {};
}

}  // namespace

void add_party(CLI::App& app, Cli& cli) {
  struct Options {
    std::string name, nick, invite, expires = "24h", id;
    int uses = 0;
    bool list = false;
  };
  auto options = std::make_shared<Options>();

  CLI::App* host_command = app.add_subcommand("host", "Start a party and print its invite");
  host_command->add_option_function<std::string>(
      "--name", [options](const std::string& v) { options->name = v; }, "name of the party");
  host_command->add_option("--as", options->nick, "your name in it");
  host_command->add_option_function<std::string>(
      "--server", [&cli](const std::string& v) { cli.flags["server"] = v; },
      "link of a `lanrage server`, for friends behind other routers");
  add_settings(*host_command, cli, settings_of_a_new_node());
  host_command->callback(
      [&cli, options] { cli.run = [&cli, options] { return host(cli, options->name, options->nick); }; });

  CLI::App* join_command = app.add_subcommand("join", "Join a party by its invite");
  join_command->add_option("INVITE", options->invite, "the invite, or - to read it from standard input")->required();
  join_command->add_option("--as", options->nick, "your name in it");
  add_settings(*join_command, cli, settings_of_a_new_node());
  join_command->callback(
      [&cli, options] { cli.run = [&cli, options] { return join(cli, options->invite, options->nick); }; });

  CLI::App* leave_command = app.add_subcommand("leave", "Leave the party");
  leave_command->callback([&cli] {
    cli.run = [&cli] { return simple(cli, "POST", "/api/party/leave", Json::object(), "You left the party."); };
  });

  CLI::App* invite_command = app.add_subcommand("invite", "Make an invite, or list those that are valid");
  invite_command->add_option("--expires", options->expires, "how long it is valid: 90s, 15m, 24h, 7d")
      ->capture_default_str();
  invite_command->add_option("--uses", options->uses, "how many may join with it; without: any number")
      ->check(CLI::Range(1, 9999));
  invite_command->add_flag("--list", options->list, "list the valid ones")->excludes("--expires", "--uses");
  invite_command->callback([&cli, options] {
    cli.run = [&cli, options] {
      return options->list ? list_invites(cli) : invite(cli, options->expires, options->uses);
    };
  });

  CLI::App* revoke_command = app.add_subcommand("revoke", "Revoke an invite");
  revoke_command->add_option("ID", options->id, "its id, as `lanrage invite --list` shows it")->required();
  revoke_command->callback([&cli, options] {
    cli.run = [&cli, options] {
      for (char c : options->id) {
        if (!std::isalnum(static_cast<unsigned char>(c)))
          return Result<void>(Error{Code::kInvalid, "that is no invite's id", "`lanrage invite --list` shows them"});
      }
      return simple(cli, "DELETE", "/api/invites/" + options->id, Json::object(), "The invite is revoked.");
    };
  });

  CLI::App* kick_command = app.add_subcommand("kick", "Remove a player from the party, with new keys for the others");
  kick_command->add_option("NICK", options->nick, "the player")->required();
  kick_command->callback([&cli, options] {
    cli.run = [&cli, options] {
      return simple(cli, "POST", "/api/party/kick", Json::object({{"name", options->nick}}),
                    safe(options->nick) + " is out of the party.");
    };
  });

  CLI::App* rekey_command = app.add_subcommand("rekey", "Give the party a new secret");
  rekey_command->callback([&cli] {
    cli.run = [&cli] { return simple(cli, "POST", "/api/party/rekey", Json::object(), "The party has a new secret."); };
  });

  CLI::App* handover_command = app.add_subcommand("handover", "Make another player the party's owner");
  handover_command->add_option("NICK", options->nick, "the player")->required();
  handover_command->callback([&cli, options] {
    cli.run = [&cli, options] {
      return simple(cli, "POST", "/api/party/handover", Json::object({{"name", options->nick}}),
                    safe(options->nick) + " owns the party now.");
    };
  });
}

}  // namespace lanrage::cli
