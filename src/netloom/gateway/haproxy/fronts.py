"""Doors whose connections carry requests: sockets, TLS, the look-up of a route, and the way to its lane.

Comes in: a door and what its routes came to. Goes out: a ``Front`` with maps. Not here: doors that carry connections (``streams.py``).

The usual request costs one look at its spelling and one look-up: host and path as they came are the key. Only what is not found so (a path to be
decoded, a port or capitals in the host, a wildcard, a host that nobody has) takes the longer way, and only what stands behind conditions or weights
is asked further.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from netloom.gateway.haproxy.answers import answer
from netloom.gateway.haproxy.filters import PORTS
from netloom.gateway.haproxy.names import Names
from netloom.gateway.haproxy.quote import word
from netloom.gateway.haproxy.routes import HostTold
from netloom.gateway.haproxy.told import NOTHING_THERE, Front, Settings, socket_name
from netloom.model.gateways.paths import DOTS
from netloom.model.provenance import Source

SHARES = "maps/shares.map"
TOTALS = "maps/totals.map"

LOG = "%Ts.%ms %ci %f %ST %B %Ta/%Tr %tsc %hr %{+Q}r %si:%sp %[var(txn.to)]"
"""Seconds since the epoch, client, door, status, bytes, milliseconds in all and to the endpoint's answer, how it ended, host, request, endpoint,
then lane, listener and name of the route (HAProxy 2.6 configuration manual, 8.2.4)."""


_NOT_BELIEVED = "^(x-(netloom-|forwarded-|original-|real-ip$|scheme$)|forwarded$)|[^a-z0-9-]"
"""Headers that a client has not to tell, and names that some backends take for others (``x_real_ip``)."""
_SEGMENT = "/[A-Za-z0-9_~!$&'()*+,;=:@-][A-Za-z0-9._~!$&'()*+,;=:@-]*"
_AS_IT_IS = f"^[a-z0-9.-]*({_SEGMENT})*/?$"
"""Host and path that are spelt as the keys of the map are: nothing to decode, no dots that lead elsewhere, no slash too many."""
_NOT_YET = "!{ var(txn.to) -m found }"


class HttpDoor(msgspec.Struct, frozen=True, kw_only=True):
    """What a front is made of."""

    name: str
    port: int
    """As clients dial it."""
    bind: tuple[str, ...]
    """Where it listens, without ``ssl``."""
    crt_list: str = ""
    """File; empty: not encrypted."""
    hosts: Mapping[str, HostTold]
    listeners: tuple[str, ...]
    """Host names of listeners, by number."""
    is_ingress: bool = False
    """Of Ingress objects: backends get all headers that the retired controller's got."""
    sources: tuple[Source, ...] = ()

    @property
    def routes(self) -> str:
        """The map of routes."""
        return f"maps/{self.name}.map"

    @property
    def has_many(self) -> bool:
        """TLS, and not simply one listener for all names: the name in the handshake says which."""
        return bool(self.crt_list) and self.listeners != ("",)


def maps_of(door: HttpDoor) -> dict[str, dict[str, str]]:
    """The maps that a door refers to."""
    routes: dict[str, str] = {}
    for host in door.hosts.values():
        routes.update(host.entries)
    maps = {door.routes: routes}
    names = Names(door.hosts)
    if names.wild:
        maps[_file(door, "wild")] = names.wild
    if door.has_many:
        maps[_file(door, "sni")] = {
            name: str(number)
            for number, name in enumerate(door.listeners)
            if name and not name.startswith("*")
        }
        maps[_file(door, "sniwild")] = {
            name[2:]: str(number) for number, name in enumerate(door.listeners) if name.startswith("*")
        }
    return maps


def front_of(door: HttpDoor, settings: Settings, *, has_shares: bool) -> Front:
    """The section of a door."""
    lines = list(_lines(door, settings, has_shares=has_shares))
    return Front(f"frontend {door.name}", tuple(lines), door.sources)


def bind_words(port: int, count: int) -> tuple[str, ...]:
    """Where a door listens: descriptors that HAProxy gets from us."""
    return tuple(f'"fd@${{{socket_name(port, number)}}}"' for number in range(count))


def tls_words(crt_list: str) -> str:
    """How TLS ends at a socket; versions and protocols are said for each certificate."""
    return f" ssl crt-list {crt_list} ssl-min-ver TLSv1.2 alpn h2,http/1.1" if crt_list else ""


def log_lines(settings: Settings) -> Iterator[str]:
    """Every request is one line: in HAProxy's own words, since converters would cost more than the rest of the way."""
    if settings.is_logging:
        yield "log global"
        yield "capture request header host len 128"
        yield f"log-format {word(LOG)}"


