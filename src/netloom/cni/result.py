"""Answers to a runtime, in the shape of the version that it asked in. Pure. In: values. Out: JSON.

Not here: what differs between versions, and results of plugins before us (``previous``).
"""

from __future__ import annotations

from typing import Any

import msgspec

from netloom.cni import previous
from netloom.cni.attach import PodInterface
from netloom.cni.codes import CniError
from netloom.cni.request import CniRequest
from netloom.cni.versions import VERSIONS
from netloom.program import names


class Answer(msgspec.Struct, frozen=True):
    """What the shim is to print, and the exit code that it is to end with."""

    exit_code: int
    body: bytes


NOTHING = Answer(0, b"")
"""Success of a verb that has no result (DEL, CHECK, GC, STATUS)."""


def added(request: CniRequest, made: PodInterface) -> Answer:
    """The result of ADD: what earlier plugins of the chain said, and our interface."""
    node: dict[str, Any] = {"name": made.host_link, "mac": names.HOST_SIDE_MAC, "mtu": made.mtu}
    pod: dict[str, Any] = {
        "name": made.interface,
        "mac": made.mac,
        "mtu": made.mtu,
        "sandbox": request.netns_path,
    }
    ours = previous.document(
        request.version,
        (node, pod),
        ({"interface": 1, "address": str(interface)} for interface in made.interfaces()),
        ({"dst": str(r.destination), "gw": str(r.via)} for r in made.pod_routes()),
        previous.dns_entry(request.dns),
    )
    return _json(0, previous.joined(request.previous, ours))


def versions(asked: str) -> Answer:
    """The result of VERSION."""
    return _json(0, {"cniVersion": asked, "supportedVersions": list(VERSIONS)})


def failed(version: str, error: CniError) -> Answer:
    """An error of any verb."""
    body: dict[str, Any] = {"cniVersion": version, "code": int(error.code), "msg": error.problem}
    if error.hint:
        body["details"] = error.hint
    return _json(1, body)


def _json(exit_code: int, body: dict[str, Any]) -> Answer:
    return Answer(exit_code, msgspec.json.format(msgspec.json.encode(body), indent=2) + b"\n")
