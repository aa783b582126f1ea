"""A container that crun runs: its end, its signals, commands beside it. In: a Record; out: a Running.

It goes on without us; all that we know of it is on disk. Not here: how it is made (``runtime``), attach (``attach``).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import IO, Any

import msgspec

from netloom.clock import Clock
from netloom.errors import NotFound, Unavailable
from netloom.linux import process
from netloom.linux.process import Command, Completed, Process
from netloom.local.images.archive import RunConfig
from netloom.local.images.tree import Tree
from netloom.local.runner.crun import attach, conmon, document, logfile
from netloom.local.runner.crun.console import Console
from netloom.local.runner.crun.document import Around
from netloom.local.runner.crun.places import Bundle, Places, Record
from netloom.local.runner.running import ContainerSpec, End
from netloom.local.runner.streams.remote import Remote, Wish

_UNKNOWN, _KILLED = "ContainerStatusUnknown", 137
_MESSAGE = 4096
_LOG_MESSAGE, _LOG_LINES = 2048, 80
"""Bounds of a termination message, from its file and from the log, as a kubelet has them."""
_OUTPUT = 1 << 20
_COLLECT_S = 2.0
_LAST_SIGNAL = 64


class Beside:
    """A command beside a container's program (``crun exec``); killing crun alone would let it live."""

    def __init__(self, crun: Process, pid_file: Path, terminal: int = -1) -> None:
        self._crun = crun
        self._pid_file = pid_file
        self.terminal = terminal

    @property
    def stdin(self) -> IO[bytes] | None:
        """Our end of its standard input."""
        return self._crun.stdin

    @property
    def stdout(self) -> IO[bytes] | None:
        """Our end of its standard output."""
        return self._crun.stdout

    @property
    def stderr(self) -> IO[bytes] | None:
        """Our end of its standard error."""
        return self._crun.stderr

    async def wait(self) -> int:
        """Wait for its end."""
        return await self._crun.wait()

    def kill_group(self) -> None:
        """Kill it: crun collects it, and ends. Where it has not begun, crun itself is killed."""
        if self._crun.returncode is not None:
            return
        try:
            os.kill(int(self._pid_file.read_text()), signal.SIGKILL)
        except (OSError, ValueError):
            self._crun.kill_group()

    def close(self) -> None:
        """Kill it if it still runs, and let go of everything."""
        self.kill_group()
        self._crun.close()
        self._pid_file.unlink(missing_ok=True)


