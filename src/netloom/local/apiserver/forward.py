"""The ``proxy`` subresource of pods, services and nodes: a request of any method, passed on to a port in the cluster.

Comes in: a path under ``.../proxy`` with query, headers and body. Goes out: what answers there, byte by byte, upgrades included. The way leads
through the runner of a node (``runner/streams/dial.py``): this server is on no network that knows pods. Not here: who may ask (access), the
streams of pods (proxy.py), links in HTML, which stay as they are.
Source: core/v1 ``connect*Proxy`` operations; ``[scheme:]name[:port]`` is read as kube-apiserver does.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import msgspec
from aiohttp import web

from netloom.local.apiserver import kinds, status
from netloom.local.apiserver.history import Record
from netloom.local.apiserver.kind import Kind
from netloom.local.apiserver.objects import Objects
from netloom.local.apiserver.proxy import ANSWER_S, HEAD_LIMIT, Beside, Handed, Proxy, hand_over
from netloom.units import parse_addr

_SERVICE_NAME = "kubernetes.io/service-name"
_HOP = frozenset({b"connection", b"keep-alive", b"te", b"trailer", b"expect", b"proxy-connection"})
_OURS = frozenset({b"host", b"authorization", b"content-length", b"transfer-encoding", b"upgrade"})


class Asked(msgspec.Struct, frozen=True):
    """A path under ``proxy``."""

    kind: Kind
    namespace: str
    target: str
    """``[scheme:]name[:port]``."""
    prefix: str
    """The path up to and with ``proxy``, as it was sent."""
    suffix: str
    """What follows, as it was sent; empty: there is not even a slash."""


class Place(msgspec.Struct, frozen=True):
    """Where a request goes; ``port`` 0: to the runner of the node itself, which answers as its kubelet."""

    node: str
    address: str = ""
    port: int = 0
    tls: bool = False

    @property
    def authority(self) -> str:
        """For the Host header."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}" if self.port else self.node


def read_path(raw_path: str, parts: list[str]) -> Asked | None:
    """What a path asks of a ``proxy`` subresource; None where it names none. ``parts`` are those of the path, decoded."""
    if not raw_path.startswith("/api/"):
        return None
    match parts:
        case ["api", "v1", "namespaces", namespace, ("pods" | "services") as plural, target, "proxy", *_]:
            kind, depth = (kinds.PODS if plural == "pods" else kinds.SERVICES), 7
        case ["api", "v1", "nodes", target, "proxy", *_]:
            kind, namespace, depth = kinds.NODES, "", 5
        case _:
            return None
    pieces = raw_path.split("/")
    prefix = "/".join(pieces[: depth + 1])
    return Asked(kind, namespace, target, prefix, raw_path[len(prefix) :])


class Forwarding:
    """Passes requests on.

    Args:
        objects: where pods, Services and endpoints are looked up.
        proxy: knows the runners' sockets, and which connections are open.
    """

    def __init__(self, objects: Objects, proxy: Proxy) -> None:
        self._objects = objects
        self._proxy = proxy

    async def serve(self, request: web.Request, asked: Asked) -> web.StreamResponse:
        """Answer with what answers there.

        Raises:
            ApiError: 400 or 404, the target; 503, nobody answers there.
        """
        place = self._place(asked)
        if not asked.suffix and request.method in {"GET", "HEAD"}:
            query = f"?{request.rel_url.raw_query_string}" if request.query_string else ""
            return web.Response(status=301, headers={"Location": f"{asked.prefix}/{query}"})
        transport = request.transport
        if transport is None:
            raise ConnectionResetError
        reader, writer = await self._proxy.open(place.node)
        try:
            if place.port:
                await _dial(reader, writer, place)
            return await _exchange(request, transport, reader, writer, asked, place)
        except ExceptionGroup as several:
            raise several.exceptions[0] from None
        finally:
            self._proxy.done(writer)

    def _place(self, asked: Asked) -> Place:
        scheme, name, port = _split(asked)
        record = self._objects.get(asked.kind, asked.namespace, name)
        tls = scheme == "https"
        if asked.kind is kinds.PODS:
            return _place_of_pod(record, port, tls=tls)
        if asked.kind is kinds.NODES:
            return _place_of_node(record, port, tls=tls)
        return self._place_of_service(record, port, tls=tls)

    def _place_of_service(self, service: Record, port: str, *, tls: bool) -> Place:
        ports: list[dict[str, Any]] = service.document()["spec"].get("ports") or []
        chosen = [p for p in ports if port in {p.get("name") or "", str(p.get("port"))}]
        if not port and len(ports) == 1:
            chosen = ports
        if not chosen:
            raise status.unavailable(f'no service port "{port}" found for service "{service.name}"')
        found = list(self._endpoints(service, chosen[0].get("name") or ""))
        if not found:
            raise status.unavailable(f'no endpoints available for service "{service.name}"')
        node, address, number = random.choice(found)  # noqa: S311 - no secret
        return Place(node or self._any_node(), address, number, tls)

    def _endpoints(self, service: Record, port: str) -> Iterator[tuple[str, str, int]]:
        """Node, address and port of each endpoint that is ready."""
        for record in self._objects.store.scan(kinds.ENDPOINT_SLICES, service.namespace):
            if record.labels.get(_SERVICE_NAME) != service.name:
                continue
            slice_ = record.document()
            numbers = [p.get("port") for p in slice_.get("ports") or () if (p.get("name") or "") == port]
            for endpoint in slice_.get("endpoints") or () if numbers and numbers[0] else ():
                if (endpoint.get("conditions") or {}).get("ready") is not False:
                    yield endpoint.get("nodeName") or "", endpoint["addresses"][0], numbers[0]

    def _any_node(self) -> str:
        """A node that runs, for an address that is on none."""
        names = (record.name for record in self._objects.store.scan(kinds.NODES))
        node = next((name for name in names if self._proxy.is_there(name)), None)
        if node is None:
            raise status.unavailable("no node runs that could reach this address")
        return node


