"""Several DNS processes under one that keeps their sockets: more cores answer, and a query waits while one process follows another.

Comes in: a number of processes, and what each is to run. Goes out: an exit code, when all have ended after SIGTERM. Each process has sockets
of its own at the same addresses (SO_REUSEPORT), between which the kernel spreads clients, and a feed of its own.
No threads and no event loop here: a process that forks must have neither.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Sequence

import msgspec

from netloom.clock import Clock
from netloom.linux.libc import die_with_parent

log = logging.getLogger(__name__)

_SIGNALS = frozenset({signal.SIGCHLD, signal.SIGTERM, signal.SIGINT})
RESTART_S = (0.0, 0.1, 0.5, 2.0)
"""Seconds until a process is started again, by how often one ended in a row."""
STEADY_S = 10.0
"""One that ran for so long counts as steady."""


class Running(msgspec.Struct):
    """A process that runs, or is to be started at a time."""

    pid: int = 0
    since: float = 0.0
    failures: int = 0


class Workers:
    """Forks processes, and forks again what ends unasked. ``run`` of each gives its exit code."""

    def __init__(self, runs: Sequence[Callable[[], int]], *, clock: Clock) -> None:
        self._runs = tuple(runs)
        self._clock = clock
        self._workers = [Running() for _ in self._runs]

    def run(self) -> int:
        """Until SIGTERM or SIGINT; the exit code."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            while True:
                self._start_due()
                info = signal.sigtimedwait(_SIGNALS, self._wait_s())
                if info is not None and info.si_signo != signal.SIGCHLD:
                    return 0
                self._reap()
        finally:
            self._stop()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

    def pids(self) -> list[int]:
        """Of those that run, in order."""
        return [w.pid for w in self._workers if w.pid]

    def _start_due(self) -> None:
        now = self._clock.monotonic()
        for number, worker in enumerate(self._workers):
            if not worker.pid and worker.since <= now:
                worker.pid, worker.since = self._fork(number), now

    def _wait_s(self) -> float:
        due = [w.since for w in self._workers if not w.pid]
        return max(0.0, min(due) - self._clock.monotonic()) if due else 3600.0

    def _fork(self, number: int) -> int:
        parent = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            die_with_parent(parent)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            code = self._runs[number]()
        except BaseException:  # the last line of a process: whatever it was must be in the log
            log.exception("a DNS process ended by an error")
        finally:
            logging.shutdown()
            os._exit(code)

    def _reap(self) -> None:
        now = self._clock.monotonic()
        for number, worker in enumerate(self._workers):
            if not worker.pid:
                continue
            pid, status = os.waitpid(worker.pid, os.WNOHANG)
            if not pid:
                continue
            worker.failures = 0 if now - worker.since >= STEADY_S else worker.failures + 1
            wait = RESTART_S[min(worker.failures, len(RESTART_S) - 1)]
            code = os.waitstatus_to_exitcode(status)
            log.warning("DNS process %d ended (%d), starts again in %.1f s", number, code, wait)
            worker.pid, worker.since = 0, now + wait

    def _stop(self) -> None:
        for pid in self.pids():
            os.kill(pid, signal.SIGTERM)
        for pid in self.pids():
            os.waitpid(pid, 0)
