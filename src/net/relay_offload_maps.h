/* What a relay and its program in the kernel (relay_offload.bpf.c) share: the values of its maps. Also C. */
#ifndef LANRAGE_NET_RELAY_OFFLOAD_MAPS_H
#define LANRAGE_NET_RELAY_OFFLOAD_MAPS_H

#include <linux/types.h>

/* All in network byte order; an IPv4 address is mapped into IPv6 (RFC 4291, section 2.5.5.2). */
struct relay_place {
  __u32 address[4];
  __u16 port;
  __u16 zero;
};

struct relay_receiver {
  __u32 party;
  __u32 index; /* as it stands in the packet */
};

/* A slot and whose it is: another's has another serial, so that who read a slot while it changed hands can tell. */
struct relay_name {
  __u32 slot;
  __u32 serial;
};

struct relay_session {
  __u32 serial; /* 0: nobody's */
  __u32 party;
  struct relay_place member;
  struct relay_place local; /* ours, that it registered at */
  __u32 interface;          /* that leads to it, and that alone its packets come by */
};

/* What a party had forwarded in the window under way. */
struct relay_share {
  __u64 window;
  __u32 packets;
  __u32 bytes;
  __u32 crowded; /* more than its share came in the window before */
  __u32 zero;
};

struct relay_settings {
  __u32 packets_max; /* of a party in a window */
  __u32 bytes_max;
};

struct relay_totals {
  __u64 packets;
  __u64 bytes;
};

enum { RELAY_WINDOW_BITS = 27 }; /* a window is 2^27 ns, 134 ms */

#endif
