"""pods/exec, attach, portforward and log: passed on to the node that runs the pod, byte by byte.

Comes in: a request for a pod. Goes out: whatever the node's runner answers on its unix socket; the protocols that run
over an upgraded connection (WebSocket, SPDY/3.1) are between the client and the runner. Not here: what a runner does.
Source: the paths are those that a kubelet serves.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
from aiohttp import web

from netloom.local.apiserver import status
from netloom.local.apiserver.history import Record
from netloom.local.apiserver.status import ApiError

STREAMS = frozenset({"exec", "attach", "portforward", "log"})
HEAD_LIMIT = 64 << 10
"""Bytes of a head of HTTP, and of what is read of a refusal."""
ANSWER_S = 30.0
"""Seconds in which what is behind a node must have begun to answer."""
_PIECE = 64 << 10
_DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
_KUBELET_WORDS = {"exec": "exec", "attach": "attach", "portforward": "portForward", "log": "containerLogs"}
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})")
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)\s*\r\n", re.IGNORECASE)


class Proxy:
    """Passes streams on to runners.

    Args:
        runner_socket: the unix socket of a node's runner, or None where there is no such node.
    """

    def __init__(self, runner_socket: Callable[[str], Path | None]) -> None:
        self._runner_socket = runner_socket
        self._open: set[asyncio.StreamWriter] = set()

    def close(self) -> None:
        """End every upgraded connection."""
        for writer in self._open:
            writer.close()

    async def serve(self, request: web.Request, pod: Record, verb: str) -> web.StreamResponse:
        """Answer one request for a stream of a pod.

        Raises:
            ApiError: 400, the pod has no node or no such container; 500, its node does not answer; or the runner's own.
        """
        document = pod.document()
        node = document["spec"].get("nodeName")
        if not node:
            raise status.bad_request(f"pod {pod.name} does not have a host assigned")
        parts = [_KUBELET_WORDS[verb], pod.namespace, pod.name]
        if verb != "portforward":
            parts.append(_container(pod, document, request.query.get("container", "")))
        path = "/" + "/".join(quote(p, safe="") for p in parts)
        if request.query_string:
            path += f"?{request.rel_url.raw_query_string}"
        socket_path = self._runner_socket(node)
        if socket_path is None:
            raise _unreachable(node, "no such node runs here")
        if "upgrade" in request.headers.get("Connection", "").lower():
            return await self._upgrade(request, socket_path, node, path)
        if verb != "log":
            raise status.bad_request("Upgrade request required")
        return await _pass(request, socket_path, node, path)

    async def _upgrade(
        self, request: web.Request, socket_path: Path, node: str, path: str
    ) -> web.StreamResponse:
        transport = request.transport
        if transport is None:
            raise ConnectionResetError
        reader, writer = await self._connect(socket_path, node)
        try:
            writer.write(_head(request, path))
            try:
                async with asyncio.timeout(ANSWER_S):
                    answer = await reader.readuntil(b"\r\n\r\n")
            except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError) as error:
                raise _unreachable(node, f"no answer: {str(error) or type(error).__name__}") from error
            code = _STATUS_LINE.match(answer)
            if code is None or code[1] != b"101":
                raise await _refusal(reader, answer, int(code[1]) if code else 500)
            return await hand_over(transport, answer, reader, writer)
        finally:
            self.done(writer)

    def is_there(self, node: str) -> bool:
        """Whether a node of this name runs here."""
        return self._runner_socket(node) is not None

    async def open(self, node: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to a node's runner, to be ended by `done`.

        Raises:
            ApiError: 500, it does not answer.
        """
        socket_path = self._runner_socket(node)
        if socket_path is None:
            raise _unreachable(node, "no such node runs here")
        return await self._connect(socket_path, node)

    def done(self, writer: asyncio.StreamWriter) -> None:
        """End a connection to a runner."""
        self._open.discard(writer)
        writer.close()

    async def _connect(
        self, socket_path: Path, node: str
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            reader, writer = await asyncio.open_unix_connection(socket_path, limit=HEAD_LIMIT)
        except OSError as error:
            raise _unreachable(node, str(error)) from error
        self._open.add(writer)
        return reader, writer


class _Taken(asyncio.StreamReaderProtocol):
    """The client's connection once HTTP is over. The HTTP server hears of its end after we are done with it."""

    def __init__(self, reader: asyncio.StreamReader, server: asyncio.BaseProtocol) -> None:
        super().__init__(reader)
        self._server = server
        self._lost = False
        self._released = False

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        super().connection_lost(exc)
        self._lost = True
        if self._released:
            self._server.connection_lost(exc)

    def release(self) -> None:
        """We are done: let the server clean up, now or when the connection ends."""
        self._released = True
        if self._lost:
            self._server.connection_lost(None)


class _Client:
    """Both directions of a connection that was taken over."""

    def __init__(self, transport: asyncio.Transport, server: asyncio.BaseProtocol) -> None:
        loop = asyncio.get_running_loop()
        self.reader = asyncio.StreamReader(limit=_PIECE, loop=loop)
        self._protocol = _Taken(self.reader, server)
        self._protocol.connection_made(transport)
        transport.set_protocol(self._protocol)
        transport.resume_reading()
        self.writer = asyncio.StreamWriter(transport, self._protocol, self.reader, loop)

    def release(self) -> None:
        """Close, and give the connection back to the server's bookkeeping."""
        self.writer.close()
        self._protocol.release()


class Beside(asyncio.Protocol):
    """A client's connection from which the HTTP server still reads a body, while the answer is written by us, byte by byte."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._server: Any = transport.get_protocol()
        self._transport = transport
        self._left = asyncio.Event()
        self._may_write = asyncio.Event()
        self._may_write.set()
        if transport.is_closing():
            self._left.set()
        transport.set_protocol(self)

    def data_received(self, data: bytes) -> None:
        """Of the request's body."""
        self._server.data_received(data)

    def eof_received(self) -> bool:
        """The client says no more."""
        return bool(self._server.eof_received())

    def pause_writing(self) -> None:
        """The client does not read."""
        self._may_write.clear()
        self._server.pause_writing()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._may_write.set()
        self._server.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._left.set()
        self._may_write.set()
        self._server.connection_lost(exc)

    async def gone(self) -> None:
        """Wait until the client is gone."""
        await self._left.wait()

    async def answer(self, head: bytes, reader: asyncio.StreamReader) -> None:
        """Pass an answer on until it ends, or the client is gone."""
        self._transport.write(head)
        with contextlib.suppress(OSError):
            while (piece := await reader.read(_PIECE)) and not self._transport.is_closing():
                self._transport.write(piece)
                await self._may_write.wait()
        if self._transport.can_write_eof() and not self._transport.is_closing():
            self._transport.write_eof()

    def release(self) -> None:
        """Give the connection back to the HTTP server."""
        self._transport.set_protocol(self._server)


class Handed(web.StreamResponse):
    """What the HTTP server is told of a connection that is no longer HTTP: there is nothing to send."""

    def __init__(self) -> None:
        super().__init__(status=101)
        self.force_close()

    async def prepare(self, request: web.BaseRequest) -> None:
        """The runner's answer has gone out already."""

    async def write_eof(self, data: bytes | bytearray | memoryview = b"") -> None:
        """Nothing follows."""


async def hand_over(
    transport: asyncio.Transport, answer: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> Handed:
    """Take a client's connection from the HTTP server, send it the answer, and copy both ways until one side ends."""
    client = _Client(transport, transport.get_protocol())
    try:
        client.writer.write(answer)
        await _splice(client.reader, client.writer, reader, writer)
    finally:
        client.release()
    return Handed()


async def _splice(
    client_reader: asyncio.StreamReader,
    client_writer: asyncio.StreamWriter,
    runner_reader: asyncio.StreamReader,
    runner_writer: asyncio.StreamWriter,
) -> None:
    """Copy both ways until one side ends; the other direction ends with it."""
    async with asyncio.TaskGroup() as both:
        up = both.create_task(_copy(client_reader, runner_writer), name="stream to runner")
        down = both.create_task(_copy(runner_reader, client_writer), name="stream to client")
        await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
        up.cancel()
        down.cancel()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while piece := await reader.read(_PIECE):
            writer.write(piece)
            await writer.drain()
    except OSError:
        return  # a peer that vanished is the end, like one that said goodbye


async def _pass(request: web.Request, socket_path: Path, node: str, path: str) -> web.StreamResponse:
    """An answer without upgrade: logs, for as long as they come."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=ANSWER_S)
    async with aiohttp.ClientSession(
        connector=aiohttp.UnixConnector(str(socket_path)), timeout=timeout
    ) as session:
        try:
            answer = await session.get(f"http://{node}{path}", allow_redirects=False)
        except (aiohttp.ClientError, OSError) as error:
            raise _unreachable(node, str(error)) from error
        async with answer:
            if answer.status >= 400:
                raise _translated(answer.status, await answer.content.read(HEAD_LIMIT))
            content_type = answer.headers.get("Content-Type", "text/plain")
            response = web.StreamResponse(status=answer.status, headers={"Content-Type": content_type})
            await response.prepare(request)
            async for piece in answer.content.iter_any():
                await response.write(piece)
            await response.write_eof()
            return response


def _container(pod: Record, document: dict[str, Any], asked: str) -> str:
    spec = document["spec"]
    names = [c.get("name", "") for c in spec.get("containers") or ()]
    others = [*(spec.get("initContainers") or ()), *(spec.get("ephemeralContainers") or ())]
    if asked:
        if asked not in names and asked not in [c.get("name") for c in others]:
            raise status.bad_request(f"container {asked} is not valid for pod {pod.name}")
        return asked
    annotated = (document["metadata"].get("annotations") or {}).get(_DEFAULT_CONTAINER, "")
    return str(annotated if annotated in names else names[0])


def _head(request: web.Request, path: str) -> bytes:
    lines = [f"{request.method} {path} HTTP/1.1".encode(), b"Host: node"]
    lines += [
        name + b": " + value
        for name, value in request.raw_headers
        if name.lower() not in {b"host", b"authorization"}
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n"


async def _refusal(reader: asyncio.StreamReader, head: bytes, code: int) -> ApiError:
    length = _CONTENT_LENGTH.search(head)
    body = b""
    try:
        async with asyncio.timeout(ANSWER_S):
            wanted = min(int(length[1]), HEAD_LIMIT) if length else 0
            body = await reader.readexactly(wanted) if length else await reader.read(HEAD_LIMIT)
    except (OSError, EOFError, TimeoutError):
        pass  # the code alone says enough
    return _translated(code, body)


_REASONS = {400: "BadRequest", 403: "Forbidden", 404: "NotFound", 409: "Conflict", 503: "ServiceUnavailable"}


def _translated(code: int, body: bytes) -> ApiError:
    """A runner's refusal as ours."""
    text = body.decode("utf-8", "replace").strip() or f"the node answered {code}"
    return ApiError(code if code >= 400 else 500, _REASONS.get(code, "InternalError"), text)


def _unreachable(node: str, why: str) -> ApiError:
    return ApiError(500, "InternalError", f"error dialing backend: node {node}: {why}")
