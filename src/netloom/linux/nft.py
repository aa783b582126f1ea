"""nftables of one network namespace. In: transactions as values. Out: a kernel that has taken them, or NftError.

Operations on elements, and on chains and rules made of statements, go to the kernel straight, as one netlink batch; the rest goes
as text through the ``nft`` program, which is 10 ms slower and knows how to encode any rule. Both are all-or-nothing.
Not here: what the transactions are (``program/nft``), the encoding (``nft_codec``).
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import struct
from types import TracebackType
from typing import Self

from netloom.errors import KernelError, NftError, NotFound, Unsupported
from netloom.linux import netns, process
from netloom.linux.netlink import (
    NETLINK_NETFILTER,
    NLMSG_ERROR,
    Message,
    NetlinkSocket,
    Request,
    attributes,
    refusal,
    text,
)
from netloom.linux.nft_codec import (
    CHAIN_NAME,
    ELEMENT_BYTES,
    GETCHAIN,
    GETRULE,
    GETSET,
    GETSETELEM,
    GETTABLE,
    OBJECT_TABLE,
    RULE_BYTES,
    RULE_CHAIN,
    RULE_USERDATA,
    SET_NAME,
    TABLE_NAME,
    Batch,
    decode_elements,
    encode_batch,
    generic,
    list_request,
)
from netloom.linux.nft_rule_codec import rule_comment
from netloom.program.nft import Container, Key, Transaction, Value
from netloom.units import Family

_SEND_BYTES = 32 << 20
_LOAD_S = 10.0
_ASIDE = 2_000
"""Transactions of more elements than this leave the event loop alone meanwhile: they take longer than 10 ms."""
_ERRNOS = {os.strerror(number): number for number in sorted(errno.errorcode, reverse=True)}
_ERROR_LINE = re.compile(r"Error: (?P<text>.+)")
_ATTR_OFFSET = 2  # NLMSGERR_ATTR_OFFS


def find_program() -> str:
    """The ``nft`` command: on the PATH, or where an ordinary user's PATH does not lead; ``nft`` where it is nowhere."""
    places = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
    return shutil.which("nft", path=places) or "nft"


