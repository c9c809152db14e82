/* Forwards members' WireGuard data packets that come one at a time, where they enter the machine (tcx ingress), without
 * waking the relay. Anything else, and anything in doubt, goes on to the relay's socket, which is always right.
 *
 * In doubt: runs (GSO: cheap by the socket, and each of their packets could be for somebody else), fragments, options,
 * VLAN tags, frames longer than their packet, packets that a path could be too narrow for or that come by another
 * interface than leads to their sender (the kernel's own source checks are behind us), and those of a party that sends
 * more than a game does: the socket's queue is fair between parties. Such a party stays there for the whole next
 * window, so that its packets keep their order but for the moment of the change. */
#include <linux/bpf.h>
/* after bpf.h */
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <stddef.h>

#include "relay_offload_maps.h"

/* Sizes are set by who loads it. */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct relay_settings);
} settings SEC(".maps");
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32); /* slot */
  __type(value, struct relay_session);
} sessions SEC(".maps");
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, 1);
  __type(key, struct relay_place);
  __type(value, struct relay_name);
} members SEC(".maps");
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, 1);
  __type(key, struct relay_receiver);
  __type(value, struct relay_name);
} receivers SEC(".maps");
struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, 1);
  __type(key, __u32); /* party */
  __type(value, struct relay_share);
} shares SEC(".maps");
struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct relay_totals);
} totals SEC(".maps");

enum {
  kToSocket = -1, /* TCX_NEXT */
  kDrop = 2,      /* TCX_DROP */
  kDataType = 4,  /* WireGuard, with three zero bytes behind, little endian */
  kDataBytesMin = 32,
  kIpBytesMax = 1280, /* every path takes so much (RFC 8200, section 5) */
  kHops = 64,         /* as of any packet that this machine sends */
  kMoreFragmentsAndOffset = 0x3fff,
  kUdpSumAt = offsetof(struct udphdr, check),
};

/* The addresses of an IP header and what stands before the data: one read, one write. */
struct start {
  struct udphdr udp;
  __u32 type;
  __u32 index;
};

static __always_inline int same_address(const __u32* a, const __u32* b) {
  return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3];
}

static __always_inline int is_v4(const __u32* address) {
  return address[0] == 0 && address[1] == 0 && address[2] == bpf_htonl(0xffff);
}

/* Counts a packet of this party; 0: it sends more than its share. Two CPUs at once may lose a count. */
static __always_inline int within_share(__u32 party, __u32 bytes) {
  const __u32 zero = 0;
  const struct relay_settings* max = bpf_map_lookup_elem(&settings, &zero);
  if (!max) return 0;
  const __u64 window = bpf_ktime_get_ns() >> RELAY_WINDOW_BITS;
  struct relay_share* share = bpf_map_lookup_elem(&shares, &party);
  if (!share) {
    const struct relay_share first = {window, 1, bytes, 0, 0};
    return bpf_map_update_elem(&shares, &party, &first, BPF_ANY) == 0;
  }
  if (share->window != window) {
    share->crowded =
        share->window + 1 == window && (share->packets > max->packets_max || share->bytes > max->bytes_max);
    share->window = window;
    share->packets = 0;
    share->bytes = 0;
  }
  share->packets++;
  share->bytes += bytes;
  return !share->crowded && share->packets <= max->packets_max && share->bytes <= max->bytes_max;
}

/* The session of this name as it is now; 0: it is another's, or was becoming so while it was read. Whoever changes one
 * makes it nobody's first. */
static __always_inline int read_session(const struct relay_name* name, struct relay_session* out) {
  const __u32 slot = name->slot, serial = name->serial;
  struct relay_session* session = bpf_map_lookup_elem(&sessions, &slot);
  if (!session) return 0;
  *out = *session;
  barrier();
  return out->serial == serial && *(volatile __u32*)&session->serial == serial;
}

/* Who gets it; 0: the relay is to decide. */
static __always_inline int receiver_of(const struct __sk_buff* skb, const struct relay_place* from,
                                       const struct relay_place* to, __u32 index, __u32 bytes,
                                       struct relay_session* receiver) {
  const __u32 zero = 0;
  struct relay_session sender;
  const struct relay_name* from_name = bpf_map_lookup_elem(&members, from);
  if (!from_name || !read_session(from_name, &sender)) return 0;
  if (sender.interface != skb->ifindex || sender.local.port != to->port ||
      !same_address(sender.local.address, to->address))
    return 0;
  const struct relay_receiver key = {sender.party, index};
  const struct relay_name* to_name = bpf_map_lookup_elem(&receivers, &key);
  if (!to_name || to_name->slot == from_name->slot || !read_session(to_name, receiver)) return 0;
  if (receiver->party != sender.party || receiver->interface == 0 ||
      is_v4(receiver->member.address) != is_v4(from->address))
    return 0;
  if (!within_share(sender.party, bytes)) return 0;
  struct relay_totals* counts = bpf_map_lookup_elem(&totals, &zero);
  if (counts) {
    counts->packets++;
    counts->bytes += bytes;
  }
  return 1;
}

/* The UDP checksum for other addresses (`size` bytes of both) and ports; not 0: nothing was changed. */
static __always_inline long change_sum(struct __sk_buff* skb, __u32 udp_at, __u32* before, __u32* after, __u32 size,
                                       __u32* ports_before, __u32* ports_after) {
  const __s64 addresses = bpf_csum_diff(before, size, after, size, 0);
  const __s64 ports = bpf_csum_diff(ports_before, 4, ports_after, 4, 0);
  return bpf_l4_csum_replace(skb, udp_at + kUdpSumAt, 0, addresses, BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0) ||
         bpf_l4_csum_replace(skb, udp_at + kUdpSumAt, 0, ports, BPF_F_MARK_MANGLED_0);
}

