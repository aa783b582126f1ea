"""Process 1 of a local cluster: the warm process that all others are forked from, and that outlives none of them.

Comes in: the children to run, each with the network namespace that it lives in. It forks them (so that an interpreter
start and a second of imports are paid once), reaps what the pods leave behind, and starts again what ends unasked.
No threads and no event loop here: a process that forks must have neither.
"""

from __future__ import annotations

import faulthandler
import gc
import logging
import logging.handlers
import os
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from netloom.clock import Clock
from netloom.errors import NetloomError
from netloom.linux.libc import CLONE_NEWNET, set_process_name, setns

log = logging.getLogger(__name__)

_SIGNALS = frozenset({signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGIO})
STOP_S = 3.0
"""Seconds that children have to end after SIGTERM before they are killed."""
RESTART_S = (0.0, 0.1, 0.5, 2.0, 5.0)
"""Seconds to wait before a child is started again, by how often it ended in a row."""
STEADY_S = 10.0
"""A child that ran this long counts as steady: the next wait is the first again."""
_IDLE_S = 3600.0
_LOG_BYTES = 2_000_000


class Child(msgspec.Struct, frozen=True):
    """A process to keep running."""

    name: str
    run: Callable[[], None]
    netns: int | None = None
    """Descriptor of the network namespace it lives in; None: the cluster's own."""
    machine: str = ""
    """The node that it belongs to."""


class Office(Protocol):
    """What process 1 does besides keeping children: it is called when the kernel says by SIGIO that somebody came."""

    def serve(self, init: Init) -> None:
        """Do what is asked for."""

    def let_go(self, child: Child) -> None:
        """Close what a child just forked has no need of."""


class Init:
    """Keeps children running until it is told to stop."""

    def __init__(
        self,
        *,
        children: Sequence[Child],
        log_directory: Path,
        clock: Clock,
        office: Office | None = None,
        stop_s: float = STOP_S,
    ) -> None:
        self._children = {child.name: child for child in children}
        self._office = office
        self._is_asked = self._is_told_to_stop = False
        self._log_directory = log_directory
        self._clock = clock
        self._stop_s = stop_s
        self._running: dict[int, str] = {}
        self._started: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._due: dict[str, float] = {}

    def run(self) -> None:
        """Until SIGTERM or SIGINT; all children have ended when it returns."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        gc.collect()
        gc.freeze()  # what is there now is shared with every child; collecting it would copy its pages
        for name in self._children:
            self._start(name)
        while self._turn():
            pass
        self._stop()

    def add(self, children: Iterable[Child]) -> None:
        """Keep these running as well, from now on."""
        for child in children:
            self._children[child.name] = child
            self._failures.pop(child.name, None)
            self._start(child.name)

    def retire(self, names: Iterable[str]) -> list[int]:
        """Start these no more when they end; the process ids of those that still run."""
        gone = set(names)
        for name in gone:
            self._children.pop(name, None)
            self._due.pop(name, None)
        return [pid for pid, name in self._running.items() if name in gone]

    def pass_time(self, most_s: float) -> None:
        """Wait for one event, at most so long: children that ended are collected, and started again when it is their time."""
        info = signal.sigtimedwait(_SIGNALS, min(most_s, self._wait_s()))
        if info is not None and info.si_signo == signal.SIGIO:
            self._is_asked = True
        elif info is not None and info.si_signo != signal.SIGCHLD:
            self._is_told_to_stop = True
        self._reap()
        now = self._clock.monotonic()
        for name in [n for n, due in self._due.items() if due <= now]:
            del self._due[name]
            self._start(name)

    def _turn(self) -> bool:
        """Wait for one event and handle it; False when it was the word to stop."""
        self.pass_time(_IDLE_S)
        if self._is_asked and self._office is not None and not self._is_told_to_stop:
            self._is_asked = False
            self._office.serve(self)
        return not self._is_told_to_stop

    def _wait_s(self) -> float:
        if not self._due:
            return _IDLE_S
        return max(0.0, min(self._due.values()) - self._clock.monotonic())

    def _reap(self) -> None:
        while self._running:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if (name := self._running.pop(pid, None)) is not None:
                self._ended(name, status)

    def _ended(self, name: str, status: int) -> None:
        if name not in self._children:
            return  # retired
        now = self._clock.monotonic()
        steady = now - self._started[name] >= STEADY_S
        failures = 0 if steady else self._failures.get(name, 0) + 1
        self._failures[name] = failures
        wait = RESTART_S[min(failures, len(RESTART_S) - 1)]
        log.warning(
            "%s ended (status %s), starts again in %.1f s", name, os.waitstatus_to_exitcode(status), wait
        )
        self._due[name] = now + wait

    def _start(self, name: str) -> None:
        self._started[name] = self._clock.monotonic()
        pid = os.fork()
        if pid == 0:
            child = self._children[name]
            if self._office is not None:
                self._office.let_go(child)
            _live(child, self._log_directory)
        self._running[pid] = name

    def _stop(self) -> None:
        for pid in self._running:
            os.kill(pid, signal.SIGTERM)
        deadline = self._clock.monotonic() + self._stop_s
        while self._running and (left := deadline - self._clock.monotonic()) > 0:
            signal.sigtimedwait({signal.SIGCHLD}, left)
            while self._running:
                pid, _ = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                self._running.pop(pid, None)
        for pid, name in self._running.items():
            log.warning("%s did not end in %.0f s and is killed", name, self._stop_s)
            os.kill(pid, signal.SIGKILL)


def _live(child: Child, log_directory: Path) -> None:
    """The whole life of a child; never returns."""
    code = 1
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if child.netns is not None:
            setns(child.netns, CLONE_NEWNET)
        set_process_name(f"nl-{child.name}")
        log_to(log_directory / f"{child.name}.log")
        faulthandler.register(signal.SIGUSR1)  # what a process is doing, into output.log, for whoever asks
        child.run()
        code = 0
    except NetloomError as error:
        log.error("%s", error)  # noqa: TRY400 - an error of ours says all in one line
        code = error.exit_code
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:  # the last line of a process: whatever it was must be in the log
        log.exception("%s ended by an error", child.name)
    finally:
        logging.shutdown()
        sys.stdout.flush()
        os._exit(code)


def log_to(path: Path) -> None:
    """Send this process's log to a file of bounded size."""
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=1, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname).1s %(name)s: %(message)s"))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.INFO)
