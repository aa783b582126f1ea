"""What a stand-in answers: who it is, and whom it sees. Pure.

In: the container's identity, the peer's and our own address, the request. Out: bytes. HTTP clients get text or (with
``Accept: application/json``) JSON; plain TCP and UDP clients get one line of JSON
with the same facts.
"""

from __future__ import annotations

import msgspec

from netloom.local.runner.http1 import Request

Address = tuple[str, int]
_encode = msgspec.json.Encoder().encode


class Identity(msgspec.Struct, frozen=True):
    """Which container of which pod answers."""

    pod: str
    namespace: str
    node: str
    container: str
    image: str


class _Facts(msgspec.Struct, frozen=True):
    """The JSON body."""

    pod: str
    namespace: str
    node: str
    container: str
    image: str
    peer: str
    local: str
    method: str
    path: str
    body_bytes: int = msgspec.field(name="bodyBytes")
    headers: dict[str, str]


class _Line(msgspec.Struct, frozen=True):
    """The answer outside of HTTP."""

    pod: str
    namespace: str
    node: str
    container: str
    peer: str
    local: str
    said: str


def spoken(address: Address) -> str:
    """``address:port`` as URLs write it."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def normal(sockname: object) -> Address:
    """Address and port of a socket name; IPv4 addresses seen through an IPv6 socket become plain ones (RFC 4291, 2.5.5.2)."""
    if not isinstance(sockname, tuple) or len(sockname) < 2:
        return ("?", 0)
    host, port = str(sockname[0]), int(sockname[1])
    return (host.removeprefix("::ffff:") if "." in host else host, port)


def http(
    identity: Identity, request: Request, *, peer: Address, local: Address, body_bytes: int, closes: bool
) -> bytes:
    """A whole 200 response; for HEAD without its body. ``closes``: it is the last one on its connection."""
    if "application/json" in request.headers.get("accept", ""):
        kind, body = "application/json", _json(identity, request, peer, local, body_bytes)
    else:
        kind, body = "text/plain; charset=utf-8", _text(identity, request, peer, local)
    connection = "close" if closes else "keep-alive"
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        f"Server: netloom-standin\r\nConnection: {connection}\r\n\r\n"
    )
    return head.encode() if request.method == "HEAD" else head.encode() + body


def line(identity: Identity, *, peer: Address, local: Address, said: bytes) -> bytes:
    """One line of JSON for clients that do not speak HTTP; ``said`` repeats the first 200 bytes of what they sent."""
    quoted = said[:200].decode("utf-8", "backslashreplace").strip()
    return (
        _encode(
            _Line(
                pod=identity.pod,
                namespace=identity.namespace,
                node=identity.node,
                container=identity.container,
                peer=spoken(peer),
                local=spoken(local),
                said=quoted,
            )
        )
        + b"\n"
    )


def _text(identity: Identity, request: Request, peer: Address, local: Address) -> bytes:
    facts = (
        f"hostname: {identity.pod}\nnamespace: {identity.namespace}\nnode: {identity.node}\n"
        f"container: {identity.container}\npeer: {spoken(peer)}\nlocal: {spoken(local)}\n"
        f"request: {request.method} {request.target}\n"
    )
    headers = "".join(f"header {name}: {value}\n" for name, value in request.headers.items())
    return (facts + headers).encode("utf-8", "replace")


def _json(identity: Identity, request: Request, peer: Address, local: Address, body_bytes: int) -> bytes:
    return (
        _encode(
            _Facts(
                pod=identity.pod,
                namespace=identity.namespace,
                node=identity.node,
                container=identity.container,
                image=identity.image,
                peer=spoken(peer),
                local=spoken(local),
                method=request.method,
                path=request.target,
                body_bytes=body_bytes,
                headers=dict(request.headers),
            )
        )
        + b"\n"
    )
