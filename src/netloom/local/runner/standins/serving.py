"""The sockets of all stand-ins of a node. In: pods as the runner names them; out: listening sockets, and what went wrong.

Sockets are opened inside each pod's network namespace and read by this one process. Not here: the feed, and the answers.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import os
import socket
from collections.abc import Callable, Sequence

from netloom.clock import Clock
from netloom.errors import NetloomError
from netloom.linux import netns
from netloom.local.runner.standins.answers import Identity
from netloom.local.runner.standins.feed import App, Course, Listen, StandInPod, State
from netloom.local.runner.standins.logbook import Log
from netloom.local.runner.standins.tcp import Connection, Listener, Room
from netloom.local.runner.standins.udp import Datagrams

BACKLOG = 1024
_KINDS = {
    "TCP": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "UDP": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "SCTP": (socket.SOCK_STREAM, socket.IPPROTO_SCTP),
}
_NO_PROTOCOL = "this kernel does not have the protocol"
"""Told in the container's log, and no reason not to run: a containerPort only informs (core/v1 ContainerPort)."""
MAX_CONNECTIONS = 8192


class _Served:
    """One container: its listener and its open sockets."""

    def __init__(self, app: App, listener: Listener) -> None:
        self.app = app
        self.listener = listener
        self.open: dict[tuple[int, str], asyncio.Server | asyncio.DatagramTransport] = {}
        self.problem = ""

    @property
    def has_ended(self) -> bool:
        """It was told to end, and its last connection has gone."""
        return self.listener.course is Course.END and not self.open and not self.listener.connections

    def close(self, ports: Sequence[tuple[int, str]] | None = None) -> None:
        """Stop listening, on these or on all ports; on all means that connections end too."""
        for port in list(self.open) if ports is None else ports:
            self.open.pop(port).close()
        if ports is None:
            for connection in list(self.listener.connections):
                connection.abort()

    async def end(self) -> None:
        """Take no new connections; those that there are go on (``Listener.end``)."""
        self.listener.course = Course.END
        for server in self.open.values():
            if isinstance(server, asyncio.Server):
                await _accept_all(server, self.listener)
        self.close(tuple(self.open))
        self.listener.end()


