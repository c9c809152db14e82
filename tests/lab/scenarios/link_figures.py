"""The user-space link does what it is told.

    a (public, 5.9.1.2) --[link]-- internet -- b (public, 5.9.2.2)
"""
from __future__ import annotations

import re
import socket
import statistics
import time

from link import Shape
from scenario import Lab, expect, expect_equal, scenario
from topology import Host

SO_RCVBUFFORCE = 33  # not named by the socket module
# A machine that the link keeps awake answers sooner than the idle one that is compared with.
TOLERANCE_MS = 0.5


def round_trips_ms(host: Host, address: str, count: int, interval_s: float = 0.005) -> list[float]:
    """Times of the echo requests that were answered, duplicates left out."""
    said = host.run("ping", "-n", "-c", str(count), "-i", str(interval_s), "-W", "1", address, check=False, timeout=60)
    answers = [line for line in said.stdout.splitlines() if "DUP" not in line]
    return [float(ms) for line in answers for ms in re.findall(r"time=([\d.]+) ms", line)]


def send_numbered(source: Host, target: Host, count: int, batch: int = 20, size: int = 200) -> list[int]:
    """Numbers of the datagrams that arrived, in order of arrival; `batch` are sent per millisecond at most."""
    with target.udp_socket(target.ipv4 or "", 7001) as receiver, source.udp_socket() as sender:
        receiver.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 32 << 20)
        for number in range(count):
            sender.sendto(number.to_bytes(4, "big").ljust(size, b"\0"), (target.ipv4, 7001))
            if number % batch == batch - 1:
                time.sleep(0.001)
        arrived = []
        receiver.settimeout(0.5)
        while True:
            try:
                arrived.append(int.from_bytes(receiver.recv(2048)[:4], "big"))
            except TimeoutError:
                return arrived


@scenario("link")
def link_figures(lab: Lab) -> None:
    """Delay, jitter, loss, bursts, order, duplicates, rate, MTU and changes at run time, measured."""
    network = lab.network()
    a = network.public("a", shape=Shape())
    b = network.public("b")
    link = network.links["a"]
    base = statistics.median(round_trips_ms(a, b.ipv4 or "", 50))

    link.set(Shape(delay_ms=15))
    times = round_trips_ms(a, b.ipv4 or "", 200)
    expect_equal(len(times), 200, "answers without loss")
    extra = statistics.median(times) - base - 30
    expect(abs(extra) < TOLERANCE_MS, f"15 ms each way: {extra:+.3f} ms off at the median")

    link.set(Shape(delay_ms=10), "up")
    link.set(Shape(), "down")
    extra = statistics.median(round_trips_ms(a, b.ipv4 or "", 50)) - base - 10
    expect(abs(extra) < TOLERANCE_MS, f"10 ms one way: {extra:+.3f} ms off at the median")

    link.set(Shape(delay_ms=10, jitter_ms=4), "up")
    spread = statistics.pstdev(round_trips_ms(a, b.ipv4 or "", 300, 0.01))
    expect(1.7 < spread < 3.2, f"jitter of 4 ms has a deviation of 2.3 ms: {spread:.2f}")

    link.set(Shape(loss_percent=5), "up")
    before = link.counters()
    share = 100 - len(send_numbered(a, b, 20000)) / 200
    after = link.counters()
    lost = (after["up_lost"] - before["up_lost"]) / (after["up_in"] - before["up_in"]) * 100
    expect(4.4 < share < 5.6 and 4.4 < lost < 5.6, f"5 % loss: {share:.2f} % seen, {lost:.2f} % counted")

    link.set(Shape(loss_percent=5, burst=10), "up")
    arrived = send_numbered(a, b, 20000)
    runs = [after - before - 1 for before, after in zip(arrived, arrived[1:]) if after - before > 1]
    share = 100 - len(arrived) / 200
    mean = statistics.mean(runs)
    expect(2.5 < share < 8 and 7 < mean < 13, f"5 % in runs of 10: {share:.2f} % in runs of {mean:.1f}")

    link.set(Shape(reorder_percent=10, duplicate_percent=3), "up")
    arrived = send_numbered(a, b, 2000, batch=3)
    late = sum(1 for before, after in zip(arrived, arrived[1:]) if after < before)
    expect_equal(set(arrived), set(range(2000)), "numbers that arrived")
    expect(1.5 < len(arrived) / 20 - 100 < 5, f"3 % duplicated: {len(arrived) - 2000} of 2000 twice")
    expect(100 < late < 300, f"10 % held back: {late} of 2000 late")

    link.set(Shape(rate=1e6, queue=30000), "up")
    start = time.monotonic()
    arrived = send_numbered(a, b, 1000, batch=2, size=958)  # 1000 bytes on the wire, twice the rate
    rate = len(arrived) * 1000 / (time.monotonic() - start - 0.5)
    expect(0.85e6 < rate < 1.15e6, f"1 MB/s: {rate / 1e6:.2f}")

    link.set(Shape(mtu=1300), "up")
    expect_equal(len(send_numbered(a, b, 10, size=1400)), 0, "datagrams longer than the MTU")
    expect_equal(len(send_numbered(a, b, 10, size=1200)), 10, "datagrams shorter than the MTU")
    link.cut()
    expect_equal(a.ping(b.ipv4 or "", wait_s=0.3), 0, "answers on a cut link")
