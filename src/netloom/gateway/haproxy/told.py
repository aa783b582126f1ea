"""What HAProxy is told, as a value: sections, maps, certificates, places for servers.

Comes in: values that ``config.py`` and its siblings make. Goes out: ``Told``, and the text of its files. Not here: how a running HAProxy
is brought from one to another (``difference.py``), the files themselves (``gateway/files.py``). All paths are relative to the directory
that HAProxy runs in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from netloom.model.gateways.plan import Endpoint
from netloom.model.provenance import Finding, Source

NOTHING_THERE = "bnone"
"""The lane of requests that no rule takes."""
CONFIG = "haproxy.cfg"
INNER = "b_inner"
CLIENT_HEADER = "x-forwarded-for"
_CLIENT = "  option forwardfor if-none"
"""The client's address: what a client says of it is gone by then; a copy of a request has it (``gateway.lua``)."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What is so for all plans of an engine."""

    addresses: tuple[str, ...] = ("127.0.0.1",)
    """Where doors listen; their sockets come as descriptors, named by :func:`socket_name`."""
    threads: int = 0
    """Threads of HAProxy; 0: one for each core."""
    descriptors: int = 65_536
    """Most descriptors; half of them, or half of those that the process may have, are the most connections of clients at once."""
    user: int | None = None
    """Number of the user and group that HAProxy becomes when it has read its files; None: it stays who it is."""
    is_logging: bool = True
    drain_s: int = 600
    """So long a process that was replaced may finish what it has begun."""
    spares: int = 0
    """Empty lanes that are there for pools to come, so that a new one needs no reload."""
    request_s: float = 10.0
    """So long a client may take to send the headers of a request, and to do the handshake of TLS."""


class Lane(msgspec.Struct, frozen=True):
    """A way from a door to endpoints, or to an answer: one ``backend`` section. Rules of one meaning share it."""

    name: str
    lines: tuple[str, ...]
    """Without its servers."""
    pool: str = ""
    """Key of the pool whose endpoints are its servers; empty: it has none."""
    server: str = ""
    """Words of each of its server lines, behind the address."""
    label: str = ""
    """For metrics: the Service, or what it answers."""

    @property
    def is_plain(self) -> bool:
        """Nothing but its servers sets it apart, so that a spare lane can take its place."""
        return bool(self.pool) and not self.server and not self.lines

    @property
    def tells_client(self) -> bool:
        """HAProxy adds X-Forwarded-For on the way to a server; where a rule has its own mind about that header it is among the lines."""
        return "mode tcp" not in self.lines and not any(CLIENT_HEADER in line for line in self.lines)


class CertificateLine(msgspec.Struct, frozen=True):
    """A certificate of a door and for which server names it is; none: for those in the certificate."""

    file: str
    options: str = ""
    names: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """As a line of a crt-list."""
        options = f" [{self.options}]" if self.options else ""
        return f"{self.file}{options}{''.join(f' {name}' for name in self.names)}"


class Front(msgspec.Struct, frozen=True):
    """A ``frontend`` or any other section that is no lane."""

    header: str
    lines: tuple[str, ...]
    sources: tuple[Source, ...] = ()


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a HAProxy is told."""

    fronts: tuple[Front, ...] = ()
    lanes: Mapping[str, Lane] = {}
    sources: Mapping[str, tuple[Source, ...]] = {}
    """By lane: rules that have it."""
    pools: Mapping[str, tuple[Endpoint, ...]] = {}
    """Endpoints that get requests, of the pools of the lanes."""
    maps: Mapping[str, Mapping[str, str]] = {}
    """By file name: keys and values."""
    certificates: Mapping[str, str] = {}
    """By file name: PEM of chain and key."""
    lists: Mapping[str, tuple[CertificateLine, ...]] = {}
    """By file name: crt-lists, the certificate for everybody else first."""
    files: Mapping[str, str] = {}
    """By file name: authorities, keys of tokens, answers."""
    ports: frozenset[int] = frozenset()
    """Where doors listen, on each address."""
    lines_of: Mapping[str, Source] = {}
    """Lines of fronts that come from one rule or listener."""
    findings: tuple[Finding, ...] = ()


Slots = Mapping[str, tuple[Endpoint | None, ...]]
"""By lane: who is in each of its server slots."""


def socket_name(port: int, number: int) -> str:
    """The environment variable that holds the descriptor of a door's socket at the ``number``-th address."""
    return f"D{port}x{number}"


def slots_for(count: int) -> int:
    """How many slots a lane is made with: room for as many again, as a rollout may bring them."""
    slots = 2
    while slots < count + 1:
        slots *= 2
    return slots


def fresh_slots(told: Told, spares: int) -> dict[str, tuple[Endpoint | None, ...]]:
    """Slots of a HAProxy that starts with this."""
    made: dict[str, tuple[Endpoint | None, ...]] = {}
    by_pool: dict[str, tuple[Endpoint | None, ...]] = {}
    for lane in told.lanes.values():
        if lane.pool:
            filled = by_pool.get(lane.pool)
            if filled is None:
                endpoints = told.pools.get(lane.pool, ())
                filled = (*endpoints, *(None,) * (slots_for(len(endpoints)) - len(endpoints)))
                by_pool[lane.pool] = filled
            made[lane.name] = filled
    return made | {spare_name(number): (None,) * SPARE_SLOTS for number in range(spares)}


SPARE_SLOTS = 8


def spare_name(number: int) -> str:
    """Name of a lane that nobody uses yet."""
    return f"bspare_{number}"


def place(endpoint: Endpoint) -> str:
    """An endpoint as HAProxy writes addresses."""
    host = f"[{endpoint.address}]" if endpoint.address.version == 6 else str(endpoint.address)
    return f"{host}:{endpoint.port}"


def text(told: Told, slots: Slots) -> str:
    """The configuration file."""
    return "\n".join(_lines(told, slots)) + "\n"


def _lines(told: Told, slots: Slots) -> Iterator[str]:
    for front in told.fronts:
        yield front.header
        yield from (f"  {line}" for line in front.lines)
    for lane in told.lanes.values():
        yield f"backend {lane.name}"
        yield from (f"  {line}" for line in lane.lines)
        if lane.pool:
            if lane.tells_client:
                yield _CLIENT
            yield from _servers(lane.server, slots[lane.name])
    for name, filled in slots.items():
        if name not in told.lanes:
            yield f"backend {name}"
            yield _CLIENT
            yield from _servers("", filled)


def _servers(options: str, filled: Sequence[Endpoint | None]) -> Iterator[str]:
    tail = f" {options}" if options else ""
    for number, endpoint in enumerate(filled):
        if endpoint is None:
            yield f"  server s{number} 127.0.0.1:1{tail} disabled"
        else:
            yield f"  server s{number} {place(endpoint)}{tail}"


def map_text(entries: Mapping[str, str]) -> str:
    """A map file."""
    return "".join(f"{key} {value}\n" for key, value in entries.items())


def list_text(lines: Iterable[CertificateLine]) -> str:
    """A crt-list."""
    return "".join(f"{line.text}\n" for line in lines)
