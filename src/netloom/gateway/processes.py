"""HAProxy as a process: started with our sockets, known to answer before it is relied on, told to finish when another has taken over.

Comes in: a directory with its files, descriptors of listening sockets. Goes out: a ``Running`` process with its runtime socket. Not here: when
(``engine.py``), what is in the files.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
from collections.abc import Mapping
from pathlib import Path

from netloom.errors import InvalidObject, Unavailable
from netloom.gateway.haproxy.told import CONFIG, socket_name
from netloom.gateway.runtime import Runtime
from netloom.linux import unix_sockets
from netloom.linux.process import Command, Process, spawn

_START_S = 30.0
_NOBODY = 65534
INNER_FOLDER = "inner"
"""Of sockets that only HAProxy may connect to."""
_REFUSED = re.compile(r"parsing \[[^\]:]*:(\d+)\]")
_FILE = re.compile(r"(?:certs|lists|authorities|keys|maps)/[\w.-]+")


class Refused(InvalidObject):
    """HAProxy takes nothing of this configuration.

    What it says may quote what users wrote, and whoever reads conditions need not read that: it is for the log of the node.

    Args:
        text: what it says.
    """

    def __init__(self, text: str) -> None:
        alerts = [line for line in text.splitlines() if "[ALERT]" in line] or text.splitlines()
        self.lines = tuple(int(number) for line in alerts for number in _REFUSED.findall(line))
        self.files = tuple(name for line in alerts for name in _FILE.findall(line))
        self.said = "\n".join(alerts)
        super().__init__(
            "HAProxy", "", "takes nothing of its configuration", "its words are in the node's log"
        )


class HaproxyProcess:
    """One HAProxy that answers.

    Args:
        process: of it.
        runtime: its socket.
        path: of that socket.
        inner: how the paths of its sockets to itself begin.
    """

    def __init__(self, process: Process, runtime: Runtime, path: Path, inner: Path) -> None:
        self._process = process
        self._inner = inner
        self._path = path
        self.runtime = runtime

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    async def wait(self) -> int:
        """Return when it has ended, with how it did."""
        return await self._process.wait()

    def finish(self) -> None:
        """It takes no new connections, and ends when those that it has are over."""
        self.runtime.close()
        self._process.kill(signal.SIGUSR1)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def leave(self) -> None:
        """Let go of it; it lives on, and its socket with it."""
        self.runtime.close()
        self._process.leave()

    def close(self) -> None:
        """Kill it where it still runs, and take away its socket."""
        self.runtime.close()
        self._process.close()
        self._path.unlink(missing_ok=True)
        for socket_file in (self._inner, *self._inner.parent.glob(f"{self._inner.name}-*")):
            socket_file.unlink(missing_ok=True)


def nobody() -> int | None:
    """The user without rights that a process of ours can become; None where we are not root, or alone in our user namespace."""
    if os.geteuid() != 0:
        return None
    maps = [Path(f"/proc/self/{kind}_map").read_text().splitlines() for kind in ("uid", "gid")]
    ranges = [[tuple(map(int, line.split())) for line in lines] for lines in maps]
    mapped = all(any(first <= _NOBODY < first + count for first, _, count in one) for one in ranges)
    return _NOBODY if mapped else None


async def start(
    program: str, directory: Path, number: int, doors: Mapping[int, tuple[int, ...]], log: int
) -> HaproxyProcess:
    """Start a HAProxy with the files of a directory; it answers when this returns.

    Args:
        program: its path or name.
        directory: where it runs.
        number: of the process, among those of this directory.
        doors: descriptors of listening sockets by port.
        log: descriptor that requests are told to.

    Raises:
        Refused: it does not take its configuration.
        Unavailable: it does not answer in time.
        NotFound: there is no such program.
    """
    path = directory / f"haproxy-{number}.sock"
    said = os.memfd_create("haproxy")
    with contextlib.ExitStack() as undo:
        undo.callback(os.close, said)
        # the socket is ours, too: who connects waits until the process reads, and nobody has to look whether it is there
        listener = unix_sockets.listen(path, what="runtime socket", backlog=16)
        undo.callback(listener.close)
        env, passed = _handed(doors, listener)
        process = await spawn(
            Command(
                argv=(program, "-db", "-f", CONFIG),
                env=env | {"INNER": inner(number)},
                cwd=str(directory),
                stdout=log,
                # kept: what it says before it answers tells why it does not
                stderr=said,
                pass_fds=passed,
            )
        )
        made = HaproxyProcess(process, Runtime(path), path, directory / inner(number))
        with contextlib.ExitStack() as rescue:
            rescue.callback(made.close)
            await _answering(made, said)
            rescue.pop_all()
        return made


def _handed(
    doors: Mapping[int, tuple[int, ...]], listener: socket.socket
) -> tuple[dict[str, str], tuple[int, ...]]:
    """Environment and descriptors of a process."""
    env = {"PATH": os.environ.get("PATH", ""), "CLI": str(listener.fileno())}
    passed = [listener.fileno()]
    for port, descriptors in doors.items():
        for index, descriptor in enumerate(descriptors):
            env[socket_name(port, index)] = str(descriptor)
            passed.append(descriptor)
    return env, tuple(passed)


def inner(number: int) -> str:
    """Where, below the directory that it runs in, a process hears its own copies, questions and connections that it passes on inside.

    Another one than that of a process which outlived a former engine.
    """
    return f"{INNER_FOLDER}/{os.getpid()}-{number}"


async def _answering(made: HaproxyProcess, said: int) -> None:
    """Return when it answers; raise what it said where it ends before."""

    async def ended() -> None:
        code = await made.wait()
        text = os.pread(said, 1 << 16, 0).decode(errors="replace")
        raise Refused(text if "[ALERT]" in text else f"ended with {code}: {text[-400:]}")

    try:
        async with asyncio.timeout(_START_S), asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(ended())
            await made.runtime.ask(["show version"])
            watching.cancel()
    except TimeoutError as error:
        raise Unavailable(f"HAProxy does not answer within {_START_S:g} s after its start") from error
    except BaseExceptionGroup as group:
        refused = group.subgroup(Refused)
        raise (refused or group).exceptions[0] from None
