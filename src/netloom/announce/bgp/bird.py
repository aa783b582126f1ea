"""BIRD as a child of the speaker: brought to a configuration, asked for its sessions, started again when it is gone.

In: the text of a configuration. Out: sessions as they are. A BIRD that a killed speaker left behind is taken over as it is, so that no
peer notices. Changes are told to the running one, which touches only the sessions that are others now. Not here: the text
(``config.py``), and when what is done (``part.py``).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from netloom.announce.bgp.control import Control, Refused
from netloom.errors import NetloomError, StorageError, Unavailable
from netloom.linux import process
from netloom.linux.netns import Namespaces
from netloom.linux.process import Command, Process

log = logging.getLogger(__name__)

PROGRAM = "bird"
_START_S = 5.0
_TRY_AGAIN_S = 0.02
_SHUT_DOWN_S = 2.0
_LEAST_LIFE_S = 1.0
"""One that has ended sooner is not started again at once."""
_SETTLED_S = 3.0
"""After their sessions are up peers have told all that they know: they gather it for up to a second."""
_RECOVERED_S = 20.0
"""After this they are not waited for any more."""
_MOST_COMPLAINT = 2000


class Session(msgspec.Struct, frozen=True):
    """A session of BIRD's. ``state`` is a word of RFC 4271 section 8.2.2; ``error`` what went wrong last."""

    state: str
    error: str = ""

    @property
    def is_up(self) -> bool:
        """Whether routes go both ways."""
        return self.state == "Established"


