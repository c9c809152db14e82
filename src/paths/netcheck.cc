#include "paths/netcheck.h"

#include <algorithm>

#include "base/format.h"

namespace lanrage::paths {
namespace {

bool is_carrier(const IpAddress& address) {  // RFC 6598
  return address.is_v4() && IpPrefix{IpAddress::v4(100, 64, 0, 0), 10}.contains(address);
}

// The family by which a network is judged.
const FamilyReport* judged(const NetworkView& view) {
  const auto& v4 = view.discovery.v4;
  const auto& v6 = view.discovery.v6;
  if (v4 && v4->answered) return &*v4;
  return v6 && v6->answered ? &*v6 : nullptr;
}

bool is_symmetric(const FamilyReport& report) {
  return report.mapping == Dependence::kAddress || report.mapping == Dependence::kAddressAndPort;
}

const char* filtering_in_words(Dependence filtering) {
  switch (filtering) {
    case Dependence::kUnknown:
      break;
    case Dependence::kEndpointIndependent:
      return "anyone's packets get in";
    case Dependence::kNotPort:
      return "packets get in from other ports than the one written to";
    case Dependence::kAddress:
      return "packets get in from addresses written to before, whatever their port";
    case Dependence::kAddressAndPort:
      return "only answers get in, from exactly the address and port written to";
  }
  return "what gets in is not known";
}

const char* mapping_in_words(Dependence mapping) {
  switch (mapping) {
    case Dependence::kUnknown:
      break;
    case Dependence::kEndpointIndependent:
      return "one public port for every destination";
    case Dependence::kNotPort:
      return "one public port for every destination, as far as a server with one address can tell";
    case Dependence::kAddress:
      return "another public port for every address (symmetric NAT)";
    case Dependence::kAddressAndPort:
      return "another public port for every destination (symmetric NAT)";
  }
  return "how it chooses public ports is not known";
}

const char* method_in_words(const RouterReport& router) {
  switch (router.by.value_or(PortMethod::kUpnp)) {
    case PortMethod::kPcp:
      return "PCP";
    case PortMethod::kNatPmp:
      return "NAT-PMP";
    case PortMethod::kUpnp:
      break;
  }
  return "UPnP";
}

std::string ports_in_words(const FamilyReport& report) {
  switch (report.ports.choice) {
    case PortChoice::kUnknown:
      break;
    case PortChoice::kSequential:
      return format(", each {:+} from the last, so that the next can be foreseen", report.ports.step);
    case PortChoice::kRandom:
      return ", drawn at random";
  }
  return "";
}

void describe_family(const char* name, const std::optional<FamilyReport>& report, std::vector<std::string>& out) {
  if (!report) {
    out.push_back(format("{}: not here, or not at the server.", name));
  } else if (!report->answered) {
    out.push_back(format("{}: no answer over UDP.", name));
  } else if (!report->translated) {
    const bool open =
        report->filtering == Dependence::kEndpointIndependent || report->filtering == Dependence::kNotPort;
    const char* wall = open                                        ? "and no firewall; anyone's packets get in"
                       : report->filtering == Dependence::kUnknown ? "; whether a firewall is in the way is not known"
                                                                   : "behind a firewall that lets only answers in";
    out.push_back(format("{}: an address of its own, no translation{}{}.", name, wall[0] == ';' ? "" : ", ", wall));
  } else {
    out.push_back(format("{}: behind a NAT, {}{}.", name, mapping_in_words(report->mapping), ports_in_words(*report)));
    out.push_back(format("{}: {}.", name, filtering_in_words(report->filtering)));
    std::string line = format("{}: the NAT {} port numbers", name, report->keeps_port ? "keeps" : "changes");
    if (report->hairpin) {
      line += format(" and {} machines behind it reach each other at their public addresses (hairpin)",
                     *report->hairpin ? "lets" : "does not let");
    }
    out.push_back(line + ".");
  }
}

}  // namespace

Upstream upstream_of(const NetworkView& view) {
  if (std::any_of(view.own.begin(), view.own.end(), is_carrier)) return Upstream::kCarrier;
  const auto& v4 = view.discovery.v4;
  const bool reaches = v4 && v4->answered && v4->translated;
  if (view.router.address) {
    if (is_carrier(*view.router.address)) return Upstream::kCarrier;
    if (view.router.address->is_private()) return Upstream::kSecondRouter;
    if (!reaches) return Upstream::kUnknown;
    if (*view.router.address == v4->seen.address) return Upstream::kNothing;
  }
  if (reaches && v4->beyond) return is_carrier(*v4->beyond) ? Upstream::kCarrier : Upstream::kSecondRouter;
  if (view.router.address) return reaches ? Upstream::kNat : Upstream::kUnknown;
  return view.router.is_offline && reaches ? Upstream::kNat : Upstream::kUnknown;
}

std::string nat_type(const NetworkView& view) {
  if (view.udp_blocked) return "udp_blocked";
  const FamilyReport* report = judged(view);
  if (report == nullptr) return "";
  const Dependence filtering = report->filtering;
  if (!report->translated)
    return filtering == Dependence::kAddress || filtering == Dependence::kAddressAndPort ? "firewall" : "none";
  if (report->mapping == Dependence::kUnknown) return "";
  if (is_symmetric(*report)) return "symmetric";
  switch (filtering) {
    case Dependence::kEndpointIndependent:
      return "full_cone";
    case Dependence::kAddress:
      return "address_restricted";
    case Dependence::kAddressAndPort:
      return "port_restricted";
    case Dependence::kUnknown:
    case Dependence::kNotPort:
      break;
  }
  return "cone";
}

std::string mapping_name_of(const NetworkView& view) {
  const FamilyReport* report = judged(view);
  if (view.udp_blocked || report == nullptr) return "";
  if (!report->translated || report->mapping == Dependence::kNotPort)
    return dependence_name(Dependence::kEndpointIndependent);
  return report->mapping == Dependence::kUnknown ? "" : dependence_name(report->mapping);
}

std::string type_in_words(const NetworkView& view) {
  const std::string type = nat_type(view);
  if (type == "udp_blocked")
    return "UDP is blocked: no direct path is possible from here, and relays are reached over TLS alone";
  if (type == "none") return "an address of its own: direct paths work";
  if (type == "firewall") return "an address of its own behind a firewall: direct paths work";
  if (type == "symmetric" && judged(view)->ports.choice == PortChoice::kSequential)
    return "the next public port for every destination (symmetric NAT): direct paths work, but not to networks whose "
           "ports are random";
  if (type == "symmetric")
    return "another public port for every destination (symmetric NAT): direct paths to open networks at once, to those "
           "with one port for all after some seconds, to other such networks none";
  if (type.empty()) return "not known yet";
  return "one public port for every destination: direct paths work";
}

std::string port_mapping_in_words(const NetworkView& view) {
  const RouterReport& router = view.router;
  if (router.outside)
    return format("the router leads {} to this machine ({})", router.outside->text(), method_in_words(router));
  if (!router.asked) return "";
  const Upstream upstream = upstream_of(view);
  if (upstream == Upstream::kSecondRouter)
    return format("{}; on both routers, forward UDP port {} to this machine", router.problem, view.port);
  if (router.is_offline) return router.problem + "; ask the provider for IPv6 or a public address of your own";
  if (router.speaks) return format("{}; forward UDP port {} to this machine on the router", router.problem, view.port);
  return format("{}; switch one of them on in the router, or forward UDP port {} to this machine there", router.problem,
                view.port);
}

std::string lifetime_in_words(const LifetimeReport& lifetime) {
  const auto seconds = [](Duration span) { return std::chrono::duration_cast<std::chrono::seconds>(span).count(); };
  const std::string below = lifetime.below ? format("for less than {} s", seconds(*lifetime.below)) : "";
  if (lifetime.at_least == Duration{}) return "silent connections over UDP are remembered " + below;
  return format("silent connections over UDP are remembered for {} s at least{}", seconds(lifetime.at_least),
                below.empty() ? "" : ", " + below);
}

std::vector<std::string> describe(const NetworkView& view) {
  std::vector<std::string> out;
  if (view.udp_blocked) {
    out.push_back("UDP does not get out of this network.");
    return out;
  }
  describe_family("IPv4", view.discovery.v4, out);
  describe_family("IPv6", view.discovery.v6, out);
  switch (upstream_of(view)) {
    case Upstream::kUnknown:
    case Upstream::kNothing:
      break;
    case Upstream::kCarrier:
      out.push_back("The provider shares one public address among its customers (carrier NAT).");
      break;
    case Upstream::kSecondRouter:
      out.push_back("The router here stands behind a second one (double NAT).");
      break;
    case Upstream::kNat:
      out.push_back("The router here has no public address itself: a carrier's NAT or a second router is behind it.");
      break;
  }
  if (view.lifetime) {
    std::string line = lifetime_in_words(*view.lifetime);
    line.front() = 'S';
    out.push_back(line + ".");
  }
  if (view.router.outside) {
    out.push_back(format("The router leads a public port, {}, to this machine's UDP port {} ({}).",
                         view.router.outside->text(), view.port, method_in_words(view.router)));
  } else if (view.router.asked) {
    out.push_back(format("No port of the router is open: {}.", view.router.problem));
  }
  return out;
}

std::string advice(const NetworkView& view) {
  if (view.udp_blocked) return "Allow outgoing UDP in this network's firewall, or use another network.";
  const FamilyReport* report = judged(view);
  if (report == nullptr) return "Nothing can be said before a server answers.";
  if (!report->translated || view.router.outside) return "Nothing needs to be done.";
  const Upstream upstream = upstream_of(view);
  if (upstream == Upstream::kCarrier || upstream == Upstream::kNat) {
    return is_symmetric(*report)
               ? "Ask the provider for IPv6 or a public address of your own; until then friends in such "
                 "networks are reached by the relay."
               : "Nothing needs to be done; forwarding ports on the router would not help.";
  }
  const std::string forward =
      format("{} UDP port {} to this machine",
             upstream == Upstream::kSecondRouter ? "On both routers, forward"
                                                 : "On the router, switch UPnP, NAT-PMP or PCP on, or forward",
             view.port);
  if (is_symmetric(*report)) return forward + ": then friends reach you directly.";
  if (report->filtering == Dependence::kAddressAndPort)
    return "Nothing needs to be done. " + forward + ", and friends behind symmetric NATs reach you directly too.";
  return "Nothing needs to be done.";
}

}  // namespace lanrage::paths
