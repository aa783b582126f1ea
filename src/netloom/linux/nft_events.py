"""What others do to nftables of one network namespace. In: the kernel's notifications. Out: one value per transaction.

:class:`NftEvents` is the socket (group NFNLGRP_NFTABLES), and :class:`AccountedNft` an ``Nft`` whose own commits can be told from
those of others:

- Batches that it sends itself carry its netlink port. A socket filter drops them in the kernel, so that our own changes wake
  nobody (``struct nlmsghdr`` of a notification has the port of whoever committed).
- What goes through the ``nft`` program has a port that we cannot foretell. The generation id of the ruleset counts commits: where it
  is one more after the program than before, that commit was ours. Where others committed meanwhile, none counts as ours.

Not here: how notifications are read (``nft_commits``), whether what others did is right (``dataplane/nftables/audit``).
"""

from __future__ import annotations

import asyncio
import collections
import ctypes
import errno
import os
import socket
import struct
from collections.abc import Collection
from types import TracebackType
from typing import Self

from netloom.errors import KernelError, Unsupported
from netloom.linux.netlink import NETLINK_NETFILTER, NetlinkSocket, Request, attributes
from netloom.linux.nft import Nft
from netloom.linux.nft_codec import SUBSYSTEM, generic
from netloom.linux.nft_commits import Commit, Event, Overrun, Reading
from netloom.program.nft import Transaction

_GROUP = 7  # NFNLGRP_NFTABLES
_GETGEN = SUBSYSTEM << 8 | 16
_GEN_ID = 1
_RECEIVE_BYTES = 4 << 20
_DATAGRAMS_AT_ONCE = 8
_KEPT_GENERATIONS = 64

_SO_ATTACH_FILTER = 26
_BPF_LOAD_WORD, _BPF_JUMP_EQUAL, _BPF_RETURN = 0x20, 0x15, 0x06  # linux/bpf_common.h
_PORT_OFFSET = 12  # nlmsg_pid in struct nlmsghdr
_PASS = 0xFFFF_FFFF


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
        if all(transaction.is_native for transaction in transactions):
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
