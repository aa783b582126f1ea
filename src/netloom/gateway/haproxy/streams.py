"""Doors whose connections are carried as they are: TCP, TLS passed through by its server name, TLS that ends here with TCP behind.

Comes in: a door. Goes out: a ``Front`` with maps. Not here: requests (``fronts.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from netloom.gateway.haproxy.fronts import share_lines, tls_words
from netloom.gateway.haproxy.lanes import Lanes
from netloom.gateway.haproxy.names import Names
from netloom.gateway.haproxy.quote import argument, label, word
from netloom.gateway.haproxy.routes import Shares
from netloom.gateway.haproxy.told import Front, Settings
from netloom.model.gateways.plan import Stream
from netloom.model.provenance import Source

_IDLE = "1h"
_LOG = "%Ts.%ms %ci %f - %B %Tt/%Tc %ts %si:%sp %[var(txn.to)]"


class StreamDoor(msgspec.Struct, frozen=True, kw_only=True):
    """What a front is made of."""

    name: str
    bind: tuple[str, ...]
    crt_list: str = ""
    """File, where TLS ends here."""
    names: Mapping[str, str]
    """What each pattern leads to: lane or choice, and the name of the stream."""
    by_name: bool
    """The server name decides; else everything goes where the empty name leads."""
    sources: tuple[Source, ...] = ()


def target_of(stream: Stream | None, lanes: Lanes, shares: Shares) -> str:
    """Where a stream's connections go."""
    ways = [
        (lanes.plain(share.pool, "tcp") or lanes.refusing(), share.weight)
        for share in (stream.shares if stream is not None else ())
        if share.weight > 0
    ]
    if stream is None or not ways:
        return f"{lanes.refusing()} 0 -"
    way = ways[0][0] if len(ways) == 1 else shares.add(ways)
    return f"{way} 0 {label(stream.name)}"


def maps_of(door: StreamDoor) -> dict[str, dict[str, str]]:
    """The maps that a door refers to."""
    if not door.by_name:
        return {}
    exact = {name: way for name, way in door.names.items() if name and not name.startswith("*")}
    wild = {name[2:]: way for name, way in door.names.items() if name.startswith("*")}
    return {f"maps/{door.name}.sni.map": exact, f"maps/{door.name}.sniwild.map": wild}


def front_of(door: StreamDoor, settings: Settings, *, refusing: str) -> Front:
    """The section of a door."""
    lines = tuple(_lines(door, settings, refusing))
    return Front(f"frontend {door.name}", lines, door.sources)


def _lines(door: StreamDoor, settings: Settings, refusing: str) -> Iterator[str]:
    yield "mode tcp"
    yield "no option idle-close-on-response"
    yield f"timeout client {_IDLE}"
    for where in door.bind:
        yield f"bind {where}{tls_words(door.crt_list).replace(' alpn h2,http/1.1', '')}"
    if settings.is_logging:
        yield "log global"
        yield f"log-format {word(_LOG)}"
    rule = "tcp-request content"
    if door.by_name:
        if door.crt_list:
            yield f"{rule} set-var(txn.sni) ssl_fc_sni,lower"
        else:
            # a ClientHello comes at once; who sends nothing is not waited for any longer
            yield "tcp-request inspect-delay 5s"
            yield f"{rule} reject unless {{ req.ssl_hello_type 1 }}"
            yield f"{rule} set-var(txn.sni) req.ssl_sni,lower"
        yield f"{rule} set-var(txn.to) var(txn.sni),map_str(maps/{door.name}.sni.map)"
        names = Names(door.names)
        yield from names.wild_lines(rule, "txn.sni", "txn.to", f"maps/{door.name}.sniwild.map", "")
    if "" in door.names:
        value = word(f"str({argument(door.names[''])})")
        yield f"{rule} set-var(txn.to) {value} if !{{ var(txn.to) -m found }}"
    if any(way.startswith("w") for way in door.names.values()):
        yield from share_lines(rule)
        yield "use_backend %[var(txn.way)] if { var(txn.way) -m found }"
    yield "use_backend %[var(txn.to),field(1,\\x20)] if { var(txn.to) -m beg b }"
    yield f"default_backend {refusing}"