def _split(asked: Asked) -> tuple[str, str, str]:
    """Scheme, name and port."""
    parts = asked.target.split(":")
    match parts:
        case [name]:
            return "", name, ""
        case [name, port]:
            return "", name, port
        case [("http" | "https" | "") as scheme, name, port]:
            return scheme, name, port
        case _:
            raise status.bad_request(f'invalid {asked.kind.kind.lower()} request "{asked.target}"')


def _number(text: str, default: int) -> int:
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
        raise status.bad_request(f'invalid port "{text}"')
    return int(text)


def _place_of_pod(record: Record, port: str, *, tls: bool) -> Place:
    document = record.document()
    declared = [p for c in document["spec"].get("containers") or () for p in c.get("ports") or ()]
    address = (document.get("status") or {}).get("podIP") or ""
    node = document["spec"].get("nodeName") or ""
    if not node or parse_addr(address) is None:
        raise status.unavailable(f'pod "{record.name}" has no address yet')
    first = next((int(p["containerPort"]) for p in declared), 80)
    named = next((str(p["containerPort"]) for p in declared if port and p.get("name") == port), port)
    return Place(node, address, _number(named, first), tls)


def _place_of_node(record: Record, port: str, *, tls: bool) -> Place:
    number = _number(port, 0)
    addresses = (record.document().get("status") or {}).get("addresses") or ()
    address = next((a["address"] for a in addresses if a.get("type") == "InternalIP"), "")
    if number and parse_addr(address) is None:
        raise status.unavailable(f'node "{record.name}" has no address yet')
    return Place(record.name, address, number, tls)


async def _dial(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, place: Place) -> None:
    """Have the runner connect; from then on these are a connection to the place itself."""
    writer.write(
        f"GET /dial/{place.address}/{place.port} HTTP/1.1\r\nHost: node\r\n"
        "Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n".encode()
    )
    try:
        async with asyncio.timeout(ANSWER_S):
            head = await _head(reader, place)
    except TimeoutError as error:
        raise status.unavailable(f"error trying to reach service: {place.authority}: no answer") from error
    if not _is_upgrade(head):
        async with asyncio.timeout(ANSWER_S):
            why = (await reader.read(HEAD_LIMIT)).decode("utf-8", "replace").strip()
        if head.split(b" ", 2)[1:2] == [b"400"]:
            raise status.bad_request(why)
        raise status.unavailable(f"error trying to reach service: {why or place.authority}")
    if place.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # as kube-apiserver: pods' certificates are nobody's that we know
        try:
            await writer.start_tls(context)
        except (OSError, ssl.SSLError) as error:
            raise status.unavailable(f"error trying to reach service: {place.authority}: {error}") from error


async def _head(reader: asyncio.StreamReader, place: Place) -> bytes:
    """However long it takes: the target may think, and a client that has enough of it leaves."""
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (OSError, EOFError, asyncio.LimitOverrunError) as error:
        why = str(error) or type(error).__name__
        raise status.unavailable(f"error trying to reach service: {place.authority}: {why}") from error


