"""exec and attach over SPDY/3.1: one stream each for stdin, stdout, stderr, status and terminal size (v4.channel.k8s.io).

The client opens them and names each by the header ``streamtype``.
"""

from __future__ import annotations

import asyncio

from netloom.errors import Unavailable
from netloom.local.runner.streams.remote import Inbox, Wish
from netloom.local.runner.streams.spdy_session import Session, Stream

PROTOCOLS = ("v4.channel.k8s.io",)
_STREAMS_S = 30.0


class SpdyRemote:
    """A client that speaks this."""

    def __init__(self, session: Session, wish: Wish) -> None:
        self.inbox = Inbox()
        self._session = session
        self._streams: dict[str, Stream] = {}
        self._complete = asyncio.Event()
        wanted = {
            "error": True,
            "stdin": wish.stdin,
            "stdout": wish.stdout,
            "stderr": wish.stderr and not wish.tty,
            "resize": wish.tty,
        }
        self._wanted = {kind for kind, is_wanted in wanted.items() if is_wanted}

    async def ready(self) -> None:
        """Wait for all streams that the wish needs.

        Raises:
            Unavailable: they did not come in time.
        """
        try:
            async with asyncio.timeout(_STREAMS_S):
                await self._complete.wait()
        except TimeoutError:
            missing = sorted(self._wanted - set(self._streams))
            raise Unavailable(f"the client did not open its streams {missing}") from None

    async def run(self) -> None:
        """Read the connection, sort its streams, fill the inbox."""
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(self._session.run(), name="spdy")
            sorting = group.create_task(self._sort(), name="spdy streams")
            await asyncio.wait((reading,))
            self.inbox.gone.set()
            sorting.cancel()

    async def write(self, data: bytes, *, error: bool = False) -> None:
        """Send output."""
        if (stream := self._streams.get("stderr" if error else "stdout")) is not None:
            await stream.write(data)

    async def finish(self, status: bytes) -> None:
        """Send the Status, end all streams, and the connection."""
        if (errors := self._streams.get("error")) is not None:
            await errors.write(status)
        for stream in self._streams.values():
            await stream.close()
        await self._session.close()

    async def _sort(self) -> None:
        async with asyncio.TaskGroup() as group:
            while (stream := await self._session.accept()) is not None:
                kind = stream.headers.get("streamtype", "")
                if kind not in self._wanted or kind in self._streams:
                    await stream.reset()
                    continue
                self._streams[kind] = stream
                if kind == "stdin":
                    group.create_task(self._read_stdin(stream), name="stdin")
                elif kind == "resize":
                    group.create_task(self._read_sizes(stream), name="resize")
                if len(self._streams) == len(self._wanted):
                    self._complete.set()

    async def _read_stdin(self, stream: Stream) -> None:
        while data := await stream.read():
            await self.inbox.stdin.put(data)
        await self.inbox.stdin.put(b"")

    async def _read_sizes(self, stream: Stream) -> None:
        while data := await stream.read():
            for line in data.splitlines():
                self.inbox.resize(line)
