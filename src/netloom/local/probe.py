"""Runs inside a pod: tries each target with the pod's own resolver, routes and addresses, and says what it saw.

Sent as program text to a bare interpreter (`netloom.local.verify` does that), so: the standard library only, and no
netloom. In: a JSON list of targets on standard input. Out: a JSON list of outcomes on standard output, in order.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from typing import Any

TIMEOUT_S = 3.0
_FAMILIES = {"IPv4": socket.AF_INET, "IPv6": socket.AF_INET6}
_REQUEST = b"GET / HTTP/1.1\r\nHost: probe\r\nAccept: application/json\r\nConnection: close\r\n\r\n"


def probe(target: dict[str, Any]) -> dict[str, Any]:
    """One target: ``host``, ``port``, ``protocol``, and the ``family`` to look a name up in; never raises."""
    outcome: dict[str, Any] = {"reached": False}
    began = time.monotonic()
    kind = socket.SOCK_DGRAM if target["protocol"] == "UDP" else socket.SOCK_STREAM
    try:
        family = _FAMILIES.get(target.get("family", ""), socket.AF_UNSPEC)
        found = socket.getaddrinfo(target["host"], target["port"], family=family, type=kind)
        outcome["addresses"] = sorted({str(f[4][0]) for f in found})
        outcome |= ask(found[0][0], kind, (found[0][4][0], found[0][4][1]))
    except (OSError, ValueError) as error:
        outcome["error"] = f"{type(error).__name__}: {error}"
    outcome["ms"] = round((time.monotonic() - began) * 1000, 2)
    return outcome


def ask(family: int, kind: int, address: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever getaddrinfo gave
    """Connect, ask, and read the answer of a stand-in."""
    with socket.socket(family, kind) as made:
        made.settimeout(TIMEOUT_S)
        made.connect(address)
        made.sendall(_REQUEST)
        local = made.getsockname()[0]
        if kind == socket.SOCK_DGRAM:
            body = made.recv(65535)
        else:
            data = b""
            while piece := made.recv(65535):
                data += piece
            body = data.partition(b"\r\n\r\n")[2]
    answer = json.loads(body)
    return {
        "reached": True,
        "local": local,
        "pod": f"{answer['namespace']}/{answer['pod']}",
        "peer": answer["peer"],
    }


if __name__ == "__main__":
    json.dump([probe(target) for target in json.load(sys.stdin)], sys.stdout)
