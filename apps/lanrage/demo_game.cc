#include "demo_game.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <chrono>
#include <cstring>

#include "demo_network.h"

namespace lanrage::cli::demo {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::uint16_t kPortLast = 8310;
constexpr auto kAskEvery = std::chrono::milliseconds(500);

// A control packet: flags, acknowledge, chunks, the receiver's token, then the message.
constexpr std::uint8_t kControl = 0x04;
constexpr std::uint8_t kTokenMessage = 5;
constexpr std::size_t kTokenRequestBytes =
    7 + 512;  // padded, so that a server's answer is never larger than the question
constexpr std::size_t kControlBytes = 12;
// A packet outside of a connection: flags and version, the receiver's token, the sender's, then the payload.
constexpr std::uint8_t kConnless = 0x21;
constexpr std::size_t kConnlessHeader = 9;
constexpr std::string_view kGetInfo = "\xff\xff\xff\xffgie3";
constexpr std::string_view kInfo = "\xff\xff\xff\xffinf3";

void put_token(std::uint8_t* at, std::uint32_t token) {
  for (int i = 0; i < 4; ++i) at[i] = static_cast<std::uint8_t>(token >> (24 - 8 * i));
}

std::uint32_t token_at(const std::uint8_t* at) {
  return std::uint32_t{at[0]} << 24 | std::uint32_t{at[1]} << 16 | std::uint32_t{at[2]} << 8 | at[3];
}

void broadcast_token_request(int socket, std::uint32_t token) {
  std::array<std::uint8_t, kTokenRequestBytes> packet{};
  packet[0] = kControl;
  put_token(&packet[3], 0xffffffff);
  packet[7] = kTokenMessage;
  put_token(&packet[8], token);
  for (std::uint16_t port = kGamePort; port <= kPortLast; ++port) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = INADDR_BROADCAST;
    // Best effort, as the game's own: it is asked again soon.
    (void)::sendto(socket, packet.data(), packet.size(), 0, reinterpret_cast<const sockaddr*>(&to), sizeof to);
  }
}

void ask_for_info(int socket, const sockaddr_in& server, std::uint32_t its_token, std::uint32_t token) {
  std::array<std::uint8_t, kConnlessHeader + 9> packet{};
  packet[0] = kConnless;
  put_token(&packet[1], its_token);
  put_token(&packet[5], token);
  std::memcpy(&packet[kConnlessHeader], kGetInfo.data(), kGetInfo.size());
  packet.back() = 1;  // the number that the answer repeats; below 64 it is one byte
  (void)::sendto(socket, packet.data(), packet.size(), 0, reinterpret_cast<const sockaddr*>(&server), sizeof server);
}

// The next text of an answer, up to its zero byte.
std::string take_text(std::string_view& rest) {
  const std::size_t end = rest.find('\0');
  if (end == std::string_view::npos) {
    rest = {};
    return {};
  }
  std::string text(rest.substr(0, end));
  rest.remove_prefix(end + 1);
  return text;
}

// The payload of an info answer: its number, then version, name, host name, map, mode, and figures.
std::optional<FoundGame> parse_info(std::string_view rest) {
  if (rest.substr(0, kInfo.size()) != kInfo || rest.size() < kInfo.size() + 1) return std::nullopt;
  rest.remove_prefix(kInfo.size() + 1);
  FoundGame game;
  take_text(rest);
  game.name = take_text(rest);
  take_text(rest);
  game.map = take_text(rest);
  game.mode = take_text(rest);
  if (game.mode.empty()) return std::nullopt;
  return game;
}

}  // namespace

std::optional<FoundGame> find_game(int socket, std::uint32_t token, Duration timeout) {
  const auto end = Clock::now() + timeout;
  auto ask_next = Clock::now();
  while (Clock::now() < end && !interrupted()) {
    if (Clock::now() >= ask_next) {
      broadcast_token_request(socket, token);
      ask_next = Clock::now() + kAskEvery;
    }
    pollfd polled{socket, POLLIN, 0};
    constexpr int kPollMs = 50;
    if (::poll(&polled, 1, kPollMs) <= 0) continue;
    std::array<std::uint8_t, 2048> packet{};
    sockaddr_in from{};
    socklen_t from_size = sizeof from;
    const ssize_t count =
        ::recvfrom(socket, packet.data(), packet.size(), 0, reinterpret_cast<sockaddr*>(&from), &from_size);
    if (count < static_cast<ssize_t>(kConnlessHeader)) continue;
    const auto size = static_cast<std::size_t>(count);
    if (size >= kControlBytes && packet[0] == kControl && packet[7] == kTokenMessage && token_at(&packet[3]) == token) {
      ask_for_info(socket, from, token_at(&packet[8]), token);
    } else if (packet[0] == kConnless && token_at(&packet[1]) == token) {
      auto game = parse_info({reinterpret_cast<const char*>(&packet[kConnlessHeader]), size - kConnlessHeader});
      if (!game) continue;
      const std::uint32_t address = ntohl(from.sin_addr.s_addr);
      game->server = {IpAddress::v4(address), ntohs(from.sin_port)};
      return game;
    }
  }
  return std::nullopt;
}

}  // namespace lanrage::cli::demo