class Apps:
    """All stand-ins of a node.

    Args:
        clock: the time, for logs.
        on_end: hears of each container that was told to end when it has ended, if that takes longer than the telling.
        max_connections: at once, of all pods.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        on_end: Callable[[State], None] = lambda state: None,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        self._clock = clock
        self._on_end = on_end
        self._room = Room(max_connections)
        self._pods: dict[str, dict[str, _Served]] = {}
        self._logs: dict[tuple[str, str], Log] = {}
        self._previous: dict[tuple[str, str], Log] = {}

    def uids(self) -> frozenset[str]:
        """The pods that are served."""
        return frozenset(self._pods)

    def log(self, uid: str, container: str, *, previous: bool = False) -> Log | None:
        """A container's log; None where there is none."""
        return (self._previous if previous else self._logs).get((uid, container))

    async def serve(self, pod: StandInPod) -> tuple[State, ...]:
        """Make the sockets of a pod what it says: others are closed, missing ones opened, the rest left alone.

        Returns:
            How each container fares.
        """
        served = self._pods.setdefault(pod.uid, {})
        for name in [n for n in served if n not in {a.name for a in pod.apps}]:
            served.pop(name).close()
        for app in pod.apps:
            old = served.get(app.name)
            if old is None or old.app.generation != app.generation:
                served[app.name] = self._begin(pod, app, old)
            if app.course is Course.END:
                served[app.name].app = app
                await served[app.name].end()
            else:
                await self._listen(pod, app, served[app.name])
                served[app.name].listener.course = app.course
        return tuple(_state(pod.uid, s) for s in served.values())

    def drop(self, uid: str) -> None:
        """Close everything of a pod and forget it."""
        for name, served in self._pods.pop(uid, {}).items():
            served.close()
            if (log := self._logs.pop((uid, name), None)) is not None:
                log.end()
            self._previous.pop((uid, name), None)

    def _begin(self, pod: StandInPod, app: App, old: _Served | None) -> _Served:
        """A container's new life: a fresh log, and nothing open."""
        key = (pod.uid, app.name)
        if old is not None:
            old.close()
            old.listener.log.end()
            self._previous[key] = old.listener.log
        log = self._logs[key] = Log(self._clock)
        log.write(
            f"stand-in for image {app.image} as container {app.name} of pod {pod.namespace}/{pod.name} on {pod.node}"
        )
        for note in app.notes:
            log.write(note)
        identity = Identity(pod.name, pod.namespace, pod.node, app.name, app.image)
        listener = Listener(identity=identity, log=log, room=self._room)
        served = _Served(app, listener)

        def has_emptied() -> None:
            if served.has_ended and self._pods.get(pod.uid, {}).get(app.name) is served:
                self._on_end(_state(pod.uid, served))

        listener.on_empty = has_emptied
        return served

    async def _listen(self, pod: StandInPod, app: App, served: _Served) -> None:
        wanted = {(w.port, w.protocol): w for w in app.listens}
        served.close([p for p in served.open if p not in wanted])
        missing = [w for port, w in wanted.items() if port not in served.open]
        served.app = app
        served.problem = ""
        if not missing:
            return
        try:
            fd = netns.open_netns(pod.netns)
            try:
                opened = await netns.run_in_async(fd, functools.partial(_open_all, missing))
            finally:
                os.close(fd)
        except (NetloomError, OSError) as error:
            served.problem = str(error)
            return
        problems = []
        for wish, made in zip(missing, opened, strict=True):
            if isinstance(made, str):
                served.listener.log.write(f"cannot listen on port {wish.port}/{wish.protocol}: {made}")
                if wish.required and made != _NO_PROTOCOL:
                    problems.append(f"port {wish.port}/{wish.protocol}: {made}")
                continue
            served.open[wish.port, wish.protocol] = await self._attach(made, served.listener)
            served.listener.log.write(f"listening on port {wish.port}/{wish.protocol}")
        served.problem = "; ".join(problems)

    async def _attach(
        self, made: socket.socket, listener: Listener
    ) -> asyncio.Server | asyncio.DatagramTransport:
        loop = asyncio.get_running_loop()
        if made.type == socket.SOCK_STREAM:
            return await loop.create_server(lambda: Connection(listener), sock=made, backlog=BACKLOG)
        transport, _ = await loop.create_datagram_endpoint(lambda: Datagrams(listener), sock=made)
        return transport


def _state(uid: str, served: _Served) -> State:
    return State(uid, served.app.name, served.app.generation, served.problem, served.has_ended)


async def _accept_all(server: asyncio.Server, listener: Listener) -> None:
    """Take every connection that the kernel has already made for a client: closing the socket would reset it."""
    loop = asyncio.get_running_loop()
    for served in server.sockets:
        with socket.fromfd(served.fileno(), served.family, served.type) as waiting:
            for _ in range(BACKLOG):
                try:
                    accepted, _ = waiting.accept()
                except OSError:
                    break  # nobody waits any more, or the client has gone
                accepted.setblocking(False)
                await loop.connect_accepted_socket(lambda: Connection(listener), accepted)
    # What the loop itself has just accepted becomes a connection within its next two turns.
    await asyncio.sleep(0)
    await asyncio.sleep(0)


def _open_all(listens: Sequence[Listen]) -> list[socket.socket | str]:
    """A listening socket for each, or why there is none; runs inside the pod's namespace."""
    return [_open(listen) for listen in listens]


def _open(listen: Listen) -> socket.socket | str:
    if listen.protocol not in _KINDS:
        return f"stand-ins speak {', '.join(_KINDS)}, not {listen.protocol}"
    try:
        return _bound(socket.AF_INET6, listen)
    except OSError as error:
        if error.errno in {errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT}:
            return _NO_PROTOCOL
        if error.errno not in {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}:
            return os.strerror(error.errno or 0)
    try:
        return _bound(socket.AF_INET, listen)
    except OSError as error:
        return os.strerror(error.errno or 0)


def _bound(family: int, listen: Listen) -> socket.socket:
    kind, protocol = _KINDS[listen.protocol]
    made = socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)
    try:
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # one socket for both families
        if kind == socket.SOCK_STREAM:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(("", listen.port))
        if kind == socket.SOCK_STREAM:
            made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    return made
