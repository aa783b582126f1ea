"""Two DNS servers with the same names: our DNS process, fed as the agent feeds it, and Knot DNS with a zone file.

10,000 Services, 50,000 endpoints of headless ones, and, for the search path, a pod whose first completion is never there. Knot has no
search path: it is given what that leads to as names of the zone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import msgspec
from tests.bench import rig, rooms

from netloom.dns.feed import Audience, FeedClient
from netloom.dns.main import DnsConfig
from netloom.linux.rtnl import Rtnl
from netloom.model.names.askers import Asker
from netloom.model.names.names import Names
from netloom.model.names.records import NameSettings, zone_file
from netloom.testing import builders

SERVICES = rooms.either(10_000, 100)
ENDPOINTS = rooms.either(50_000, 500)
_HEADLESS = rooms.either(500, 5)
OURS, KNOT, POD = "10.96.0.10", "10.96.0.11", "10.244.1.3"
DOMAIN = "cluster.local"
_FIRST_SERVICE = int(ip_address("10.100.0.0"))
_FIRST_ENDPOINT = int(ip_address("10.128.0.0"))
_SETTINGS = NameSettings(
    reverse_cidrs=(ip_network("10.96.0.0/12"), ip_network("10.128.0.0/9")), dns_addresses=(ip_address(OURS),)
)
_READY_S = 60.0


def queries() -> dict[str, list[str]]:
    """Lines for dnsperf by what they ask for."""
    mixed = [i * 7919 % SERVICES for i in range(SERVICES)]
    per = ENDPOINTS // _HEADLESS
    endpoints = [
        (str(ip_address(_FIRST_ENDPOINT + n)).replace(".", "-"), n // per)
        for n in (i * 7919 % ENDPOINTS for i in range(ENDPOINTS))
    ]
    return {
        "Services": [f"svc-{i}.load.svc.{DOMAIN} A" for i in mixed],
        "endpoints": [f"{name}.head-{h}.load.svc.{DOMAIN} A" for name, h in endpoints],
        "names that are not there": [f"nope-{i}.load.svc.{DOMAIN} A" for i in mixed],
        "names by the search path": [f"svc-{i}.load.load.svc.{DOMAIN} A" for i in mixed],
    }


def service(number: int, turn: int = 0) -> object:
    """A Service with the address that it has in its ``turn``."""
    address = str(ip_address(_FIRST_SERVICE + number + turn % 2 * SERVICES))
    return builders.service(f"load/svc-{number}", address, ports=(builders.port(80, "http"),))


def objects() -> list[object]:
    """The whole cluster."""
    per = ENDPOINTS // _HEADLESS
    found = [service(i) for i in range(SERVICES)]
    for h in range(_HEADLESS):
        found.append(builders.service(f"load/head-{h}", "None", ports=(builders.port(80, "http"),)))
        members = (builders.endpoint(str(ip_address(_FIRST_ENDPOINT + h * per + i))) for i in range(per))
        found.append(
            builders.endpoint_slice(f"load/head-{h}-x", f"head-{h}", *members, ports=(("http", 8080),))
        )
    return found


def lay() -> None:
    """Addresses in this process's own namespace."""
    with Rtnl() as rtnl:
        rtnl.set_up("lo")
        for address in (OURS, KNOT, POD):
            rtnl.add_address("lo", ip_interface(f"{address}/32"))


class Server(msgspec.Struct):
    """One that runs, on the first core."""

    address: str
    pid: int

    def used(self) -> rig.Used:
        """What it has used."""
        return rig.used(self.pid)