class Bird:
    """One BIRD. One owner: its methods must not run at the same time.

    Args:
        directory: for its configuration (which may hold passwords), its log and its socket; made where it is missing, for root alone.
        on_end: called when the program is gone, or another one has taken its place.
        program: what is started.
        namespaces: where it lives; None: in the caller's.
    """

    def __init__(
        self,
        directory: Path,
        *,
        on_end: Callable[[], None],
        program: str = PROGRAM,
        namespaces: Namespaces | None = None,
    ) -> None:
        self.log = directory / "bird.log"
        self.starts = 0
        """How often it was started."""
        self._directory = directory
        self._config = directory / "bird.conf"
        self._socket = directory / "bird.ctl"
        self._on_end = on_end
        self._program = program
        self._namespaces = namespaces
        self._control: Control | None = None
        self._process: Process | None = None
        self._text = ""
        self._started = -math.inf
        self._recovers_since: float | None = None
        self._up_since: float | None = None

    @property
    def is_running(self) -> bool:
        """Whether there is one that we talk to."""
        return self._control is not None

    @property
    def has_run(self) -> bool:
        """Whether this node has a configuration already: of this speaker, or of one before it."""
        return self._config.exists()

    async def bring(self, text: str, recovery: str) -> None:
        """Have it run with this configuration; nothing is done where it does.

        Args:
            text: the configuration.
            recovery: the one that it has instead after it has come back, until its peers have told what they know.

        Raises:
            NotFound: the program is not installed.
            Refused: it does not take the configuration; what was in force stays in force.
            Unavailable: it does not start, or has ended.
            StorageError: the configuration cannot be written.
        """
        if self._control is None:
            with contextlib.suppress(Unavailable):
                self._control = await Control.connect(self._socket, self._ended)
                self._text = ""  # of a former speaker's: what it has in force is not known
        is_first = not self.has_run
        if self._control is None and not is_first:
            self._recovers_since = asyncio.get_running_loop().time()
        if self._recovers_since is not None:
            text = recovery
        if self._control is not None and text == self._text:
            return
        _write(self._config, text)
        if self._control is None:
            await self._start(is_first=is_first)
        else:
            await self._configure()
        self._text = text

    async def _configure(self) -> None:
        assert self._control is not None  # noqa: S101 - its one caller has looked
        try:
            await self._control.ask("configure")
        except Refused:
            if self._text:
                _write(self._config, self._text)  # what is in force is what it starts with, too
            raise

    async def sessions(self) -> dict[str, Session]:
        """All BGP sessions by their names in the configuration.

        Raises:
            Unavailable: it has ended.
        """
        if self._control is None:
            raise Unavailable("BIRD is not running")
        found = {}
        for line in await self._control.ask("show protocols"):
            name, session = _read(line.text)
            if session is not None:
                found[name] = session
        self._note(all_up=all(session.is_up for session in found.values()))
        return found

    def _note(self, *, all_up: bool) -> None:
        """Whether what the peers know is known by now; the next ``bring`` then has the whole configuration."""
        if self._recovers_since is None:
            return
        now = asyncio.get_running_loop().time()
        self._up_since = (self._up_since or now) if all_up else None
        is_settled = self._up_since is not None and now - self._up_since >= _SETTLED_S
        if is_settled or now - self._recovers_since >= _RECOVERED_S:
            self._recovers_since = self._up_since = None

    async def leave(self) -> None:
        """A planned end: peers that can keep our routes until we are back (``config.RESTART_S``), the others drop them. Never fails."""
        try:
            if self._control is not None:
                await self._control.ask("graceful restart")
            if self._process is not None:
                async with asyncio.timeout(_SHUT_DOWN_S):
                    await self._process.wait()
        except (NetloomError, TimeoutError) as error:
            log.warning("BIRD did not end as it was told: %s", error)
        self.drop()

    def drop(self) -> None:
        """Let go of it: a child of ours is killed, peers keep routes as after any fault of it."""
        control, self._control = self._control, None
        if control is not None:
            control.close()
        child, self._process = self._process, None
        if child is not None:
            child.close()

    async def _start(self, *, is_first: bool) -> None:
        """``-R`` where it has run before: its peers may still have our routes, and the kernel theirs."""
        now = asyncio.get_running_loop().time()
        if now - self._started < _LEAST_LIFE_S:
            raise Unavailable("BIRD ended soon after its start")
        self._started = now
        self._socket.unlink(missing_ok=True)
        if self._process is not None:
            self._process.close()
            self._process = None
        argv = (self._program, "-f", "-c", str(self._config), "-s", str(self._socket))
        complaints = self._directory / "bird.err"
        complaints.unlink(missing_ok=True)
        with os.fdopen(os.open(complaints, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stderr:
            command = Command(argv=argv if is_first else (*argv, "-R"), stderr=stderr.fileno())
            self._process = await process.spawn(command, ns=self._namespaces)
        self.starts += 1
        try:
            async with asyncio.timeout(_START_S):
                while self._control is None:
                    if self._process.returncode is not None:
                        said = complaints.read_bytes()[:_MOST_COMPLAINT].decode(errors="replace").strip()
                        raise Unavailable(f"BIRD does not start: {said or 'it says nothing'}")
                    try:
                        self._control = await Control.connect(self._socket, self._ended)
                    except Unavailable:
                        # BIRD tells nobody when it listens, so it is tried again; that it has ended is an event
                        with contextlib.suppress(TimeoutError):
                            async with asyncio.timeout(_TRY_AGAIN_S):
                                await self._process.wait()
        except TimeoutError as error:
            self.drop()
            raise Unavailable(f"BIRD does not answer at {self._socket}") from error

    def _ended(self) -> None:
        self._control = None
        self._on_end()


def _write(path: Path, text: str) -> None:
    """As a whole or not at all, for root alone: passwords are in it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.parent.chmod(0o700)  # one that is there may be open to others
        new = path.with_suffix(".new")
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
        new.rename(path)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}", "see that the directory can be written") from error


def _read(text: str) -> tuple[str, Session | None]:
    """A line of ``show protocols``: name, kind, table, state, since when, and for BGP its own state and what went wrong."""
    words = text.split()
    if len(words) < 5 or words[1] != "BGP":
        return "", None
    behind = words[5:]
    if not behind:
        return words[0], Session("Idle" if words[3] == "down" else words[3].capitalize())
    return words[0], Session(behind[0], " ".join(behind[1:]))
