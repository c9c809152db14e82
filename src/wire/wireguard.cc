#include "wire/wireguard.h"

namespace lanrage::wire::wireguard {
namespace {

ByteWriter begin(Type type) {
  ByteWriter writer;
  writer.u32_le(static_cast<std::uint32_t>(type));
  return writer;
}

}  // namespace

std::optional<Type> parse_type(ByteView datagram) {
  if (datagram.size() < kHeaderSize) return std::nullopt;
  switch (load_le<std::uint32_t>(datagram.data())) {
    case 1:
      return datagram.size() == kInitiationSize ? std::optional(Type::kInitiation) : std::nullopt;
    case 2:
      return datagram.size() == kResponseSize ? std::optional(Type::kResponse) : std::nullopt;
    case 3:
      return datagram.size() == kCookieReplySize ? std::optional(Type::kCookieReply) : std::nullopt;
    case 4:
      return datagram.size() >= kDataSizeMin ? std::optional(Type::kData) : std::nullopt;
    default:
      return std::nullopt;
  }
}

std::optional<Initiation> parse_initiation(ByteView datagram) {
  if (parse_type(datagram) != Type::kInitiation) return std::nullopt;
  ByteReader reader(datagram.subspan(kHeaderSize));
  Initiation m;
  m.sender = reader.u32_le();
  m.ephemeral = reader.array<kKeySize>();
  m.sealed_static = reader.array<kKeySize + kTagSize>();
  m.sealed_timestamp = reader.array<kTimestampSize + kTagSize>();
  m.mac1 = reader.array<kMacSize>();
  m.mac2 = reader.array<kMacSize>();
  if (!reader.done()) return std::nullopt;
  return m;
}

std::optional<Response> parse_response(ByteView datagram) {
  if (parse_type(datagram) != Type::kResponse) return std::nullopt;
  ByteReader reader(datagram.subspan(kHeaderSize));
  Response m;
  m.sender = reader.u32_le();
  m.receiver = reader.u32_le();
  m.ephemeral = reader.array<kKeySize>();
  m.sealed_nothing = reader.array<kTagSize>();
  m.mac1 = reader.array<kMacSize>();
  m.mac2 = reader.array<kMacSize>();
  if (!reader.done()) return std::nullopt;
  return m;
}

std::optional<CookieReply> parse_cookie_reply(ByteView datagram) {
  if (parse_type(datagram) != Type::kCookieReply) return std::nullopt;
  ByteReader reader(datagram.subspan(kHeaderSize));
  CookieReply m;
  m.receiver = reader.u32_le();
  m.nonce = reader.array<kCookieNonceSize>();
  m.sealed_cookie = reader.array<kCookieSize + kTagSize>();
  if (!reader.done()) return std::nullopt;
  return m;
}

std::optional<DataView> parse_data(ByteView datagram) {
  if (parse_type(datagram) != Type::kData) return std::nullopt;
  return DataView{load_le<std::uint32_t>(datagram.data() + 4), load_le<std::uint64_t>(datagram.data() + 8),
                  datagram.subspan(kDataHeaderSize)};
}

Bytes write(const Initiation& m) {
  return begin(Type::kInitiation)
      .u32_le(m.sender)
      .bytes(m.ephemeral)
      .bytes(m.sealed_static)
      .bytes(m.sealed_timestamp)
      .bytes(m.mac1)
      .bytes(m.mac2)
      .take();
}

Bytes write(const Response& m) {
  return begin(Type::kResponse)
      .u32_le(m.sender)
      .u32_le(m.receiver)
      .bytes(m.ephemeral)
      .bytes(m.sealed_nothing)
      .bytes(m.mac1)
      .bytes(m.mac2)
      .take();
}

Bytes write(const CookieReply& m) {
  return begin(Type::kCookieReply).u32_le(m.receiver).bytes(m.nonce).bytes(m.sealed_cookie).take();
}

void write_data_header(std::uint32_t receiver, std::uint64_t counter, std::span<std::uint8_t, kDataHeaderSize> out) {
  store_le(out.data(), static_cast<std::uint32_t>(Type::kData));
  store_le(out.data() + 4, receiver);
  store_le(out.data() + 8, counter);
}

}  // namespace lanrage::wire::wireguard