class Feed:
    """The agent's side of our server."""

    def __init__(self, path: Path) -> None:
        self._names = Names(_SETTINGS)
        self._names.update(builders.changes(*objects()))
        self._generation = 1
        searched = ("load.svc", "svc", "")
        domains = tuple(f"{part}.{DOMAIN}".lstrip(".") for part in searched)
        audience = Audience({ip_address(POD): Asker("load/client", domains)}, (f"{OURS}/32",))
        self.client = FeedClient(
            path=str(path), snapshot=lambda: (self._generation, self._names.state), audience=lambda: audience
        )

    def zone(self) -> str:
        """The same names as a zone file, those of the search path as well."""
        names = {n: s for n, s in self._names.state.names.items() if n.endswith(DOMAIN) and "*" not in n}
        names |= {
            f"svc-{i}.load.load.svc.{DOMAIN}": names[f"svc-{i}.load.svc.{DOMAIN}"] for i in range(SERVICES)
        }
        return _absolute(zone_file(names))

    async def change(self, number: int, turn: int) -> None:
        """One Service has another address; returns when the server says that it answers so."""
        delta = self._names.update(builders.changes(service(number, turn)))
        self._generation += 1
        self.client.offer(self._generation, delta)
        await self.client.in_force(self._generation)

    async def visible(self, number: int, turn: int) -> float:
        """Seconds from a change to the first answer that shows it, asked for again and again."""
        delta = self._names.update(builders.changes(service(number, turn)))
        wanted = ip_address(_FIRST_SERVICE + number + turn % 2 * SERVICES).packed
        query = _query(f"svc-{number}.load.svc.{DOMAIN}")
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
            sock.connect((OURS, 53))
            began = time.perf_counter()
            self._generation += 1
            self.client.offer(self._generation, delta)
            async with asyncio.timeout(10):
                while True:
                    sock.send(query)
                    if (await loop.sock_recv(sock, 512)).endswith(wanted):
                        return time.perf_counter() - began


@contextlib.asynccontextmanager
async def ours(directory: Path) -> AsyncIterator[tuple[Server, Feed]]:
    """Our DNS process, fed."""
    feed = Feed(directory / "dns.sock")
    config = directory / "dns.json"
    config.write_bytes(
        msgspec.json.encode(DnsConfig(listen=(OURS,), feed_socket=str(directory / "dns.sock")))
    )
    with _started([sys.executable, "-m", "netloom.dns.main", str(config)], directory / "ours.log") as pid:
        async with asyncio.TaskGroup() as tasks:
            feeding = tasks.create_task(feed.client.run())
            async with asyncio.timeout(_READY_S):
                await feed.client.in_force(1)
            yield Server(OURS, pid), feed
            feeding.cancel()


@contextlib.contextmanager
def knot(directory: Path, zone: str) -> Iterator[Server]:
    """Knot DNS with one worker."""
    storage = directory / "knot"
    storage.mkdir()
    (storage / "zone").write_text(zone)
    config = storage / "knot.conf"
    config.write_text(
        f"server:\n  rundir: {storage}\n  listen: {KNOT}@53\n  udp-workers: 1\n  tcp-workers: 1\n"
        f"  background-workers: 1\ndatabase:\n  storage: {storage}\n"
        f"log:\n  - target: stderr\n    any: warning\n"
        f"zone:\n  - domain: {DOMAIN}\n    file: {storage}/zone\n    zonefile-load: whole\n    zonefile-sync: -1\n    journal-content: none\n"
    )
    with _started(["knotd", "-c", str(config)], directory / "knot.log") as pid:
        deadline = time.monotonic() + _READY_S
        while not _answers(KNOT):
            if time.monotonic() > deadline:
                raise RuntimeError(f"knotd: {(directory / 'knot.log').read_text()}")
        yield Server(KNOT, pid)


@contextlib.contextmanager
def _started(command: list[str], log: Path) -> Iterator[int]:
    core = min(os.sched_getaffinity(0))
    with log.open("wb") as out:
        child = subprocess.Popen(
            command,
            stderr=out,
            stdout=out,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),  # noqa: PLW1509 - no threads here
            env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin"},
        )
        try:
            yield child.pid
        finally:
            child.send_signal(signal.SIGTERM)
            rooms.end(child)


def _answers(address: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.2)
        sock.connect((address, 53))
        try:
            sock.send(_query(f"svc-0.load.svc.{DOMAIN}"))
            return sock.recv(512)[3] & 15 == 0
        except OSError:
            return False


def _query(name: str) -> bytes:
    labels = b"".join(bytes((len(label),)) + label.encode() for label in name.split("."))
    return b"\1\2\1\0\0\1\0\0\0\0\0\0" + labels + b"\0\0\1\0\1"


def _absolute(text: str) -> str:
    """Names within data with the final dot that zone files want."""
    lines = []
    for line in text.splitlines():
        owner, *rest = line.split(" ")
        if line.startswith(";") or len(rest) < 4:
            continue
        if rest[2] in ("NS", "PTR", "CNAME"):
            rest[3] += "."
        elif rest[2] == "SRV":
            rest[6] += "."
        elif rest[2] == "SOA":
            rest[3], rest[4] = f"{rest[3]}.", f"{rest[4]}."
        lines.append(" ".join((owner, *rest)))
    return "\n".join(sorted(lines, key=lambda one: " SOA " not in one)) + "\n"
