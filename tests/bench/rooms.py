"""Where benchmarks run: processes that die with their parent, in namespaces of their own where they need any."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
from tests.bench.report import ROOT, Outcome

from netloom.linux import libc
from netloom.linux.mounts import make_private, mount

QUICK = "NETLOOM_BENCH_QUICK"
"""Set in the environment: small counts, to see that a benchmark runs. Its figures mean nothing."""
_PDEATHSIG = 1
_libc = ctypes.CDLL(None)

T = TypeVar("T")


def _die_with_parent(number: int = signal.SIGKILL) -> None:
    _libc.prctl(_PDEATHSIG, number, 0, 0, 0)


def say(text: str) -> None:
    """Progress, for whoever waits."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


def either(full: T, quick: T) -> T:
    """Counts of a whole run, or of a quick one."""
    return quick if is_quick() else full


def is_quick() -> bool:
    """Whether this is a quick run."""
    return bool(os.environ.get(QUICK))


def run_apart(name: str, *, alone: bool, rootless: bool, timeout_s: float) -> Outcome:
    """Run one benchmark in a process of its own.

    Args:
        name: of the benchmark.
        alone: in namespaces of its own, whose end ends all in them.
        rootless: in a user namespace of its own, too: the kernel gives no more to root in there than to an ordinary user.
        timeout_s: after this it is ended.
    """
    with tempfile.TemporaryDirectory(prefix="nlb") as directory:
        out = Path(directory) / "outcome.json"
        command = [sys.executable, "-m", "tests.bench", "--inside", name, "--out", str(out)]
        if alone:
            # with a pid namespace: when its first process is gone, so is everything that the benchmark started
            user = ["--user", "--map-root-user"] if rootless or os.getuid() != 0 else []
            flags = ["--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child"]
            command = ["unshare", *user, *flags, "--", *command]
        # a benchmark with a cluster must be able to take it down
        last = signal.SIGKILL if alone else signal.SIGTERM
        child = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "TMPDIR": directory},  # what it leaves when it is killed goes with this one
            stdout=sys.stderr,
            preexec_fn=lambda: _die_with_parent(last),  # noqa: PLW1509 - no threads here
        )
        try:
            code = child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return Outcome(bench=name, error=f"not done after {timeout_s:.0f} s", seconds=timeout_s)
        finally:
            end(child)
        if not out.exists():
            return Outcome(bench=name, error=f"ended with {code} and said nothing more")
        return msgspec.json.decode(out.read_bytes(), type=Outcome)


def end(child: subprocess.Popen[bytes]) -> None:
    """Ask it to end, then make it."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A short directory of this user only, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="nlb") as directory:
        yield Path(directory)


def make_ready() -> None:
    """Make this process's own namespaces usable: places to write for programs that want the system's."""
    make_private("/")
    for place in ("/run", "/var/lib"):
        mount("tmpfs", place, "tmpfs")


def fork(run: Callable[[], None], *, netns_fd: int | None = None, log: Path | None = None) -> int:
    """A child of this process, which has no threads, in another network namespace; gives its pid."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        _die_with_parent()
        if netns_fd is not None:
            libc.setns(netns_fd, libc.CLONE_NEWNET)
        if log is not None:
            fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(fd, 1)
            os.dup2(fd, 2)
        run()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException as error:  # noqa: BLE001 - the last line of a process
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    finally:
        sys.stderr.flush()
        os._exit(code)


def aside(work: Callable[[], T], type_: type[T]) -> T:
    """What ``work`` gives, done in a child: what it needs of memory is not inherited by processes that are forked later.

    Raises:
        RuntimeError: it failed; the reason is on stderr.
    """
    reading, writing = os.pipe()

    def run() -> None:
        with open(writing, "wb") as pipe:
            pipe.write(msgspec.msgpack.encode(work()))

    pid = fork(run)
    os.close(writing)
    with open(reading, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(pid, 0)
    if status:
        raise RuntimeError(f"a child failed with {os.waitstatus_to_exitcode(status)}")
    return msgspec.msgpack.decode(said, type=type_)


def kill(pid: int, number: int = signal.SIGTERM) -> None:
    """End a child and wait for it."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


def spawn(words: Sequence[str], *, log: Path, netns_fd: int | None = None) -> int:
    """A program in a network namespace; gives its pid."""
    return fork(lambda: os.execvp(words[0], list(words)), netns_fd=netns_fd, log=log)
