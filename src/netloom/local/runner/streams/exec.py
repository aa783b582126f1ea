"""Runs a command in a container for a client: a program of its image, or for a stand-in one of the host. In: a wish; out: a Status.

With a terminal the command gets a pseudo-terminal of the node, without one it gets pipes. When the client leaves, the
command is killed. Not here: protocols (``remote``).
"""

from __future__ import annotations

import asyncio
import os
import termios
from collections.abc import Awaitable, Callable, Mapping

from netloom.errors import NetloomError, NotFound
from netloom.linux.process import DEVNULL, PIPE, Command
from netloom.local.runner.running import Executed
from netloom.local.runner.streams import remote as statuses
from netloom.local.runner.streams.pipes import ReadEnd, WriteEnd
from netloom.local.runner.streams.remote import Remote, Wish

_NOT_FOUND = 127
"""Exit code of shells for a program that is not there."""
Spawn = Callable[[Command], Awaitable[Executed]]
"""Starts a command in the container."""


async def serve_exec(remote: Remote, spawn: Spawn, wish: Wish, env: Mapping[str, str], cwd: str) -> None:
    """Run the command for the client until it ends, or until the client leaves."""
    async with asyncio.TaskGroup() as group:
        incoming = group.create_task(remote.run(), name="exec input")
        try:
            await remote.ready()
            status = await _execute(remote, spawn, wish, env, cwd)
        except NetloomError as error:
            status = statuses.failed(str(error))
        await remote.finish(status)
        incoming.cancel()


async def _execute(remote: Remote, spawn: Spawn, wish: Wish, env: Mapping[str, str], cwd: str) -> bytes:
    run = _with_terminal if wish.tty else _with_pipes
    try:
        return statuses.exited(await run(remote, spawn, wish, env, cwd))
    except NotFound as error:
        await remote.write(f"{error}\n".encode(), error=not wish.tty)
        return statuses.exited(_NOT_FOUND)


async def _with_pipes(remote: Remote, spawn: Spawn, wish: Wish, env: Mapping[str, str], cwd: str) -> int:
    command = Command(
        argv=wish.command,
        env=env,
        cwd=cwd or None,
        stdin=PIPE if wish.stdin else DEVNULL,
        stdout=PIPE if wish.stdout else DEVNULL,
        stderr=PIPE if wish.stderr else DEVNULL,
    )
    process = await spawn(command)
    outputs = [
        (ReadEnd(os.dup(stream.fileno())), is_error)
        for stream, is_error in ((process.stdout, False), (process.stderr, True))
        if stream is not None
    ]
    entry = WriteEnd(os.dup(process.stdin.fileno())) if process.stdin is not None else None
    for ours in (process.stdin, process.stdout, process.stderr):
        if ours is not None:
            ours.close()  # we work on descriptors of our own, and the last one closed is the end of the pipe
    return await _until_ended(remote, process, outputs, entry)


async def _with_terminal(remote: Remote, spawn: Spawn, wish: Wish, env: Mapping[str, str], cwd: str) -> int:
    ours, theirs = os.openpty()
    try:
        command = Command(
            argv=wish.command,
            env={"TERM": "xterm", **env},
            cwd=cwd or None,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            terminal=True,
        )
        process = await spawn(command)
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    if process.terminal >= 0:  # a container has terminals of its own
        os.close(ours)
        ours = process.terminal
    screen = ReadEnd(ours)
    entry = WriteEnd(os.dup(ours)) if wish.stdin else None
    async with asyncio.TaskGroup() as group:
        sizes = group.create_task(_resize(remote, ours), name="exec size")
        code = await _until_ended(remote, process, [(screen, False)], entry)
        sizes.cancel()
    return code


async def _until_ended(
    remote: Remote, process: Executed, outputs: list[tuple[ReadEnd, bool]], entry: WriteEnd | None
) -> int:
    """Carry bytes both ways until the process has ended and its output is sent."""
    try:
        async with asyncio.TaskGroup() as group:
            for end, is_error in outputs:
                group.create_task(_carry_out(remote, end, is_error), name="exec output")
            aside = [group.create_task(_kill_when_gone(remote, process), name="exec client")]
            if entry is not None:
                aside.append(group.create_task(_carry_in(remote, entry), name="exec stdin"))
            code = await process.wait()
            for task in aside:
                task.cancel()
            for end, _ in outputs:
                end.finish()
        return code
    finally:
        process.close()
        for end, _ in outputs:
            end.close()
        if entry is not None:
            entry.close()


async def _carry_out(remote: Remote, end: ReadEnd, is_error: bool) -> None:
    while data := await end.read():
        await remote.write(data, error=is_error)


async def _carry_in(remote: Remote, entry: WriteEnd) -> None:
    while data := await remote.inbox.stdin.get():
        if not await entry.write(data):
            break
    entry.close()
    while await remote.inbox.stdin.get():  # what nobody reads must not hold up the connection
        pass


async def _kill_when_gone(remote: Remote, process: Executed) -> None:
    await remote.inbox.gone.wait()
    process.kill_group()


async def _resize(remote: Remote, terminal: int) -> None:
    while True:
        size = await remote.inbox.sizes.get()
        termios.tcsetwinsize(terminal, (size.height, size.width))
