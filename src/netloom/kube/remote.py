"""Programs in pods, through the API: exec over WebSocket, protocol v5.channel.k8s.io.

In: a pod, a command, byte streams. Out: the exit code. The protocol (one leading byte names the channel: 0 input,
1 output, 2 error output, 3 status, 4 terminal size, 255 half-close) is that of the Kubernetes remotecommand subprotocols.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import aiohttp
import msgspec

from netloom.errors import NetloomError, Unavailable
from netloom.kube.client import KubeClient
from netloom.kube.resources import PODS
from netloom.units import ObjectKey

PROTOCOL = "v5.channel.k8s.io"
_INPUT, _OUTPUT, _ERROR, _STATUS, _RESIZE, _CLOSE = 0, 1, 2, 3, 4, 255


class Streams(msgspec.Struct, frozen=True):
    """What the command is joined to. ``size`` yields (columns, rows) on each change of the terminal; only with a tty."""

    output: Callable[[bytes], None]
    error: Callable[[bytes], None]
    input: AsyncIterator[bytes] | None = None
    size: AsyncIterator[tuple[int, int]] | None = None


async def run_in_pod(
    client: KubeClient,
    pod: ObjectKey,
    command: Sequence[str],
    streams: Streams,
    *,
    container: str = "",
    tty: bool = False,
) -> int:
    """Run a command in a container of a pod; its exit code.

    Raises:
        NotFound: no such pod or container.
        NetloomError: the command could not be started; says why.
        Unavailable: the connection broke before the command ended.
    """
    params = [("command", word) for word in command] + [("stdout", "true")]
    params += [("container", container)] if container else []
    params += [("stdin", "true")] if streams.input is not None else []
    params.append(("tty", "true") if tty else ("stderr", "true"))
    path = PODS.path(pod.namespace, pod.name, "exec")
    async with (
        client.websocket(path, params=params, protocol=PROTOCOL, subject=f"exec in Pod {pod}") as socket,
        asyncio.TaskGroup() as group,
    ):
        sending = [group.create_task(_send_input(socket, streams.input))] if streams.input is not None else []
        if streams.size is not None:
            sending.append(group.create_task(_send_size(socket, streams.size)))
        try:
            return await _receive(socket, streams, pod)
        finally:
            for task in sending:
                task.cancel()


async def _send_input(socket: aiohttp.ClientWebSocketResponse, source: AsyncIterator[bytes]) -> None:
    try:
        async for data in source:
            await socket.send_bytes(bytes((_INPUT,)) + data)
        await socket.send_bytes(bytes((_CLOSE, _INPUT)))
    except ConnectionError:
        return  # the command has ended and does not read any more


async def _send_size(socket: aiohttp.ClientWebSocketResponse, source: AsyncIterator[tuple[int, int]]) -> None:
    async for width, height in source:
        await socket.send_bytes(bytes((_RESIZE,)) + msgspec.json.encode({"Width": width, "Height": height}))


async def _receive(socket: aiohttp.ClientWebSocketResponse, streams: Streams, pod: ObjectKey) -> int:
    async for message in socket:
        if message.type is not aiohttp.WSMsgType.BINARY or not message.data:
            continue
        channel, data = message.data[0], message.data[1:]
        if channel == _OUTPUT and data:
            streams.output(data)
        elif channel == _ERROR and data:
            streams.error(data)
        elif channel == _STATUS:
            return _exit_code(msgspec.json.decode(data), pod)
    raise Unavailable(f"exec in Pod {pod}: the connection ended before the command did", "try again")


def _exit_code(status: dict[str, Any], pod: ObjectKey) -> int:
    if status.get("status") == "Success":
        return 0
    for cause in (status.get("details") or {}).get("causes") or ():
        if cause.get("reason") == "ExitCode":
            return int(cause["message"])
    raise NetloomError(f"exec in Pod {pod}: {status.get('message', 'failed')}", "see: kubectl describe pod")
