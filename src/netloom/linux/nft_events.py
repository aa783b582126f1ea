"""What others do to nftables of one network namespace. In: the kernel's notifications. Out: one value per transaction.

:class:`Reading` is pure: messages in, :class:`Commit` values out. :class:`NftEvents` is the socket (group NFNLGRP_NFTABLES), and
:class:`AccountedNft` an ``Nft`` whose own commits can be told from those of others:

- Batches that it sends itself carry its netlink port. A socket filter drops them in the kernel, so that our own changes wake
  nobody (``struct nlmsghdr`` of a notification has the port of whoever committed).
- What goes through the ``nft`` program has a port that we cannot foretell. The generation id of the ruleset counts commits: where it
  is one more after the program than before, that commit was ours. Where others committed meanwhile, none counts as ours.

Not here: whether what others did is right (``dataplane/nftables/audit``). From ``linux/netfilter/nf_tables.h``.
"""

from __future__ import annotations

import asyncio
import collections
import ctypes
import errno
import os
import socket
import struct
from collections.abc import Collection, Iterable
from types import TracebackType
from typing import Self

import msgspec

from netloom.errors import KernelError, Unsupported
from netloom.linux.netlink import NETLINK_NETFILTER, Message, NetlinkSocket, Request, attributes, text
from netloom.linux.nft import Nft
from netloom.linux.nft_codec import SUBSYSTEM, generic
from netloom.program.nft import Transaction
from netloom.units import Family

_GROUP = 7  # NFNLGRP_NFTABLES
_NEWGEN = SUBSYSTEM << 8 | 15
_GETGEN = SUBSYSTEM << 8 | 16
_GEN_ID = 1
_GEN_PROC_PID = 2
_GEN_PROC_NAME = 3

_TABLE = 1
_NAME = {"table": 1, "chain": 3, "rule": 2, "map": 2, "element": 2}
"""Which attribute names the object itself, its chain or its set."""
_KINDS = {0: "table", 3: "chain", 6: "rule", 9: "map", 12: "element"}
"""By NFT_MSG_NEW...; the message that deletes is two more."""
_DELETES = 2
_FAMILIES = {2: Family.V4, 10: Family.V6}

_LENGTH = struct.Struct("=H")
_RECEIVE_BYTES = 4 << 20
_MOST_ELEMENTS = 256
"""Of more elements of one map in one commit the keys are not told."""
_MOST_CHANGES = 1024
_MOST_PLACES = 8192
_DATAGRAMS_AT_ONCE = 8
_KEPT_GENERATIONS = 64

_SO_ATTACH_FILTER = 26
_BPF_LOAD_WORD, _BPF_JUMP_EQUAL, _BPF_RETURN = 0x20, 0x15, 0x06  # linux/bpf_common.h
_PORT_OFFSET = 12  # nlmsg_pid in struct nlmsghdr
_PASS = 0xFFFF_FFFF


class Change(msgspec.Struct, frozen=True):
    """What one commit did to the objects of one kind in one place."""

    family: Family
    table: str
    kind: str
    """``table``, ``chain``, ``rule``, ``map`` (maps and sets) or ``element``."""
    name: str
    """Of the chain (for rules, the one that they are in), or of the map or set."""
    added: int = 0
    deleted: int = 0
    bodies: tuple[bytes, ...] | None = ()
    """Of elements: the messages, which ``nft_codec.decode_elements`` reads. None: more than are kept."""


class Commit(msgspec.Struct, frozen=True):
    """One transaction that the kernel has taken."""

    generation: int
    """Of the ruleset after it; 32 bits, which wrap."""
    pid: int
    """Of whoever committed, as the initial pid namespace numbers it."""
    process: str
    """Its name, at most 15 characters."""
    tables: frozenset[tuple[Family, str]]
    """The tables that it touched, of families ip and ip6."""
    changes: tuple[Change, ...] = ()
    """In the tables that were asked for."""

    def counts(self) -> dict[str, int]:
        """How many objects of each kind were added or deleted."""
        found: collections.Counter[str] = collections.Counter()
        for change in self.changes:
            found[change.kind] += change.added + change.deleted
        return dict(found)


class Overrun(msgspec.Struct, frozen=True):
    """Notifications were lost: anything may have happened, and all has to be looked at."""


Event = Commit | Overrun