async def _exchange(
    request: web.Request,
    transport: asyncio.Transport,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    asked: Asked,
    place: Place,
) -> web.StreamResponse:
    """Send the request and pass the answer on, at the same time: a target may answer before it has heard all, or never hear it."""
    client = Beside(transport)
    try:
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(_send(request, writer, asked, place), name="proxy request")
            gone = group.create_task(client.gone(), name="proxy client")
            head = group.create_task(_answer_head(reader, asked, place), name="proxy answer")
            await asyncio.wait((head, gone), return_when=asyncio.FIRST_COMPLETED)
            if head.done() and not _is_upgrade(head.result()):
                passing = group.create_task(client.answer(head.result(), reader), name="proxy answer's body")
                await asyncio.wait((passing, gone), return_when=asyncio.FIRST_COMPLETED)
                passing.cancel()
            for task in (head, gone, sending):
                task.cancel()
    finally:
        client.release()
    if head.cancelled():
        raise ConnectionResetError
    if _is_upgrade(head.result()):
        return await hand_over(transport, head.result(), reader, writer)
    return Handed()


async def _send(request: web.Request, writer: asyncio.StreamWriter, asked: Asked, place: Place) -> None:
    """Head and body, as far as the target wants them; what it has to say of it is in its answer."""
    with contextlib.suppress(ConnectionError):
        await _send_all(request, writer, asked, place)


async def _send_all(request: web.Request, writer: asyncio.StreamWriter, asked: Asked, place: Place) -> None:
    """Head and body."""
    path = asked.suffix or "/"
    if request.query_string:
        path += f"?{request.rel_url.raw_query_string}"
    upgrade = "upgrade" in request.headers.get("Connection", "").lower()
    headers = [
        (b"Host", place.authority.encode()),
        (b"X-Forwarded-Uri", request.rel_url.raw_path.encode()),
        (b"X-Forwarded-Host", request.headers.get("Host", "").encode("latin-1", "replace")),
        (b"X-Forwarded-Proto", b"https" if request.secure else b"http"),
        (b"Connection", b"Upgrade" if upgrade else b"close"),
    ]
    if upgrade:
        headers.append((b"Upgrade", request.headers.get("Upgrade", "").encode("latin-1", "replace")))
    length = request.content_length
    has_body = request.can_read_body and not upgrade
    if has_body or length is not None:
        framing = (
            (b"Transfer-Encoding", b"chunked") if length is None else (b"Content-Length", b"%d" % length)
        )
        headers.append(framing)
    headers += [(n, v) for n, v in request.raw_headers if _passes(n.lower())]
    lines = [f"{request.method} {path} HTTP/1.1".encode(), *(n + b": " + v for n, v in headers)]
    writer.write(b"\r\n".join(lines) + b"\r\n\r\n")
    if has_body:
        async for piece in request.content.iter_any():
            writer.write(piece if length is not None else b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
        if length is None:
            writer.write(b"0\r\n\r\n")
    await writer.drain()


def _passes(name: bytes) -> bool:
    """Whether a header goes on to the target; who asks, and as whom, is between the client and us."""
    return name not in _HOP | _OURS and not name.startswith(b"impersonate-")


def _is_upgrade(head: bytes) -> bool:
    return head.split(b" ", 2)[1:2] == [b"101"]


async def _answer_head(reader: asyncio.StreamReader, asked: Asked, place: Place) -> bytes:
    """The answer's head as the client is to see it: redirects stay under ``proxy``, and the connection ends with the answer."""
    first, *lines = (await _head(reader, place)).removesuffix(b"\r\n\r\n").split(b"\r\n")
    if not first.startswith(b"HTTP/1."):
        raise status.unavailable(f"error trying to reach service: {place.authority} does not speak HTTP")
    is_upgrade = _is_upgrade(first)
    kept = [first]
    for line in lines:
        name, _, value = line.partition(b":")
        match name.strip().lower():
            case b"connection" if not is_upgrade:
                continue
            case b"location":
                kept.append(
                    b"Location: " + _moved(value.strip().decode("latin-1"), asked, place).encode("latin-1")
                )
            case _:
                kept.append(line)
    if not is_upgrade:
        kept.append(b"Connection: close")
    return b"\r\n".join(kept) + b"\r\n\r\n"


def _moved(location: str, asked: Asked, place: Place) -> str:
    """A redirect of the target, as a path of ours; those to elsewhere stay."""
    try:
        parts = urlsplit(location)
    except ValueError:
        return location
    if parts.netloc not in {"", place.authority} or not parts.path.startswith("/"):
        return location
    rest = parts._replace(scheme="", netloc="").geturl()
    return asked.prefix + rest
