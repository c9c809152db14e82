// Which peer an inner address belongs to: a longest-prefix match over IPv4 and IPv6.
//
// Built once, then only read: the data threads hold it inside an immutable snapshot and look up every packet's
// destination (TX) and source (RX). Changing routes means building another one. Values are small numbers, usually slots
// of the snapshot's peer table. A path-compressed binary trie in one flat vector per family: a lookup visits at most as
// many nodes as there are prefixes on the way, allocates nothing and follows 32-bit indices.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/ip.h"

namespace lanrage::tunnel {

template <class Value = std::uint32_t>
class AllowedIps {
 public:
  static constexpr std::size_t kPrefixesMax = 1 << 20;

  // The value of `prefix` from now on; a prefix belongs to one value, the last one given. Host bits are ignored.
  // False: the table is full or the length is not one of the address's family.
  bool insert(const IpPrefix& prefix, Value value) {
    if (prefix.length < 0 || prefix.length > prefix.address.bits() || size_ >= kPrefixesMax) return false;
    family(prefix.address).insert(Key::of(prefix.address).masked(prefix.length), prefix.length, value, size_);
    return true;
  }

  // The value of the longest prefix that holds `address`.
  std::optional<Value> find(const IpAddress& address) const { return family(address).find(Key::of(address)); }

  std::size_t size() const { return size_; }

 private:
  // An address as one 128-bit number, its first bit the most significant; IPv4 stands in the top 32 bits.
  struct Key {
    std::uint64_t high = 0, low = 0;

    static Key of(const IpAddress& a) {
      if (a.is_v4()) return {std::uint64_t{a.v4_value()} << 32, 0};
      const ByteView bytes = a.bytes();
      return {load_be<std::uint64_t>(bytes.data()), load_be<std::uint64_t>(bytes.data() + 8)};
    }
    Key masked(int length) const {
      if (length == 0) return {};
      if (length <= 64) return {high & (~std::uint64_t{0} << (64 - length)), 0};
      return {high, low & (~std::uint64_t{0} << (128 - length))};
    }
    bool bit(int position) const {
      return ((position < 64 ? high >> (63 - position) : low >> (127 - position)) & 1) != 0;
    }
    int common(const Key& other) const {  // leading bits that agree
      if (high != other.high) return std::countl_zero(high ^ other.high);
      return 64 + std::countl_zero(low ^ other.low);
    }
  };

  struct Node {
    Key key;
    int length = 0;
    std::uint32_t child[2] = {kNone, kNone};
    bool used = false;  // a prefix ends here, else it is only a fork
    Value value{};
  };
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};

  struct Trie {
    std::vector<Node> nodes;
    std::uint32_t root = kNone;

    std::uint32_t make(const Key& key, int length) {
      Node node;
      node.key = key;
      node.length = length;
      nodes.push_back(node);
      return static_cast<std::uint32_t>(nodes.size() - 1);
    }

    void insert(const Key& key, int length, Value value, std::size_t& size) {
      const std::uint32_t at = place(key, length);
      if (!nodes[at].used) ++size;
      nodes[at].used = true;
      nodes[at].value = value;
    }

    // The node of exactly this prefix, made if need be. `link` is where its parent points to it.
    std::uint32_t place(const Key& key, int length) {
      std::uint32_t parent = kNone;
      bool side = false;
      std::uint32_t at = root;
      const auto link = [&](std::uint32_t target) { (parent == kNone ? root : nodes[parent].child[side]) = target; };
      while (at != kNone) {
        const int shared = std::min({key.common(nodes[at].key), nodes[at].length, length});
        if (shared == nodes[at].length && shared == length) return at;
        if (shared < nodes[at].length) {  // `at` goes below the new prefix, or both below a fork
          const std::uint32_t above = make(key.masked(shared), shared);
          nodes[above].child[nodes[at].key.bit(shared)] = at;
          link(above);
          if (shared == length) return above;
          const std::uint32_t leaf = make(key, length);
          nodes[above].child[key.bit(shared)] = leaf;
          return leaf;
        }
        parent = at;
        side = key.bit(shared);
        at = nodes[at].child[side];
      }
      const std::uint32_t leaf = make(key, length);
      link(leaf);
      return leaf;
    }

    std::optional<Value> find(const Key& key) const {
      const Node* best = nullptr;
      for (std::uint32_t at = root; at != kNone;) {
        const Node& node = nodes[at];
        if (key.common(node.key) < node.length) break;
        if (node.used) best = &node;
        if (node.length == 128) break;
        at = node.child[key.bit(node.length)];
      }
      return best ? std::optional<Value>(best->value) : std::nullopt;
    }
  };

  Trie& family(const IpAddress& a) { return a.is_v4() ? v4_ : v6_; }
  const Trie& family(const IpAddress& a) const { return a.is_v4() ? v4_ : v6_; }

  Trie v4_, v6_;
  std::size_t size_ = 0;
};

}  // namespace lanrage::tunnel