class Reading:
    """Puts notifications together to commits; the kernel sends the objects first and the generation last.

    Args:
        tables: names of the tables whose changes are wanted in detail.
    """

    def __init__(self, tables: Collection[str]) -> None:
        self._wanted = frozenset(tables)
        self._tables: set[tuple[Family, str]] = set()
        self._changes: dict[tuple[Family, str, str, str], _Counts] = {}
        self._places: dict[tuple[int, int, bytes], _Counts | None] = {}
        self._truncated = False

    def feed(self, messages: Iterable[Message]) -> list[Event]:
        """The commits that these messages complete, in order."""
        complete: list[Event] = []
        for message in messages:
            if message.type == _NEWGEN:
                complete.append(self._commit(message.body))
            elif message.type >> 8 == SUBSYSTEM and message.body:
                self._take(message.type & 0xFF, message.body)
        return complete

    def forget(self) -> None:
        """Start anew, after messages were lost."""
        self._tables, self._changes, self._places, self._truncated = set(), {}, {}, False

    def _take(self, kind: int, body: bytes) -> None:
        # Every object has its table in its first attribute and its own name, chain or map in the second. There may be 50,000 of
        # one map in a commit: what these bytes mean is looked up once.
        end = _end(body, _end(body, 4))
        place = (kind, body[0], body[4:end])
        known = self._places.get(place)
        if known is None and place not in self._places:
            if len(self._places) >= _MOST_PLACES:
                self._places = {}
            known = self._places[place] = self._place(kind, body)
        if known is not None:
            known.take(body, deleted=kind not in _KINDS)

    def _place(self, kind: int, body: bytes) -> _Counts | None:
        """Where to count an object; None where it is of no interest."""
        family = _FAMILIES.get(body[0])
        if family is None:
            return None
        found = attributes(body, 4)
        table = text(found.get(_TABLE, b""))
        self._tables.add((family, table))
        word = _KINDS.get(kind) or _KINDS.get(kind - _DELETES)
        if table not in self._wanted or word is None:
            return None
        where = (family, table, word, text(found.get(_NAME[word], b"")))
        counts = self._changes.get(where)
        if counts is None:
            if len(self._changes) >= _MOST_CHANGES:
                self._truncated = True
                return None
            counts = self._changes[where] = _Counts(keeps=word == "element")
        return counts

    def _commit(self, body: bytes) -> Event:
        found = attributes(body, 4)
        commit = Commit(
            generation=int.from_bytes(found.get(_GEN_ID, b""), "big"),
            pid=int.from_bytes(found.get(_GEN_PROC_PID, b""), "big"),
            process=text(found.get(_GEN_PROC_NAME, b"")),
            tables=frozenset(self._tables),
            changes=tuple(counts.change(*place) for place, counts in self._changes.items()),
        )
        event: Event = Overrun() if self._truncated else commit
        self.forget()
        return event


class NftEvents:
    """Commits to the nftables of one network namespace. A context manager; one task reads.

    The listener's cost is the kernel's: while one exists it builds a notification for every object of every commit, which
    makes a load of 50,000 elements about a third slower; so subscribe after the first load.

    Args:
        netns_fd: the namespace; None for the caller's own.
        tables: names of the tables whose changes are wanted in detail.
        but_not: netlink ports whose commits are not told: those of our own sockets.

    Raises:
        Unsupported: this kernel has no nftables.
        KernelError: no right to listen.
    """

    def __init__(
        self, *, netns_fd: int | None = None, tables: Collection[str], but_not: Collection[int] = ()
    ) -> None:
        try:
            self._socket = NetlinkSocket(
                NETLINK_NETFILTER, netns_fd=netns_fd, groups=(_GROUP,), receive_bytes=_RECEIVE_BYTES
            )
        except OSError as error:
            raise Unsupported(
                f"nftables notifications: {error.strerror}", "this kernel needs CONFIG_NF_TABLES"
            ) from error
        self._reading = Reading(tables)
        self._ready: collections.deque[Event] = collections.deque()
        try:
            _drop_from(self._socket.fileno(), but_not)
            self._discard()  # what came before the filter was there
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()

    async def next(self) -> Event:
        """The next commit, or that some were lost.

        Raises:
            KernelError: the socket failed.
        """
        while not self._ready:
            await _readable(self._socket.fileno())
            self._read()
        return self._ready.popleft()

    def pending(self) -> list[Event]:
        """The commits that are here already, without waiting; of very many, the first.

        Raises:
            KernelError: the socket failed.
        """
        for _ in range(_DATAGRAMS_AT_ONCE):
            if not self._read():
                break
        found = list(self._ready)
        self._ready.clear()
        return found

    def _read(self) -> bool:
        """Read one datagram; False where there was none."""
        try:
            messages = self._socket.receive(wait=False)
        except KernelError as error:
            if error.errno != errno.ENOBUFS:
                raise
            # The kernel drops everything until the buffer has been emptied.
            self._discard()
            self._reading.forget()
            self._ready.append(Overrun())
            return True
        self._ready.extend(self._reading.feed(messages))
        return bool(messages)

    def _discard(self) -> None:
        while True:
            try:
                if not self._socket.receive(wait=False):
                    return
            except KernelError as error:
                if error.errno != errno.ENOBUFS:
                    raise