static __always_inline int forward_v4(struct __sk_buff* skb) {
  struct {
    struct iphdr ip;
    struct start start;
  } head;
  if (bpf_skb_load_bytes(skb, ETH_HLEN, &head, sizeof head)) return kToSocket;
  const __u32 ip_bytes = bpf_ntohs(head.ip.tot_len);
  const __u32 udp_bytes = bpf_ntohs(head.start.udp.len);
  if (head.ip.version != 4 || head.ip.ihl != 5 || head.ip.protocol != IPPROTO_UDP || head.ip.ttl == 0 ||
      (head.ip.frag_off & bpf_htons(kMoreFragmentsAndOffset)) || head.start.type != bpf_htonl(kDataType << 24) ||
      udp_bytes < sizeof head.start.udp + kDataBytesMin || ip_bytes != sizeof head.ip + udp_bytes ||
      ip_bytes > kIpBytesMax || skb->len != ETH_HLEN + ip_bytes)
    return kToSocket;
  const struct relay_place from = {{0, 0, bpf_htonl(0xffff), head.ip.saddr}, head.start.udp.source, 0};
  const struct relay_place to = {{0, 0, bpf_htonl(0xffff), head.ip.daddr}, head.start.udp.dest, 0};
  struct relay_session receiver;
  if (!receiver_of(skb, &from, &to, head.start.index, udp_bytes - sizeof head.start.udp, &receiver)) return kToSocket;
  /* hops and protocol, addresses, ports */
  __u32 before[] = {bpf_htonl((__u32)head.ip.ttl << 24), head.ip.saddr, head.ip.daddr,
                    head.start.udp.source | (__u32)head.start.udp.dest << 16};
  __u32 after[] = {bpf_htonl((__u32)kHops << 24), receiver.local.address[3], receiver.member.address[3],
                   receiver.local.port | (__u32)receiver.member.port << 16};
  const __u32 udp_at = ETH_HLEN + sizeof head.ip;
  const __u8 hops = kHops;
  const __s64 header = bpf_csum_diff(before, 12, after, 12, 0);
  if (change_sum(skb, udp_at, before + 1, after + 1, 8, before + 3, after + 3) ||
      bpf_l3_csum_replace(skb, ETH_HLEN + offsetof(struct iphdr, check), 0, header, 0) ||
      bpf_skb_store_bytes(skb, ETH_HLEN + offsetof(struct iphdr, ttl), &hops, 1, 0) ||
      bpf_skb_store_bytes(skb, ETH_HLEN + offsetof(struct iphdr, saddr), after + 1, 12, 0))
    return kDrop;
  return bpf_redirect_neigh(receiver.interface, 0, 0, 0);
}

static __always_inline int forward_v6(struct __sk_buff* skb) {
  struct {
    struct ipv6hdr ip;
    struct start start;
  } head;
  if (bpf_skb_load_bytes(skb, ETH_HLEN, &head, sizeof head)) return kToSocket;
  const __u32 udp_bytes = bpf_ntohs(head.start.udp.len);
  if (head.ip.version != 6 || head.ip.nexthdr != IPPROTO_UDP || head.ip.hop_limit == 0 ||
      head.start.type != bpf_htonl(kDataType << 24) || udp_bytes < sizeof head.start.udp + kDataBytesMin ||
      udp_bytes != bpf_ntohs(head.ip.payload_len) || sizeof head.ip + udp_bytes > kIpBytesMax ||
      skb->len != ETH_HLEN + sizeof head.ip + udp_bytes)
    return kToSocket;
  struct relay_place from = {.port = head.start.udp.source};
  struct relay_place to = {.port = head.start.udp.dest};
  __builtin_memcpy(from.address, &head.ip.saddr, 16);
  __builtin_memcpy(to.address, &head.ip.daddr, 16);
  struct relay_session receiver;
  if (!receiver_of(skb, &from, &to, head.start.index, udp_bytes - sizeof head.start.udp, &receiver)) return kToSocket;
  /* addresses, ports */
  __u32 before[9], after[9];
  __builtin_memcpy(before, &head.ip.saddr, 32);
  __builtin_memcpy(after, receiver.local.address, 16);
  __builtin_memcpy(after + 4, receiver.member.address, 16);
  before[8] = head.start.udp.source | (__u32)head.start.udp.dest << 16;
  after[8] = receiver.local.port | (__u32)receiver.member.port << 16;
  const __u32 udp_at = ETH_HLEN + sizeof head.ip;
  const __u8 hops = kHops;
  if (change_sum(skb, udp_at, before, after, 32, before + 8, after + 8) ||
      bpf_skb_store_bytes(skb, ETH_HLEN + offsetof(struct ipv6hdr, hop_limit), &hops, 1, 0) ||
      bpf_skb_store_bytes(skb, ETH_HLEN + offsetof(struct ipv6hdr, saddr), after, 36, 0))
    return kDrop;
  return bpf_redirect_neigh(receiver.interface, 0, 0, 0);
}

SEC("tc")
int lanrage_relay(struct __sk_buff* skb) {
  if (skb->pkt_type != 0 /* PACKET_HOST */ || skb->vlan_present || skb->gso_size != 0) return kToSocket;
  if (skb->protocol == bpf_htons(ETH_P_IP)) return forward_v4(skb);
  if (skb->protocol == bpf_htons(ETH_P_IPV6)) return forward_v6(skb);
  return kToSocket;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
