"""The runner's HTTP server on a unix socket, with the paths of a kubelet: exec, attach, portForward, containerLogs.

In: requests that the API server passes on. Out: streams. One request per connection. Errors are plain text, as a kubelet's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator

from netloom.clock import Clock
from netloom.errors import NetloomError, NotFound
from netloom.local.runner import http1
from netloom.local.runner.http1 import BadRequest, Request, response_head
from netloom.local.runner.standins.feed import ReadLog
from netloom.local.runner.streams import channels, dial, logs, portforward, portforward_channels, spdy_remote
from netloom.local.runner.streams import websocket as ws
from netloom.local.runner.streams.channels import ChannelRemote
from netloom.local.runner.streams.exec import serve_exec
from netloom.local.runner.streams.logs import LogWish, flag
from netloom.local.runner.streams.remote import Remote, Wish
from netloom.local.runner.streams.spdy_remote import SpdyRemote
from netloom.local.runner.streams.spdy_session import ByteStream, RawBytes, Session, WebSocketBytes
from netloom.local.runner.streams.target import Target, Targets
from netloom.local.runner.streams.websocket import WebSocket

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 256
"""Streams at the same time; each may hold a process, a terminal and a log."""
_HEAD_S = 10.0
_TUNNEL = "SPDY/3.1+"
"""Prefix of WebSocket subprotocols whose messages carry SPDY."""
_SPDY = "spdy/3.1"
_VERSIONS = "x-stream-protocol-version"


class StreamServer:
    """Serves streams of this node's pods."""

    def __init__(self, *, targets: Targets, clock: Clock) -> None:
        self._targets = targets
        self._clock = clock
        self._open = 0

    async def listen(self, path: str) -> asyncio.Server:
        """Begin to serve; the caller closes what it gets."""
        server = await asyncio.start_unix_server(self._connection, path, limit=http1.MAX_HEAD)
        os.chmod(path, 0o600)
        return server

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open > MAX_CONNECTIONS:
                await _refuse(writer, 503, f"this node serves {MAX_CONNECTIONS} streams already; end some")
                return
            async with asyncio.timeout(_HEAD_S):
                head = await reader.readuntil(http1.END)
            await self._answer(http1.parse(head), reader, writer)
        except BadRequest as error:
            await _refuse(writer, error.status, error.problem)
        except NotFound as error:
            await _refuse(writer, 404, str(error))
        except NetloomError as error:
            await _refuse(writer, 500, str(error))
        except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError):
            pass  # the client left, or never said anything that can be answered
        except Exception:  # the boundary of one request: the others go on
            log.exception("a stream failed")
        finally:
            self._open -= 1
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        match request.segments:
            case ("exec", namespace, pod, *container) if len(container) <= 1:
                await self._exec(request, self._target(namespace, pod, container), reader, writer)
            case ("attach", namespace, pod, *container) if len(container) <= 1:
                await self._attach(request, self._target(namespace, pod, container), reader, writer)
            case ("portForward", namespace, pod):
                await self._portforward(request, self._targets.find(namespace, pod, ""), reader, writer)
            case ("containerLogs", namespace, pod, container_name):
                target = self._targets.find(namespace, pod, container_name)
                await self._logs(request, target, reader, writer)
            case ("dial", address, port):
                await dial.serve_dial(address, port, reader, writer)
            case ("healthz",):
                await _send(writer, 200, b"ok\n")
            case _:
                raise BadRequest(f"no such path: {request.path}", 404)

    def _target(self, namespace: str, pod: str, container: list[str]) -> Target:
        return self._targets.find(namespace, pod, container[0] if container else "")

    async def _exec(
        self, request: Request, target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        wish = _wish(request)
        if not wish.command:
            raise BadRequest("command: is not set")
        life = target.must_run()
        env = await target.environment()
        cwd = target.container.working_dir if life.running is None else ""
        remote = await _upgrade(request, wish, reader, writer)
        await serve_exec(remote, target.spawn, wish, env, cwd)

    async def _attach(
        self, request: Request, target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Join a program's standard streams. A stand-in's output is its log, from now on; it reads no input."""
        wish = _wish(request)
        program = target.must_run().running
        remote = await _upgrade(request, wish, reader, writer)
        if program is not None:
            await program.attach(remote, wish)
            return
        async with asyncio.TaskGroup() as group:
            incoming = group.create_task(remote.run(), name="attach input")
            await remote.ready()
            showing = group.create_task(self._show(remote, target), name="attach output")
            ignoring = group.create_task(_ignore_input(remote), name="attach stdin")
            await asyncio.wait((incoming,))
            showing.cancel()
            ignoring.cancel()

    async def _show(self, remote: Remote, target: Target) -> None:
        wish = ReadLog(uid=target.pod.pod.uid, container=target.container.name, tail=0, follow=True)
        with contextlib.suppress(NetloomError):  # the log has ended, or the stand-in process has
            async with contextlib.aclosing(self._targets.read_log(target, wish)) as pieces:
                async for lines in pieces:
                    await remote.write(logs.text_of(lines, timestamps=False))

    async def _portforward(
        self, request: Request, target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if ws.is_upgrade(request):
            offered = (_TUNNEL + portforward.PROTOCOL, *portforward_channels.PROTOCOLS)
            answer, protocol = ws.handshake(request, offered)
            if protocol in portforward_channels.PROTOCOLS:
                ports = portforward_channels.ports_of(request)
                writer.write(answer)
                client, pod = WebSocket(reader, writer), str(target.pod.pod.key)
                await portforward_channels.serve_channels(client, ports, target.netns, pod)
                return
            writer.write(answer)
            carrier: ByteStream = WebSocketBytes(WebSocket(reader, writer))
        else:
            writer.write(_spdy_handshake(request, (portforward.PROTOCOL,)))
            carrier = RawBytes(reader, writer)
        await portforward.serve_portforward(Session(carrier), target.netns, str(target.pod.pod.key))

    async def _logs(
        self, request: Request, target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        wish = logs.wish_of(request.query, now=self._clock.wall())
        read = ReadLog(
            uid=target.pod.pod.uid,
            container=target.container.name,
            previous=wish.previous,
            tail=wish.tail,
            since=wish.since,
            follow=wish.follow,
        )
        pieces = _limited(self._texts(target, read, wish), wish.limit)
        try:
            first = await anext(pieces, b"")
        except NotFound as error:
            raise BadRequest(error.problem) from error
        headers = {"Content-Type": "text/plain", "Transfer-Encoding": "chunked", "Connection": "close"}
        writer.write(response_head(200, headers))
        async with contextlib.aclosing(pieces), asyncio.TaskGroup() as group:
            sending = group.create_task(_send_chunks(writer, first, pieces), name="logs")
            leaving = group.create_task(_cancel_at_end(reader, sending), name="log reader")
            await asyncio.wait((sending,))
            leaving.cancel()

    async def _texts(self, target: Target, read: ReadLog, wish: LogWish) -> AsyncGenerator[bytes, None]:
        if wish.follow:
            yield b""  # the head goes out at once, also where there is nothing to show yet
        async with contextlib.aclosing(self._targets.read_log(target, read)) as pieces:
            async for lines in pieces:
                yield logs.text_of(lines, timestamps=wish.timestamps)


def _wish(request: Request) -> Wish:
    query = request.query
    tty = flag(query, "tty")
    return Wish(
        command=tuple(query.get("command", ())),
        stdin=flag(query, "stdin", "input"),
        stdout=flag(query, "stdout", "output"),
        stderr=flag(query, "stderr", "error") and not tty,
        tty=tty,
    )


async def _upgrade(
    request: Request, wish: Wish, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> Remote:
    if ws.is_upgrade(request):
        answer, protocol = ws.handshake(request, channels.PROTOCOLS)
        writer.write(answer)
        return ChannelRemote(WebSocket(reader, writer), wish, protocol)
    writer.write(_spdy_handshake(request, spdy_remote.PROTOCOLS))
    return SpdyRemote(Session(RawBytes(reader, writer)), wish)


def _spdy_handshake(request: Request, offered: tuple[str, ...]) -> bytes:
    if _SPDY not in request.tokens("upgrade"):
        raise BadRequest("Upgrade request required: WebSocket or SPDY/3.1")
    asked = request.words(_VERSIONS)
    chosen = next((p for p in offered if p in asked), None)
    if chosen is None:
        raise BadRequest(
            f"unable to negotiate protocol: client supports {list(asked)}, server supports {list(offered)}",
            403,
        )
    headers = {"Connection": "Upgrade", "Upgrade": "SPDY/3.1", "X-Stream-Protocol-Version": chosen}
    return response_head(101, headers)


async def _ignore_input(remote: Remote) -> None:
    while True:
        await remote.inbox.stdin.get()


async def _limited(pieces: AsyncGenerator[bytes, None], limit: int | None) -> AsyncGenerator[bytes, None]:
    left = limit
    async with contextlib.aclosing(pieces):
        async for piece in pieces:
            yield piece if left is None else piece[:left]
            if left is not None and (left := left - len(piece)) <= 0:
                return


async def _send_chunks(writer: asyncio.StreamWriter, first: bytes, pieces: AsyncIterator[bytes]) -> None:
    with contextlib.suppress(OSError):
        piece = first
        while True:
            if piece:
                writer.write(b"%x\r\n" % len(piece) + piece + b"\r\n")
            await writer.drain()
            try:
                piece = await anext(pieces)
            except (StopAsyncIteration, NetloomError):
                break
        writer.write(b"0\r\n\r\n")
        await writer.drain()


async def _cancel_at_end(reader: asyncio.StreamReader, task: asyncio.Task[None]) -> None:
    """The client hangs up: nobody reads any more."""
    with contextlib.suppress(OSError):
        while await reader.read(4096):
            pass
    task.cancel()


async def _send(writer: asyncio.StreamWriter, status: int, body: bytes) -> None:
    headers = {"Content-Type": "text/plain", "Content-Length": str(len(body)), "Connection": "close"}
    with contextlib.suppress(OSError):
        writer.write(response_head(status, headers) + body)
        await writer.drain()


async def _refuse(writer: asyncio.StreamWriter, status: int, problem: str) -> None:
    await _send(writer, status, f"{problem}\n".encode())