class Nft:
    """The tables of one network namespace. A context manager; one task at a time.

    Args:
        netns_fd: the namespace; None for the caller's own.
        program: the ``nft`` command, 1.0.6 or newer; by default looked for where the system keeps such programs.
        send_bytes: wanted send buffer; as an ordinary user the system gives at most ``net.core.wmem_max``.

    Raises:
        Unsupported: this kernel has no nftables.
    """

    def __init__(
        self, *, netns_fd: int | None = None, program: str | None = None, send_bytes: int = _SEND_BYTES
    ) -> None:
        self._netns_fd = netns_fd
        self._program = program or find_program()
        try:
            self._socket = NetlinkSocket(NETLINK_NETFILTER, netns_fd=netns_fd, send_bytes=send_bytes)
        except OSError as error:
            raise Unsupported(
                f"netfilter netlink socket: {error.strerror}", "this kernel needs CONFIG_NF_TABLES"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket; what is in the kernel stays."""
        self._socket.close()

    @property
    def most_elements(self) -> int:
        """How many element operations one transaction can surely hold, for want of a larger send buffer."""
        return max(1, (self._socket.send_buffer - 4096) // ELEMENT_BYTES)

    @property
    def most_rules(self) -> int:
        """How many rules one transaction can surely hold.

        These go through the ``nft`` program, which as an ordinary user takes the buffer that it is given.
        """
        room = self._socket.send_buffer if self._socket.may_force else self._socket.default_send_buffer
        return max(1, room // RULE_BYTES)

    async def run(self, *transactions: Transaction) -> None:
        """Apply all of them together or none.

        Raises:
            NftError: the kernel refused, naming the operation; nothing has changed.
            Unsupported: there is no ``nft`` program, and the transactions touch more than elements.
        """
        wanted = [transaction for transaction in transactions if transaction.count]
        if not wanted:
            return
        if not all(transaction.is_native for transaction in wanted):
            await self._run_text("".join(transaction.render() for transaction in wanted))
        elif sum(transaction.count for transaction in wanted) > _ASIDE:
            await netns.run_in_async(None, lambda: self._run_batch(wanted))
        else:
            self._run_batch(wanted)

    def run_native(self, transaction: Transaction) -> None:
        """As :meth:`run`, at once and on this thread, for a transaction of elements only.

        Raises:
            NftError: the kernel refused, naming the operation; nothing has changed.
        """
        if transaction.count:
            self._run_batch([transaction])

    def read_elements(self, family: Family, table: str, container: Container) -> dict[Key, Value]:
        """As :meth:`elements`, on this thread."""
        return self._elements(family, table, container)

    async def elements(self, family: Family, table: str, container: Container) -> dict[Key, Value]:
        """Everything that is in a map or set; not for the path of a change.

        Raises:
            NftError: there is no such table or container (ENOENT), or it is of another shape (EINVAL).
        """
        return await netns.run_in_async(None, lambda: self._elements(family, table, container))

    async def chains(self, family: Family, table: str) -> dict[str, tuple[str, ...]] | None:
        """The table's chains, and the comment of each rule in it, in order; None where there is no such table."""
        tables = self._socket.dump(Request(GETTABLE, 0, generic(family), "nft list tables"))
        if table not in {text(attributes(message.body, 4).get(TABLE_NAME, b"")) for message in tables}:
            return None
        found: dict[str, list[str]] = {
            text(one.get(CHAIN_NAME, b"")): [] for one in self._objects(family, table, GETCHAIN)
        }
        for rule in self._objects(family, table, GETRULE):
            comment = rule_comment(rule.get(RULE_USERDATA, b""))
            found.setdefault(text(rule.get(RULE_CHAIN, b"")), []).append(comment)
        return {chain: tuple(comments) for chain, comments in found.items()}

    async def containers(self, family: Family, table: str) -> set[str]:
        """Names of the table's maps and sets; empty where there is no such table."""
        return {text(one.get(SET_NAME, b"")) for one in self._objects(family, table, GETSET)}

    def _objects(self, family: Family, table: str, kind: int) -> list[dict[int, bytes]]:
        """The attributes of each object of a table; chains and rules have the table in the same one."""
        found = (
            attributes(message.body, 4)
            for message in self._socket.dump(Request(kind, 0, generic(family), f"nft list table {table}"))
        )
        return [one for one in found if text(one.get(OBJECT_TABLE, b"")) == table]

    def _elements(self, family: Family, table: str, container: Container) -> dict[Key, Value]:
        operation = f"list {family.value} {table} {container.name}"
        body = generic(family) + list_request(table, container.name)
        try:
            messages = self._socket.dump(Request(GETSETELEM, 0, body, operation))
            return dict(decode_elements(container, family, *(message.body for message in messages)))
        except KernelError as error:
            raise NftError(operation, error.errno, os.strerror(error.errno)) from error
        except ValueError as error:
            raise NftError(operation, errno.EINVAL, str(error)) from error

    def _run_batch(self, transactions: list[Transaction]) -> None:
        first = self._socket.next_seq()
        batch = encode_batch(transactions, first)
        for _ in range(len(batch.parts) + 1):
            self._socket.next_seq()
        try:
            self._socket.send(batch.datagram)
        except KernelError as error:
            raise NftError("nft batch", error.errno, os.strerror(error.errno)) from error
        self._await(batch)

    def _await(self, batch: Batch) -> None:
        """Wait for the ack of the last operation; the first refusal in the order of operations is raised."""
        refused: dict[int, NftError] = {}
        last = len(batch.parts)
        ended = False
        while not ended:
            for message in self._socket.receive():
                index = batch.index(message.seq)
                if message.type != NLMSG_ERROR or index > last + 1:
                    continue
                answer = refusal(message)
                if answer is not None:
                    words = answer.text or os.strerror(answer.errno)
                    operation = batch.operation(index, _offset(message))
                    refused.setdefault(index, NftError(operation, answer.errno, words))
                # Refusals of single operations come in their order, the last one's ack or refusal at the end; what
                # concerns the batch as a whole is said of its first message, and is all that comes.
                ended = ended or index in (0, last)
        if refused:
            raise refused[min(refused)]

    async def _run_text(self, program: str) -> None:
        namespaces = None if self._netns_fd is None else netns.Namespaces(net=self._netns_fd)
        try:
            done = await process.run([self._program, "-f", "-"], input=program.encode(), ns=namespaces)
        except NotFound as error:
            raise Unsupported(
                f"no {self._program} program", "install the nftables package (1.0.6 or newer)"
            ) from error
        if done.returncode != 0:
            raise _refused(program, done.stderr.decode(errors="replace"))


def load_now(program: str) -> None:
    """Apply text of nft in the caller's own namespace, all or nothing; for a process without an event loop.

    Raises:
        NftError: the kernel or the program refused it; nothing has changed.
        Unsupported: there is no ``nft`` program.
        Unavailable: it did not end.
    """
    with (
        os.fdopen(os.memfd_create("nft"), "w+b") as source,
        os.fdopen(os.memfd_create("error"), "w+b") as said,
    ):
        source.write(program.encode())
        source.seek(0)
        command = process.Command(
            argv=(find_program(), "-f", "-"), stdin=source.fileno(), stderr=said.fileno()
        )
        try:
            started = process.spawn_now(command)
        except NotFound as error:
            raise Unsupported("no nft program", "install the nftables package (1.0.6 or newer)") from error
        with contextlib.closing(started):
            code = started.wait_now(_LOAD_S)
        if code != 0:
            said.seek(0)
            raise _refused(program, said.read().decode(errors="replace"))


def _offset(message: Message) -> int | None:
    # struct nlmsgerr: errno, then the header of our message (NETLINK_CAP_ACK), then attributes.
    payload = attributes(message.body, 20).get(_ATTR_OFFSET, b"")
    return struct.unpack("=I", payload)[0] if len(payload) == 4 else None


def _refused(program: str, stderr: str) -> NftError:
    """What the program complained of: its first line, errno where the words are the kernel's, and the statement meant."""
    found = _ERROR_LINE.search(stderr)
    words = found["text"] if found else stderr.strip().split("\n", 1)[0]
    number = next((n for said, n in _ERRNOS.items() if words.endswith(said)), errno.EINVAL)
    place = re.search(r":(\d+):\d+", stderr)
    lines = program.split("\n")
    line = int(place[1]) if place else 0
    statement = lines[line - 1].strip() if 0 < line <= len(lines) else "nft -f"
    return NftError(statement[:200], number, words)
