"""Answers to a runtime, in the shape of the version that it asked in. Pure. In: values. Out: JSON.

Shapes of the CNI specification: 0.3.x and 0.4.0 say the IP version of each address, 1.x does not; 1.1.0 adds the MTU.
"""

from __future__ import annotations

import ipaddress
from typing import Any

import msgspec

from netloom.cni.attach import PodInterface
from netloom.cni.codes import CniError
from netloom.cni.request import VERSIONS, is_older
from netloom.program import names


class Answer(msgspec.Struct, frozen=True):
    """What the shim is to print, and the exit code that it is to end with."""

    exit_code: int
    body: bytes


NOTHING = Answer(0, b"")
"""Success of a verb that has no result (DEL, CHECK, GC, STATUS)."""


def added(version: str, made: PodInterface, netns_path: str) -> Answer:
    """The result of ADD."""
    old = is_older(version, "1.0.0")
    node: dict[str, Any] = {"name": made.host_link, "mac": names.HOST_SIDE_MAC}
    pod: dict[str, Any] = {"name": made.interface, "mac": made.mac, "sandbox": netns_path}
    if not is_older(version, "1.1.0"):
        node["mtu"] = pod["mtu"] = made.mtu
    ips = []
    for interface in made.interfaces():
        entry: dict[str, Any] = {"version": str(interface.version)} if old else {}
        ips.append({**entry, "interface": 1, "address": str(interface)})
    routes = [{"dst": str(r.destination), "gw": str(r.via)} for r in made.pod_routes()]
    return _json(
        0, {"cniVersion": version, "interfaces": [node, pod], "ips": ips, "routes": routes, "dns": {}}
    )


def versions(asked: str) -> Answer:
    """The result of VERSION."""
    return _json(0, {"cniVersion": asked, "supportedVersions": list(VERSIONS)})


def failed(version: str, error: CniError) -> Answer:
    """An error of any verb."""
    body: dict[str, Any] = {"cniVersion": version, "code": int(error.code), "msg": error.problem}
    if error.hint:
        body["details"] = error.hint
    return _json(1, body)


def address_of(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address of an entry of ``ips`` such as ``10.1.0.2/32``; None for what is none."""
    try:
        return ipaddress.ip_interface(text).ip
    except ValueError:
        return None


def _json(exit_code: int, body: dict[str, Any]) -> Answer:
    return Answer(exit_code, msgspec.json.format(msgspec.json.encode(body), indent=2) + b"\n")
