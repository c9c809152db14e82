#include "lan/status.h"

namespace lanrage::lan {

const char* drop_name(Drop reason) {
  switch (reason) {
    case Drop::kMalformed:
      return "malformed";
    case Drop::kNotUdp:
      return "not_udp";
    case Drop::kFragment:
      return "fragment";
    case Drop::kNotLan:
      return "not_lan";
    case Drop::kOtherInterface:
      return "other_interface";
    case Drop::kForeignSource:
      return "foreign_source";
    case Drop::kEcho:
      return "echo";
    case Drop::kCardInTurn:
      return "card_in_turn";
    case Drop::kNeverForwarded:
      return "never_forwarded";
    case Drop::kClosedPort:
      return "closed_port";
    case Drop::kServiceAccount:
      return "service_account";
    case Drop::kRateLimited:
      return "rate_limited";
    case Drop::kNoAddress:
      return "no_address";
    case Drop::kForgedOrigin:
      return "forged_origin";
    case Drop::kQueueFull:
      return "queue_full";
    case Drop::kCount:
      break;
  }
  return "unknown";
}

const char* group_way_name(GroupWay way) {
  switch (way) {
    case GroupWay::kJoined:
      return "joined";
    case GroupWay::kProgram:
      return "program";
    case GroupWay::kInjected:
      return "injected";
  }
  return "unknown";
}

}  // namespace lanrage::lan