def _lines(door: HttpDoor, settings: Settings, *, has_shares: bool) -> Iterator[str]:
    for where in door.bind:
        yield f"bind {where}{tls_words(door.crt_list)}"
    yield from log_lines(settings)
    names = Names(door.hosts)
    if door.has_many:
        yield from _session_lines(door)
    # what we tell ourselves inside (``gateway.lua``) nobody else tells us
    yield f"http-request del-header {word(_NOT_BELIEVED)} -m reg"
    yield from _origin_lines(door)
    # what stands before the path in the key must be a host and nothing else
    yield answer(400, condition="if { req.hdr(host) -m sub / }")
    looked_up = f"http-request set-var(txn.to) base,concat(/?),map_beg({door.routes})"
    yield f"{looked_up} if {{ base -m reg -- {word(_AS_IT_IS)} }}"
    if not door.has_many:
        yield "http-request allow if { var(txn.to) -m beg b }"
    yield from _path_lines()
    yield f"{looked_up} if {_NOT_YET}"
    yield from _longer_way(door, names)
    if door.has_many:
        yield answer(
            421, condition="if { var(txn.to) -m found } !{ var(txn.to),field(2,\\x20),strcmp(sess.l) eq 0 }"
        )
        yield "http-request allow if { var(txn.to) -m beg b }"
    yield from _chain_lines(door.hosts.values())
    if has_shares:
        yield from share_lines("http-request")
        yield "use_backend %[var(txn.way)] if { var(txn.way) -m found }"
    yield "use_backend %[var(txn.to),field(1,\\x20)] if { var(txn.to) -m beg b }"
    yield f"default_backend {NOTHING_THERE}"


def _origin_lines(door: HttpDoor) -> Iterator[str]:
    """Where a request is from and what it asked for, where the address that each lane tells (``told.py``) does not say it."""
    scheme = "https" if door.crt_list else "http"
    yield f"http-request set-header x-forwarded-proto {scheme}"
    if door.is_ingress:
        yield "http-request set-header x-real-ip %[src]"
        yield "http-request set-header x-forwarded-host %[req.hdr(host)] if { req.hdr(host) -m found }"
    if door.is_ingress or door.port != PORTS[scheme]:
        yield f"http-request set-header x-forwarded-port {door.port}"


def _path_lines() -> Iterator[str]:
    """One spelling of a path, for rules and backends alike (``model/gateways/paths.py``)."""
    for how in ("percent-decode-unreserved", "percent-to-uppercase", "path-merge-slashes"):
        yield f"http-request normalize-uri {how}"  # with a condition behind it HAProxy 2.6 does nothing
    # the first condition is cheap, and rarely holds
    some = " ".join(word(text) for text in ("/.", "F.", "C.", "\\."))
    yield answer(
        400, condition=f"if {_NOT_YET} {{ path -m sub -- {some} }} {{ path -m reg -- {word(DOTS)} }}"
    )


def _longer_way(door: HttpDoor, names: Names) -> Iterator[str]:
    """For requests whose host and path are no key as they came: the host in lower case without port, wildcards, any."""
    unless = "unless { var(txn.to) -m found }"
    again = f"concat(,txn.path,/?),map_beg({door.routes})"
    yield f"http-request set-var(txn.path) path {unless}"
    yield f"http-request set-var(txn.host) req.hdr(host),host_only,lower,rtrim(.) {unless}"
    yield f"http-request set-var(txn.to) var(txn.host),{again} if !{{ var(txn.to) -m found }} {{ var(txn.host) -m found }}"
    if names.wild:
        yield from names.wild_lines(
            "http-request", "txn.host", "txn.wild", _file(door, "wild"), "!{ var(txn.to) -m found }"
        )
        found = "if { var(txn.wild) -m found } !{ var(txn.to) -m found }"
        yield f"http-request set-var(txn.to) var(txn.wild),{again} {found}"
    if names.has_any:
        yield f"http-request set-var(txn.to) path,concat(/?),map_beg({door.routes}) {unless}"


def _session_lines(door: HttpDoor) -> Iterator[str]:
    """Which listener a connection is for; one that none is for is closed."""
    names = Names(door.listeners)
    yield "tcp-request session set-var(sess.sni) ssl_fc_sni,lower"
    yield f"tcp-request session set-var(sess.l) var(sess.sni),map_str({_file(door, 'sni')})"
    yield from names.wild_lines("tcp-request session", "sess.sni", "sess.l", _file(door, "sniwild"), "")
    if names.has_any:
        number = door.listeners.index("")
        yield f"tcp-request session set-var(sess.l) str({number}) if !{{ var(sess.l) -m found }}"
    else:
        yield "tcp-request session reject if !{ var(sess.l) -m found }"


def _chain_lines(hosts: Iterable[HostTold]) -> Iterator[str]:
    acls: dict[str, str] = {}
    queries: dict[str, str] = {}
    chains: dict[str, None] = {}
    for host in hosts:
        acls |= host.acls
        queries |= host.queries
        chains |= dict.fromkeys(host.lines)
    for name, condition in acls.items():
        yield f"acl {name} {condition}"
    for variable, sample in queries.items():
        yield f"http-request set-var({variable}) {sample}"
    yield from chains


def share_lines(rule: str) -> Iterator[str]:
    """A choice by weight: a bucket by chance, and the lane that has it."""
    weighted = "{ var(txn.to) -m beg w }"
    yield f"{rule} set-var(txn.w) var(txn.to),field(1,\\x20) if {weighted}"
    yield f"{rule} set-var(txn.n) var(txn.w),map_str_int({TOTALS}) if {weighted}"
    yield f"{rule} set-var(txn.r) rand,mod(txn.n) if {weighted}"
    yield f"{rule} set-var(txn.way) var(txn.w),concat(/,txn.r),map_str({SHARES}) if {weighted}"


def _file(door: HttpDoor, kind: str) -> str:
    return f"maps/{door.name}.{kind}.map"