class CrunContainer:
    """A started container.

    Args:
        record: what is known of it.
        bundle: its directory.
        places: of the node.
        image: how its image starts.
        around: what was made for it, for commands beside it.
        clock: the time.
    """

    def __init__(
        self,
        *,
        record: Record,
        bundle: Bundle,
        places: Places,
        image: RunConfig,
        around: Around,
        clock: Clock,
    ) -> None:
        self.spec: ContainerSpec = record.spec
        self.image_id = record.image_id
        self.started = record.started
        self.over = asyncio.Event()
        """Set when it has ended."""
        self.bundle = bundle
        self._record = record
        self._places = places
        self._image = image
        self._around = around
        self._clock = clock
        self._end: End | None = None
        self._pidfd = _pidfd(record.pid) if record.lives else -1
        self._monitor = _pidfd(record.monitor) if record.monitor_lives else -1
        self._beside = 0
        if self._monitor < 0:
            self._has_ended()
        else:
            asyncio.get_running_loop().add_reader(self._monitor, self._has_ended)

    @property
    def pid(self) -> int:
        """Its first process, in our pid namespace."""
        return self._record.pid

    async def ended(self) -> End:
        """Wait for its end."""
        await self.over.wait()
        assert self._end is not None  # noqa: S101 - set before the event
        return self._end

    def stop(self) -> None:
        """Send its stop signal."""
        name = self.spec.stop_signal or self._image.stop_signal or "SIGTERM"
        self._signal(_signal_number(name))

    def kill(self) -> None:
        """Kill it; with process 1 of its pid namespace all others there end."""
        self._signal(signal.SIGKILL)

    async def run(self, argv: tuple[str, ...], timeout_s: float) -> Completed:
        """Run a command inside, to its end; of its output the first MiB."""
        out, err = os.memfd_create("stdout"), os.memfd_create("stderr")
        try:
            beside = await self.spawn(Command(argv=argv, stdout=out, stderr=err))
            try:
                async with asyncio.timeout(timeout_s):
                    code = await beside.wait()
            except TimeoutError as error:
                await _kill(beside)
                raise Unavailable(f"{argv[0]} did not end within {timeout_s:g} s and was killed") from error
            finally:
                beside.close()
            return Completed(code, os.pread(out, _OUTPUT, 0), os.pread(err, _OUTPUT, 0))
        finally:
            os.close(out)
            os.close(err)

    async def spawn(self, command: Command) -> Beside:
        """Start a command inside."""
        if self.over.is_set():
            raise Unavailable(f"container {self.spec.name} has ended", "see: kubectl describe pod")
        wanted = document.process(
            self.spec, self._image, self._around, argv=command.argv, env=command.env, tty=command.terminal
        )
        if command.cwd:
            wanted["cwd"] = command.cwd
        self._check_program(wanted)
        self._beside += 1
        pid_file = self.bundle.path / f"beside-{self._beside}"
        told = os.memfd_create("process")
        try:
            _write(told, msgspec.json.encode(wanted))
            if command.terminal:
                return await self._spawn_with_terminal(told, pid_file)
            return Beside(await self._crun_exec(command, told, pid_file), pid_file)
        finally:
            os.close(told)

    async def _spawn_with_terminal(self, told: int, pid_file: Path) -> Beside:
        with Console(self.bundle.path, f"console-{self._beside}") as console:
            nothing = Command(argv=(), pass_fds=(console.directory,))
            made = await self._crun_exec(nothing, told, pid_file, console.path)
            try:
                return Beside(made, pid_file, await console.terminal(made))
            except BaseException:
                Beside(made, pid_file).close()
                raise

    async def _crun_exec(self, command: Command, told: int, pid_file: Path, console: str = "") -> Process:
        """Start crun with the streams of ``command``; ``told`` holds what it is to run."""
        return await process.spawn(
            msgspec.structs.replace(
                command,
                argv=conmon.exec_argv(self._places, told, pid_file, self.spec.id, console),
                env=conmon.ENV,
                cwd="/",
                pass_fds=(told, *command.pass_fds),
            ),
            new=process.NEW_MNT,
            prepare=conmon.alone,
        )

    async def attach(self, remote: Remote, wish: Wish) -> None:
        """Join its standard streams until it ends or the client leaves."""
        await attach.join(self.bundle, remote, wish, has_stdin=self.spec.stdin, over=self.over)

    async def remove(self) -> None:
        """Kill it where it runs, and give back everything but its log."""
        if not self.over.is_set():
            self.kill()
        await self.over.wait()
        await conmon.crun(self._places, "delete", "--force", self.spec.id)
        self.bundle.remove()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    def _signal(self, number: int) -> None:
        if self._pidfd >= 0:
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(self._pidfd, number)

    def _has_ended(self) -> None:
        """Conmon is gone: it has written the exit code, or was killed and can write none."""
        if self._monitor >= 0:
            asyncio.get_running_loop().remove_reader(self._monitor)
            os.close(self._monitor)
            self._monitor = -1
        code = self._exit_code()
        if code is None:
            self.kill()
            self._end = End(
                exit_code=_KILLED,
                reason=_UNKNOWN,
                finished=self._clock.wall(),
                message="The container could not be located when the pod was terminated",
            )
        else:
            reason = "OOMKilled" if code and self.bundle.oom.exists() else "Error" if code else "Completed"
            self._end = End(
                exit_code=code, reason=reason, finished=self._finished(), message=self._message(code)
            )
        self.over.set()

    def _exit_code(self) -> int | None:
        try:
            return int((self.bundle.exits / self.spec.id).read_text())
        except (OSError, ValueError):
            return None

    def _finished(self) -> float:
        with contextlib.suppress(OSError):
            return (self.bundle.exits / self.spec.id).stat().st_mtime
        return self._clock.wall()

    def _message(self, code: int) -> str:
        text = ""
        with contextlib.suppress(OSError):
            fd = os.open(self.bundle.message, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(fd, "rb") as file:
                text = file.read(_MESSAGE).decode("utf-8", "replace")
        if not text and code and self.spec.termination_message_policy == "FallbackToLogsOnError":
            text = logfile.last(self.bundle.log, most_bytes=_LOG_MESSAGE, most_lines=_LOG_LINES)
        return text

    def _check_program(self, wanted: dict[str, Any]) -> None:
        """Whether the container has the program: crun says so only in words.

        Raises:
            NotFound: it has not.
        """
        name = str(wanted["args"][0])
        env = dict(pair.partition("=")[::2] for pair in wanted["env"])
        places = [name] if "/" in name else [f"{d or '.'}/{name}" for d in env.get("PATH", "").split(":")]
        try:
            root = os.open(f"/proc/{self._record.pid}/root", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise Unavailable(f"container {self.spec.name} has ended", "see: kubectl describe pod") from error
        try:
            tree = Tree(root)
            for place in places:
                path = place if place.startswith("/") else f"{wanted['cwd']}/{place}"
                with contextlib.suppress(OSError):
                    os.close(tree.open_file(path))
                    return
        finally:
            os.close(root)
        where = "$PATH" if "/" not in name else "the container"
        raise NotFound(f'exec: "{name}": executable file not found in {where}', "see what the image has")


async def _kill(beside: Beside) -> None:
    """Kill a command, and have crun collect it: whatever it leaves, the container would have to."""
    beside.kill_group()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_COLLECT_S):
            await beside.wait()


def _pidfd(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except OSError:
        return -1


def _signal_number(name: str) -> int:
    """SIGTERM, TERM or 15; what cannot be read is SIGTERM."""
    number = 0
    full = name.upper() if name.upper().startswith("SIG") else f"SIG{name.upper()}"
    if _is_number(name):
        number = int(name[:3])
    elif full.startswith("SIGRTMIN+") and _is_number(full[9:]):
        number = int(signal.SIGRTMIN) + int(full[9:12])
    if number:
        return number if number <= _LAST_SIGNAL else int(signal.SIGTERM)
    found = getattr(signal, full, signal.SIGTERM)
    return int(found) if isinstance(found, signal.Signals) else int(signal.SIGTERM)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    os.lseek(fd, 0, os.SEEK_SET)
