"""The two control-plane processes of a local cluster: the API server, and everything that reconciles objects."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import Sequence
from pathlib import Path

import msgspec

from netloom.clock import Clock, rfc3339
from netloom.kube.kubeconfig import ClientConfig
from netloom.kube.tls import spare_memory
from netloom.linux.signals import until_signal
from netloom.local.apiserver.access import ours
from netloom.local.apiserver.access.front import Trust
from netloom.local.apiserver.access.tokens import Keys
from netloom.local.apiserver.bootstrap import Advertised
from netloom.local.apiserver.server import ApiServer, Listener
from netloom.local.apiserver.stopped import forget_what_ran
from netloom.local.apiserver.store import Store
from netloom.local.certs import server_context
from netloom.local.controllers import main as controllers
from netloom.local.paths import ClusterPaths
from netloom.local.settings import ClusterSettings
from netloom.units import parse_cidr

_ENDED_S = 5.0
"""Seconds that the processes of a former run have to be gone; the kernel kills them with their supervisor."""


class Listeners(msgspec.Struct, frozen=True):
    """Sockets of the API server, opened before anything runs: whoever connects early waits in the backlog."""

    host: socket.socket
    """On 127.0.0.1 of the host."""
    underlay: tuple[socket.socket, ...]
    """On the underlay's gateways, one a family, for nodes and pods."""
    local: socket.socket
    """A unix socket with full rights, for the administrator."""
    parts: Sequence[socket.socket] = ()
    """Unix sockets of parts of the control plane, each with its own rights."""


def take_up(paths: ClusterPaths, clock: Clock) -> None:
    """Make the objects of a former run true again, before anything of this one reads them; nothing of the cluster may run.

    Raises:
        StorageError: the store cannot be read or written.
    """
    if not paths.store.exists():
        return
    # a supervisor that was killed is gone before the last of its processes: that one may still have the file open
    store = Store(paths.store, patience_s=_ENDED_S)
    try:
        forget_what_ran(store, rfc3339(clock.wall()))
    finally:
        store.close()


def serve_api(paths: ClusterPaths, settings: ClusterSettings, listeners: Listeners, clock: Clock) -> None:
    """The API server, until SIGTERM: on TLS for people, nodes and pods, on unix sockets for the control plane."""
    gc.set_threshold(2_000, 20, 1_000)  # short pauses: a watcher waits for each
    spare_memory()
    store = Store(paths.store)
    gc.freeze()  # what is stored lives long; collections need not look at it
    try:
        asyncio.run(until_signal(_serve_api(store, paths, settings, listeners, clock)))
    finally:
        store.close()


async def _serve_api(
    store: Store,
    paths: ClusterPaths,
    settings: ClusterSettings,
    listeners: Listeners,
    clock: Clock,
) -> None:
    def runner_socket(node: str) -> Path | None:
        path = paths.node(node).runner_socket
        return path if node in settings.node_names and path.exists() else None

    server = ApiServer(
        store=store,
        clock=clock,
        service_cidrs=[c for text in settings.service_cidrs if (c := parse_cidr(text)) is not None],
        runner_socket=runner_socket,
        node_ports=settings.node_port_range,
        toleration_s=settings.eviction_after_s,
        advertised=Advertised(settings.advertised, listeners.underlay[0].getsockname()[1]),
        trust=trust_of(paths, settings),
    )
    context = server_context(paths.pki)
    await server.serve(
        [
            Listener(listeners.host, context),
            *(Listener(listener, context) for listener in listeners.underlay),
            Listener(listeners.local),
            *(Listener(listener) for listener in listeners.parts),
        ]
    )


def trust_of(paths: ClusterPaths, settings: ClusterSettings) -> Trust:
    """Whom the API server of a cluster knows.

    Raises:
        BadToken: the key of the service accounts cannot be read.
    """
    issuer = f"https://kubernetes.default.svc.{settings.cluster_domain}"
    return Trust(
        Keys.load(paths.accounts_key.read_bytes(), issuer),
        ca=(paths.pki / "ca.crt").read_text(),
        sockets=ours.sockets({part: str(path) for part, path in paths.part_sockets.items()}),
    )


def serve_controllers(paths: ClusterPaths, settings: ClusterSettings) -> None:
    """Controllers and scheduler, until SIGTERM."""
    gc.set_threshold(2_000, 20, 1_000)
    config = ClientConfig(
        server="",
        unix_socket=str(paths.part_sockets["controllers"]),
        ca_data=(paths.pki / "ca.crt").read_bytes(),
    )
    keys = trust_of(paths, settings).keys
    loops = controllers.run(config, settings, keys=keys, volumes=paths.root / "volumes")
    asyncio.run(until_signal(loops))
