// Any text as an answer to the search, as a description, as an answer to an action, as a URL.
#include "base/check.h"
#include "wire/igd.h"

using namespace lanrage;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = as_text({data, size});
  const wire::HttpUrl from = *wire::HttpUrl::parse("http://192.168.1.1:5000/rootDesc.xml");
  const auto check = [](const wire::HttpUrl& url) {
    LR_CHECK(url.endpoint.address.is_v4() && url.endpoint.port != 0);
    LR_CHECK(url.target.front() == '/' && url.target.find_first_of(" \r\n") == url.target.npos);
  };
  if (const auto url = wire::HttpUrl::parse(text)) {
    check(*url);
    LR_CHECK(url->text().size() > 256 || wire::HttpUrl::parse(url->text()) == url);
  }
  if (const auto message = wire::parse_ssdp({data, size}); message && message->location) check(*message->location);
  for (const wire::IgdService& service : wire::parse_igd_description(text, from)) {
    check(service.control);
    const std::string body = wire::write_igd_action(service, "GetStatusInfo", {{"Argument", "7"}});
    LR_CHECK(wire::igd_value(body, "Argument") == "7");
  }
  for (const char* name : {"errorCode", "NewExternalIPAddress"}) {
    const auto value = wire::igd_value(text, name);
    LR_CHECK(!value || (value->size() <= 256 && value->find('<') == value->npos));
  }
  return 0;
}
