#include "node/names.h"

#include <algorithm>
#include <array>

#include "base/format.h"

namespace lanrage::node {
namespace {

using wire::DnsCode;
using wire::DnsMessage;
using wire::DnsName;
using wire::DnsType;

constexpr std::array<std::string_view, 3> kNeverAnswered{"wpad", "isatap", "localhost"};

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

DnsName labels_of(std::string_view text) {
  DnsName out;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('.'), text.size());
    out.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

// The address as reverse questions name it, nearest label first.
DnsName reverse_name(const IpAddress& address) {
  DnsName out;
  const ByteView bytes = address.bytes();
  for (std::size_t i = bytes.size(); i-- > 0;) {
    if (address.is_v4()) {
      out.push_back(format("{}", bytes[i]));
    } else {
      out.push_back(format("{:x}", bytes[i] & 15));
      out.push_back(format("{:x}", bytes[i] >> 4));
    }
  }
  out.insert(out.end(), {address.is_v4() ? "in-addr" : "ip6", "arpa"});
  return out;
}

DnsName zone_labels(const IpPrefix& network) {
  DnsName name = reverse_name(network.address);
  const int step = network.address.is_v4() ? 8 : 4;
  name.erase(name.begin(), name.begin() + (network.address.bits() - network.length + step - 1) / step);
  return name;
}

bool ends_with(const DnsName& name, const DnsName& zone) {
  return name.size() >= zone.size() && std::equal(zone.rbegin(), zone.rend(), name.rbegin());
}

const NamedMember* find(const std::vector<NamedMember>& members, const std::string& label) {
  const auto by = [&](auto&& text_of) -> const NamedMember* {
    const auto it = std::find_if(members.begin(), members.end(), [&](const auto& m) { return text_of(m) == label; });
    return it == members.end() ? nullptr : &*it;
  };
  if (const auto* member = by([](const NamedMember& m) { return dns_label(m.name); })) return member;
  return by([](const NamedMember& m) { return dns_label(m.hostname.substr(0, m.hostname.find('.'))); });
}

void answer_forward(const std::vector<NamedMember>& members, const DnsName& name, std::size_t zone_size,
                    DnsMessage& reply) {
  if (name.size() == zone_size) return;  // the domain itself: it exists and has no address
  const NamedMember* member = name.size() == zone_size + 1 ? find(members, name.front()) : nullptr;
  if (member == nullptr) {
    reply.code = DnsCode::kNoName;
    return;
  }
  for (const IpAddress& address : member->addresses) {
    const DnsType type = address.is_v4() ? DnsType::kA : DnsType::kAaaa;
    if ((reply.type == type || reply.type == DnsType::kAny) && reply.answers.size() < wire::kDnsAnswersMax)
      reply.answers.push_back({type, kNameSeconds, address, {}});
  }
}

void answer_reverse(const std::vector<NamedMember>& members, const DnsName& name, DnsMessage& reply) {
  for (const NamedMember& member : members) {
    const std::string label = dns_label(member.name);
    for (const IpAddress& address : member.addresses) {
      if (label.empty() || reverse_name(address) != name) continue;
      DnsName target = labels_of(kNameDomain);
      target.insert(target.begin(), label);
      if (reply.type == DnsType::kPtr || reply.type == DnsType::kAny)
        reply.answers.push_back({DnsType::kPtr, kNameSeconds, {}, std::move(target)});
      return;
    }
  }
  reply.code = DnsCode::kNoName;
}

}  // namespace

std::string dns_label(std::string_view name) {
  std::string out;
  for (char c : name) {
    c = lower(c);
    const bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    if (plain) {
      out += c;
    } else if (!out.empty() && out.back() != '-') {
      out += '-';
    }
  }
  if (!out.empty() && out.back() == '-') out.pop_back();
  const bool never = std::find(kNeverAnswered.begin(), kNeverAnswered.end(), out) != kNeverAnswered.end();
  return never || out.size() > 63 ? "" : out;
}

std::string reverse_zone(const IpPrefix& network) {
  std::string out;
  for (const std::string& label : zone_labels(network)) out += (out.empty() ? "" : ".") + label;
  return out;
}

std::optional<Bytes> answer_name(const std::vector<NamedMember>& members, const std::vector<IpPrefix>& networks,
                                 ByteView query) {
  const auto asked = wire::parse_dns(query);
  if (!asked || asked->response) return std::nullopt;
  DnsMessage reply = *asked;
  reply.response = true;
  reply.authoritative = true;
  reply.truncated = false;
  reply.code = DnsCode::kNone;
  reply.answers.clear();
  DnsName name = asked->name;
  for (std::string& label : name) std::transform(label.begin(), label.end(), label.begin(), lower);
  const DnsName domain = labels_of(kNameDomain);
  const bool reverse = std::any_of(networks.begin(), networks.end(),
                                   [&](const IpPrefix& network) { return ends_with(name, zone_labels(network)); });
  if (asked->klass == wire::kDnsInternet && ends_with(name, domain)) {
    answer_forward(members, name, domain.size(), reply);
  } else if (asked->klass == wire::kDnsInternet && reverse) {
    answer_reverse(members, name, reply);
  } else {
    reply.authoritative = false;
    reply.code = DnsCode::kRefused;
  }
  return wire::encode_dns(reply);
}

}  // namespace lanrage::node
