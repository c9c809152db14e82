#include "tunnel/session.h"

#include "base/check.h"
#include "wire/wireguard.h"

namespace lanrage::tunnel {

namespace wg = wire::wireguard;

static_assert(kDataOverhead == wg::kDataHeaderSize + crypto::kTagSize);
static_assert(kRejectAfterMessages == ~std::uint64_t{0} - (1 << 13));

SendKey::SendKey(crypto::AeadKey key, std::uint32_t receiver_index, std::uint32_t local_index, Time created)
    : key_(std::move(key)), receiver_index_(receiver_index), local_index_(local_index), created_(created) {}

std::size_t SendKey::seal(ByteView plain, MutableBytes out, std::size_t mtu) {
  if (counter_ >= kRejectAfterMessages) return 0;
  const std::size_t padded = wg::padded_size(plain.size(), mtu);
  const std::size_t size = padded + kDataOverhead;
  LR_CHECK(out.size() >= size);
  const MutableBytes body = out.subspan(wg::kDataHeaderSize, padded + crypto::kTagSize);
  // Without padding the cipher itself moves the packet; with it, one run over packet and padding beats two.
  if (padded != plain.size()) {
    if (plain.data() != body.data() && !plain.empty()) std::memcpy(body.data(), plain.data(), plain.size());
    std::memset(body.data() + plain.size(), 0, padded - plain.size());
    plain = body.first(padded);
  }
  wg::write_data_header(receiver_index_, counter_, out.first<wg::kDataHeaderSize>());
  key_.seal(counter_, {}, plain, body);
  ++counter_;
  return size;
}

ReceiveKey::ReceiveKey(crypto::AeadKey key, std::uint32_t local_index, Time created)
    : key_(std::move(key)), local_index_(local_index), created_(created) {}

std::optional<ReceiveKey::Opened> ReceiveKey::open(MutableBytes datagram) {
  const auto message = wg::parse_data(datagram);
  if (!message || message->counter >= kRejectAfterMessages || !window_.would_accept(message->counter))
    return std::nullopt;
  const MutableBytes plain = datagram.subspan(wg::kDataHeaderSize, datagram.size() - kDataOverhead);
  if (!key_.open(message->counter, {}, message->sealed, plain)) return std::nullopt;
  Opened opened;
  opened.plain = plain;
  opened.first = window_.next() == 0;
  opened.newest = message->counter >= window_.next();
  window_.accept(message->counter);
  return opened;
}

}  // namespace lanrage::tunnel
