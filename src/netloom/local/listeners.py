"""Sockets that process 1 of a local cluster opens before anything runs. In: settings, paths; out: sockets that listen.

Connections with nodes end soon when nothing comes through any more: a node that is cut off, or whose power is gone, says no word of it.
"""

from __future__ import annotations

import array
import socket
from collections.abc import Sequence
from pathlib import Path

import msgspec

from netloom.kube.impatience import make_impatient
from netloom.local.settings import ClusterSettings
from netloom.units import Family, family_of

UNDERLAY_API_PORT = 6443
BACKLOG = 1024
AF = {Family.V4: socket.AF_INET, Family.V6: socket.AF_INET6}


class Underlay(msgspec.Struct, frozen=True):
    """What listens at the router's addresses."""

    api: tuple[socket.socket, ...]
    dns: tuple[socket.socket, ...]
    """A UDP and a TCP one for each family, in turn."""


def bind_underlay(settings: ClusterSettings) -> Underlay:
    """The sockets of API server and DNS relay, in the cluster's own namespace."""
    api: list[socket.socket] = []
    dns: list[socket.socket] = []
    for gateway in settings.gateways:
        host, family = str(gateway), AF[family_of(gateway)]
        served = socket.create_server((host, UNDERLAY_API_PORT), family=family, backlog=BACKLOG)
        make_impatient(served)  # what it accepts inherits that
        api.append(served)
        dns += (_datagram(host, 53, family), socket.create_server((host, 53), family=family))
    return Underlay(tuple(api), tuple(dns))


def unix_listener(path: Path) -> socket.socket:
    """A unix socket that its owner alone may use."""
    path.unlink(missing_ok=True)  # of a run that was killed
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(BACKLOG)
    return listener


def hand_over(channel: socket.socket, sockets: Sequence[socket.socket]) -> None:
    """Give sockets to whoever is at the other end, and keep none."""
    descriptors = array.array("i", [s.fileno() for s in sockets])
    channel.sendmsg([b"dns"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])
    for made in sockets:
        made.close()
    channel.close()


def _datagram(host: str, port: int, family: socket.AddressFamily) -> socket.socket:
    made = socket.socket(family, socket.SOCK_DGRAM)
    made.bind((host, port))
    return made
