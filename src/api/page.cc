#include "api/page.h"

namespace lanrage::api {

const std::string_view kPage = R"(<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>LANrage</title>
<link rel="stylesheet" href="/page.css">
<h1>LANrage</h1>
<p id="state">connecting to the node…</p>
<table hidden>
  <thead><tr><th>player</th><th>address</th><th>path</th><th>round trip</th><th>why</th></tr></thead>
  <tbody></tbody>
</table>
<script src="/page.js"></script>
</html>
)";

// Text goes in by textContent only: a player's name is never read as markup.
const std::string_view kPageScript = R"('use strict';
const state = document.getElementById('state');
const table = document.querySelector('table');
const rows = document.querySelector('tbody');

function show(status) {
  const party = status.party;
  state.textContent = party
    ? `${status.self.name} in ${party.name}, ${status.state.replace('_', ' ')}`
    : 'not in a party: lanrage host, or lanrage join INVITE';
  table.hidden = status.peers.length === 0;
  rows.replaceChildren(...status.peers.map(peer => {
    const row = document.createElement('tr');
    row.className = peer.state;
    const path = peer.path ? peer.path.kind : peer.state;
    const rtt = peer.rtt_ms === null ? '' : `${peer.rtt_ms.toFixed(1)} ms`;
    for (const text of [peer.name, peer.addresses[0] ?? '', path, rtt, peer.why ?? '']) {
      row.insertCell().textContent = text;
    }
    return row;
  }));
}

async function refresh() {
  const answer = await fetch('/api/status');
  if (answer.ok) show(await answer.json());
}

function follow() {
  const events = new WebSocket(`ws://${location.host}/api/events`);
  events.onopen = refresh;
  events.onmessage = refresh;
  events.onclose = () => {
    state.textContent = 'the node does not answer; trying again…';
    setTimeout(follow, 2000);
  };
}
follow();
)";

const std::string_view kPageStyle = R"(:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .35rem .8rem .35rem 0; border-bottom: 1px solid #8884; }
tr.unreachable td { color: #c33; }
)";

}  // namespace lanrage::api
