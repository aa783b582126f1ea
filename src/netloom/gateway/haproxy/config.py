"""Plan to ``Told``: the whole of what HAProxy is told, made anew from what the plan says; what did not change is not made twice.

Comes in: a plan, settings, sources that HAProxy refused before. Goes out: ``Told``. Not here: how the running one is changed
(``difference.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from netloom.gateway.haproxy import certificates, fronts, streams
from netloom.gateway.haproxy.fronts import HttpDoor
from netloom.gateway.haproxy.kept import Asked, Kept
from netloom.gateway.haproxy.lanes import Lanes
from netloom.gateway.haproxy.names import by_name
from netloom.gateway.haproxy.quote import word
from netloom.gateway.haproxy.routes import HostTold, Shares
from netloom.gateway.haproxy.streams import StreamDoor
from netloom.gateway.haproxy.told import INNER, CertificateLine, Front, Lane, Settings, Told
from netloom.model.gateways.entrances import INGRESS
from netloom.model.gateways.plan import (
    Door,
    Host,
    Listener,
    ListenerTls,
    Plan,
    Stream,
    Transport,
)
from netloom.model.provenance import Source

LUA = "gateway.lua"


def told(
    plan: Plan, settings: Settings, refused: frozenset[Source | str] = frozenset(), kept: Kept | None = None
) -> Told:
    """What HAProxy is told for a plan.

    Args:
        plan: of all doors; those without a port on nodes and those of UDP are not ours.
        settings: of this engine.
        refused: rules, listeners and doors that are left out, and marks of certificates: HAProxy took nothing with them in it.
        kept: of plans before.
    """
    kept = kept or Kept()
    kept.begin(plan.pools, refused)
    making = _Making(settings, refused, kept)
    for door in plan.doors:
        if door.node_port is not None and door.transport is not Transport.UDP and door.source not in refused:
            making.door(door, door.node_port)
    kept.end()
    return making.told()


class _Making:
    """One making."""

    def __init__(self, settings: Settings, refused: frozenset[Source | str], kept: Kept) -> None:
        self._settings = settings
        self._refused = refused
        self._kept = kept
        self._lanes = Lanes(kept.meanings, refused)
        self._lanes.nothing()
        self._shares = Shares()
        self._fronts: list[Front] = []
        self._extra: list[tuple[str, tuple[str, ...]]] = []
        self._maps: dict[str, Mapping[str, str]] = {}
        self._lists: dict[str, tuple[CertificateLine, ...]] = {}
        self._certificates: dict[str, str] = {}
        self._ports: set[int] = set()
        self._lines_of: dict[str, Source] = {}

    def door(self, door: Door, port: int) -> None:
        """Everything of one door."""
        name = f"d{port}"
        bind = fronts.bind_words(port, len(self._settings.addresses))
        listeners = [one for one in map(self._usable, door.listeners) if one is not None]
        self._ports.add(port)
        if door.transport is Transport.HTTP:
            self._http(door, name, bind, listeners)
        elif door.transport is Transport.TCP:
            self._stream(door, name, bind, listeners, ends_tls=False)
        elif all(not one.is_stream and one.tls is not None for one in listeners):
            self._http(door, name, bind, listeners)
        elif all(one.is_stream and one.tls is not None for one in listeners):
            self._stream(door, name, bind, listeners, ends_tls=True)
        else:
            self._mixed(door, name, bind, listeners)

    def told(self) -> Told:
        """What it has come to."""
        lanes = self._lanes.made
        used = {lane.pool for lane in lanes.values() if lane.pool}
        if self._shares.entries:
            self._maps[fronts.SHARES] = self._shares.entries
            self._maps[fronts.TOTALS] = self._shares.totals
        needs = self._lanes.needs
        has_lua = any("lua." in line for lane in lanes.values() for line in lane.lines)
        base = [_global(self._settings, has_lua=has_lua), _defaults(self._settings)]
        if has_lua:
            base.append(_inner(self._settings))
        inner = {name: Lane(name, lines) for name, lines in self._extra}
        return Told(
            fronts=(*base, *needs.fronts.values(), *self._fronts),
            lanes=lanes | inner,
            sources=self._lanes.sources,
            pools={key: self._kept.endpoints[key] for key in used},
            maps=self._maps,
            certificates=self._certificates,
            lists=self._lists,
            files=needs.files,
            ports=frozenset(self._ports),
            lines_of=self._lines_of,
        )

    def _usable(self, listener: Listener) -> Listener | None:
        """Without what HAProxy refused; None where nothing is left."""
        if listener.source in self._refused:
            return None
        tls = listener.tls
        if tls is None:
            return listener
        if not tls.certificates or self._has_refused(tls):
            return None
        return listener

    def _has_refused(self, tls: ListenerTls) -> bool:
        if not self._refused:
            return False
        return any(
            certificates.mark_of(certificates.pem_of(one)) in self._refused for one in tls.certificates
        )

    def _http(
        self,
        door: Door,
        name: str,
        bind: tuple[str, ...],
        listeners: Sequence[Listener],
        *,
        is_inner: bool = False,
    ) -> None:
        is_tls = door.transport is Transport.TLS
        crt_list = self._crt_list(name, listeners) if is_tls else ""
        if is_tls and not crt_list:
            return
        scheme = "https" if is_tls else "http"
        nothing: Host | None = None
        found = by_name(listeners, lambda one: ((host.name, host) for host in one.hosts), nothing)
        hosts: dict[str, HostTold] = {}
        has_shares = False
        for pattern, (number, host) in found.items():
            of_host = self._kept.host(host, Asked(pattern, number, scheme, door.port))
            hosts[pattern] = of_host.told
            self._lanes.absorb(of_host.lanes)
            self._shares.absorb(of_host.shares)
            has_shares |= bool(of_host.shares.totals)
        made = HttpDoor(
            name=name,
            port=door.port,
            bind=tuple(f"{where} accept-proxy" for where in bind) if is_inner else bind,
            crt_list=crt_list,
            hosts=hosts,
            listeners=tuple(one.hostname for one in listeners),
            is_ingress=door.gateway == INGRESS,
            sources=(door.source,),
        )
        self._maps |= fronts.maps_of(made)
        for one in hosts.values():
            self._lines_of |= one.lines_of
        self._fronts.append(fronts.front_of(made, self._settings, has_shares=has_shares))

    def _stream(
        self,
        door: Door,
        name: str,
        bind: tuple[str, ...],
        listeners: Sequence[Listener],
        *,
        ends_tls: bool,
        also: Mapping[str, str] | None = None,
    ) -> None:
        crt_list = self._crt_list(name, listeners) if ends_tls else ""
        if ends_tls and not crt_list:
            return
        names = dict(also or {})
        nothing: Stream | None = None
        carried = by_name(
            listeners, lambda one: ((carries.hostname, carries) for carries in one.streams), nothing
        )
        for pattern, (_, stream) in carried.items():
            names.setdefault(pattern, streams.target_of(stream, self._lanes, self._shares))
        made = StreamDoor(
            name=name,
            bind=bind,
            crt_list=crt_list,
            names=names,
            by_name=door.transport is Transport.TLS,
            sources=(door.source,),
        )
        self._maps |= streams.maps_of(made)
        self._fronts.append(streams.front_of(made, self._settings, refusing=self._lanes.refusing()))

    def _mixed(self, door: Door, name: str, bind: tuple[str, ...], listeners: Sequence[Listener]) -> None:
        """Some connections are passed on as they are, others end here: a front looks at the server name and passes each on inside."""
        inside: dict[str, str] = {}
        for kind, ends in (
            ("http", [one for one in listeners if not one.is_stream]),
            ("tcp", [one for one in listeners if one.is_stream and one.tls is not None]),
        ):
            if not ends:
                continue
            socket = f'"unix@${{INNER}}-{name}-{kind}"'
            bind_to = f"{socket}{_own_words(self._settings)}"
            self._extra.append(
                (
                    f"{INNER}_{name}_{kind}",
                    ("mode tcp", "timeout server 1h", f"server s {socket} send-proxy-v2"),
                )
            )
            inside |= {one.hostname: f"{INNER}_{name}_{kind} 0 {word(one.name)}" for one in ends}
            if kind == "http":
                self._http(door, f"{name}_{kind}", (bind_to,), ends, is_inner=True)
            else:
                self._stream(door, f"{name}_{kind}", (f"{bind_to} accept-proxy",), ends, ends_tls=True)
        passed = [one for one in listeners if one.is_stream and one.tls is None]
        self._stream(door, name, bind, passed, ends_tls=False, also=inside)

    def _crt_list(self, name: str, listeners: Sequence[Listener]) -> str:
        lines = certificates.lines_of(listeners, self._lanes.needs.files)
        if not lines:
            return ""
        for listener in listeners:
            for certificate in listener.tls.certificates if listener.tls is not None else ():
                file = certificates.file_of(certificate)
                self._certificates[file] = certificates.pem_of(certificate)
                self._lines_of[file] = certificate.source
        file = f"lists/{name}.list"
        self._lists[file] = lines
        return file


def _global(settings: Settings, *, has_lua: bool) -> Front:
    lines = [
        # for ``normalize-uri`` of the doors
        "expose-experimental-directives",
        f"fd-hard-limit {settings.descriptors}",
        'stats socket "fd@${CLI}" level admin',
        "stats timeout 1d",
        f"hard-stop-after {settings.drain_s}s",
        "log stdout len 8192 format raw local0 info",
        "tune.ssl.default-dh-param 2048",
        "ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets",
    ]
    if settings.threads:
        lines.append(f"nbthread {settings.threads}")
    if settings.user is not None:
        lines += [f"uid {settings.user}", f"gid {settings.user}"]
    if has_lua:
        lines.append(f"lua-load-per-thread {LUA}")
    return Front("global", tuple(lines))


def _defaults(settings: Settings) -> Front:
    first = f"{settings.request_s:g}s"
    return Front(
        "defaults",
        (
            "mode http",
            "timeout connect 5s",
            "timeout client 60s",
            "timeout server 5m",
            "timeout tunnel 1h",
            "timeout client-fin 30s",
            "timeout queue 5s",
            f"timeout http-request {first}",
            "timeout http-keep-alive 60s",
            "retries 3",
            "option redispatch",
            "option dontlognull",
            # with a soft stop no connection is closed on which a client may just be sending
            "option idle-close-on-response",
        ),
    )


def _own_words(settings: Settings) -> str:
    """A socket that HAProxy alone can connect to: whoever else could would say himself where he is from."""
    return " mode 600" if settings.user is None else f" mode 600 uid {settings.user} gid {settings.user}"


def _inner(settings: Settings) -> Front:
    """Where copies and questions go that Lua sends: on to the lane that they name."""
    return Front(
        "frontend inner",
        (
            f'bind "unix@${{INNER}}"{_own_words(settings)}',
            "http-request set-var(txn.way) req.hdr(x-netloom-lane)",
            "http-request set-method %[req.hdr(x-netloom-method)] if { req.hdr(x-netloom-method) -m found }",
            "http-request del-header x-netloom-lane",
            "http-request del-header x-netloom-method",
            "use_backend %[var(txn.way)]",
        ),
    )
