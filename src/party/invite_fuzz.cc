// Any text: parsing an invite or a server link never crashes, and what parses has one text form.
#include <cstdlib>

#include "party/invite.h"
#include "party/name.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace lanrage;
  const std::string_view text = as_text({data, size});
  if (const auto invite = party::Invite::parse(text)) {
    const auto again = party::Invite::parse(invite->text());
    if (!again || again->text() != invite->text() || !(again->server == invite->server)) std::abort();
  }
  if (const auto link = party::ServerLink::parse(text)) {
    if (!(*party::ServerLink::parse(link->text()) == *link)) std::abort();
  }
  if (party::check_name(text) && (!party::display_safe(text) || !party::check_name(party::fold_name(text))))
    std::abort();
  return 0;
}
