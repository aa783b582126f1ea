"""conmon, which watches one container each: it keeps its log, its exit code and its standard streams, and outlives the runner.

In: a bundle. Out: the numbers of the two processes, or why there is none. Not here: what is in the bundle (``document``).
"""

from __future__ import annotations

import asyncio
import functools
import os
import shutil
from pathlib import Path

import msgspec

from netloom.errors import NetloomError, Unsupported
from netloom.linux import process
from netloom.linux.mounts import make_private
from netloom.linux.process import NEW_MNT, Command, Completed
from netloom.local.runner.crun import layers
from netloom.local.runner.crun.logfile import MAX_BYTES
from netloom.local.runner.crun.places import Bundle, Places
from netloom.local.runner.running import ContainerSpec, Refused

START_S = 60.0
ENV = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
_MOST = 64 << 10
_SAID = 2000
_NO_PROGRAM = "executable file"
"""Crun looks for the program when it creates; elsewhere that is found at the start, and clients know it so."""


class _Word(msgspec.Struct, frozen=True):
    """What conmon says over its pipe: the container's first process, or a number below zero and why."""

    data: int
    message: str = ""


class Started(msgspec.Struct, frozen=True):
    """Two processes."""

    monitor: int
    pid: int


def program(name: str) -> str:
    """Path of a program that containers need.

    Raises:
        Unsupported: it is not installed.
    """
    found = shutil.which(name) or shutil.which(
        name, path="/usr/bin:/usr/sbin:/usr/local/bin:/usr/libexec/podman"
    )
    if found is None:
        raise Unsupported(f"{name} is not installed; it runs containers of images", f"apt-get install {name}")
    return found


async def create(
    spec: ContainerSpec, places: Places, bundle: Bundle, image: Path, held: int, cwd: str
) -> Started:
    """Have conmon create a container; its program waits for :func:`start`.

    Args:
        spec: of the container.
        places: of the node.
        bundle: with its configuration.
        image: the image's files.
        held: a descriptor that conmon is to have: it locks the image.
        cwd: the program's directory.

    Raises:
        Unsupported: conmon or crun is not installed.
        Refused: it cannot be created.
    """
    reading, writing = os.pipe()
    try:
        command = Command(
            argv=_argv(spec, places, bundle),
            env={**ENV, "_OCI_SYNCPIPE": str(writing)},
            pass_fds=(writing, held),
        )
        prepare = functools.partial(layers.prepare, bundle, image, cwd)
        made = await process.spawn(command, new=NEW_MNT, prepare=prepare)
    except BaseException as error:
        os.close(writing)
        if isinstance(error, asyncio.CancelledError):
            await _word(
                reading
            )  # conmon may have begun, and goes on: what it makes is removed when it is there
        else:
            os.close(reading)
        raise
    os.close(writing)
    try:
        word = await _word(reading)
        await made.wait()
    finally:
        made.close()
    if word.data <= 0:
        reason = _reason(word.message)
        raise Refused("RunContainerError" if _NO_PROGRAM in reason else "CreateContainerError", reason)
    return Started(_number(bundle.monitor_pid), word.data)


async def start(spec: ContainerSpec, places: Places) -> None:
    """Let the program of a created container begin.

    Raises:
        Refused: it does not.
    """
    done = await crun(places, "start", spec.id)
    if done.returncode != 0:
        raise Refused("RunContainerError", _reason(done.stderr.decode("utf-8", "replace")))


async def crun(places: Places, *words: str) -> Completed:
    """Run crun to its end.

    Raises:
        NetloomError: it cannot be run, or hangs.
    """
    argv = (program("crun"), *_options(places), *words)
    return await _run_alone(Command(argv=argv, env=ENV))


async def _run_alone(command: Command) -> Completed:
    out, err = os.memfd_create("stdout"), os.memfd_create("stderr")
    try:
        made = await process.spawn(
            msgspec.structs.replace(command, stdout=out, stderr=err), new=NEW_MNT, prepare=alone
        )
        try:
            async with asyncio.timeout(START_S):
                code = await made.wait()
        except TimeoutError as error:
            raise NetloomError(f"{command.argv[0]} did not end within {START_S:g} s") from error
        finally:
            made.close()
        return Completed(code, os.pread(out, _MOST, 0), os.pread(err, _MOST, 0))
    finally:
        os.close(out)
        os.close(err)


def alone() -> None:
    """In a mount namespace of its own: nothing of it is seen outside, and no cgroups are seen inside."""
    make_private("/")
    layers.hide_cgroups()


def exec_argv(
    places: Places, process_fd: int, pid_file: Path, container: str, console: str = ""
) -> tuple[str, ...]:
    """How crun starts a command beside a container; ``process_fd`` holds the process section of its document."""
    terminal = ("--console-socket", console) if console else ()
    words = (
        "exec",
        "--process",
        f"/proc/self/fd/{process_fd}",
        "--pid-file",
        str(pid_file),
        *terminal,
        container,
    )
    return (program("crun"), *_options(places), *words)


def _options(places: Places) -> tuple[str, ...]:
    return ("--root", str(places.runtime), "--cgroup-manager=disabled")


def _argv(spec: ContainerSpec, places: Places, bundle: Bundle) -> tuple[str, ...]:
    argv = [
        program("conmon"),
        *("--api-version", "1"),
        *("--cid", spec.id, "--cuuid", spec.id, "--name", spec.id),
        *("--runtime", program("crun")),
        *("--bundle", str(bundle.path), "--persist-dir", str(bundle.path)),
        *("--exit-dir", str(bundle.exits)),
        *("--conmon-pidfile", str(bundle.monitor_pid), "--container-pidfile", str(bundle.pid)),
        *("--log-path", f"k8s-file:{bundle.log}", "--log-size-max", str(MAX_BYTES), "--log-level", "error"),
        *("--full-attach", "--no-new-keyring", "--no-sync-log"),
    ]
    for option in _options(places):
        argv += ["--runtime-arg", option]
    if spec.tty:
        argv.append("--terminal")
    if spec.stdin:
        argv.append("--stdin")
        if not spec.stdin_once:
            argv.append("--leave-stdin-open")
    return tuple(argv)


async def _word(fd: int) -> _Word:
    """The one line that conmon says. It cannot be stopped midway: whoever is cancelled hears it all the same, and then cleans up."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_MOST)
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(fd, "rb", buffering=0)
    )
    try:
        async with asyncio.timeout(START_S):
            try:
                line = await reader.readline()
            except asyncio.CancelledError:
                await reader.readline()
                raise
        return msgspec.json.decode(line, type=_Word) if line else _Word(-1, "conmon ended without a word")
    except TimeoutError:
        return _Word(-1, f"crun did not create the container within {START_S:g} s")
    except (msgspec.DecodeError, ValueError) as error:
        return _Word(-1, f"conmon: {error}")
    finally:
        transport.close()


def _number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0


def _reason(said: str) -> str:
    """What crun says, without the time and its own name before it; it says one line, or the last one counts."""
    lines = [line.strip() for line in said.strip().splitlines() if "cgroup" not in line.lower()] or [
        said.strip()
    ]
    text = lines[-1]
    if text[:4].isdigit() and ": " in text:
        text = text.partition(": ")[2]
    return text[:_SAID] or "crun failed without a word"