class AccountedNft(Nft):
    """An ``Nft`` that knows which commits were its own.

    Args:
        netns_fd: the namespace; None for the caller's own.

    Raises:
        Unsupported: this kernel has no nftables.
    """

    def __init__(self, *, netns_fd: int | None = None) -> None:
        super().__init__(netns_fd=netns_fd)
        self._own: collections.deque[int] = collections.deque(maxlen=_KEPT_GENERATIONS)

    @property
    def port(self) -> int:
        """Netlink port of the batches that it sends itself; no other socket of the namespace has it."""
        with socket.socket(fileno=os.dup(self._socket.fileno())) as same:
            port: int = same.getsockname()[0]
        return port

    @property
    def generation(self) -> int:
        """Id of the present ruleset, one more with each commit of anybody; 32 bits, which wrap.

        Raises:
            KernelError: the kernel refused to tell.
        """
        (answer,) = self._socket.request(Request(_GETGEN, 0, generic(None), "nft generation"))
        return int.from_bytes(attributes(answer.body, 4).get(_GEN_ID, b""), "big")

    async def run(self, *transactions: Transaction) -> None:
        """As ``Nft.run``."""
        if all(transaction.only_elements for transaction in transactions):
            await super().run(*transactions)
            return
        before = self.generation
        try:
            await super().run(*transactions)
        finally:
            after = self.generation
            if after == (before + 1) & 0xFFFF_FFFF:
                self._own.append(after)

    def made(self, commit: Commit) -> bool:
        """Whether this commit was ours, of those that the filter lets through; only while no :meth:`run` is under way."""
        return commit.generation in self._own


class _Counts:
    """A change that grows."""

    def __init__(self, *, keeps: bool) -> None:
        self._added = 0
        self._deleted = 0
        self._keeps = keeps
        self._bodies: list[bytes] | None = []

    def take(self, body: bytes, *, deleted: bool) -> None:
        if deleted:
            self._deleted += 1
        else:
            self._added += 1
        if not self._keeps or self._bodies is None:
            return
        if len(self._bodies) < _MOST_ELEMENTS:
            self._bodies.append(body)
        else:
            self._bodies = None

    def change(self, family: Family, table: str, kind: str, name: str) -> Change:
        bodies = None if self._bodies is None else tuple(self._bodies)
        return Change(family, table, kind, name, self._added, self._deleted, bodies)


def _end(body: bytes, offset: int) -> int:
    """Where the attribute at this offset ends."""
    if offset + 4 > len(body):
        return len(body)
    (length,) = _LENGTH.unpack_from(body, offset)
    padded: int = (length + 3) & ~3
    return offset + max(padded, 4)


async def _readable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(fd, _settle, ready)
    try:
        await ready
    finally:
        loop.remove_reader(fd)


def _drop_from(fd: int, ports: Collection[int]) -> None:
    """Let the kernel drop datagrams whose first message has one of these ports; all of one datagram come from one commit."""
    if not ports:
        return
    with socket.socket(fileno=os.dup(fd)) as same:
        program = _dropping(ports)
        code = ctypes.create_string_buffer(program)
        same.setsockopt(
            socket.SOL_SOCKET,
            _SO_ATTACH_FILTER,
            struct.pack("@HP", len(program) // 8, ctypes.addressof(code)),
        )


def _dropping(ports: Collection[int]) -> bytes:
    """Classic BPF (``struct sock_filter``): the port, read in network order, is compared with each of ours in turn."""
    steps = [(_BPF_LOAD_WORD, 0, 0, _PORT_OFFSET)]
    for left, port in zip(range(len(ports), 0, -1), ports, strict=True):
        (swapped,) = struct.unpack(">I", struct.pack("=I", port))
        steps.append((_BPF_JUMP_EQUAL, left, 0, swapped))
    steps += [(_BPF_RETURN, 0, 0, _PASS), (_BPF_RETURN, 0, 0, 0)]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
