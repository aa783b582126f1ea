"""What nftables of one network namespace holds, read beside the one who writes. In: names. Out: elements, and digests of rules.

It has a socket of its own, so that it can be used while an ``Nft`` is busy. Nothing here is kept from changing meanwhile:
what is read of a table that others write to is a hint, and whoever acts on it reads the keys in question again (:meth:`NftDump.look_up`).

Digests leave out what means nothing: handles, counters, and names and order of anonymous sets. Two tables that were made by the
same program have the same digests, in whatever namespace.
Not here: what should be there (``dataplane/nftables/drift``). From ``linux/netfilter/nf_tables.h``.
"""

from __future__ import annotations

import collections
import errno
import hashlib
import os
import struct
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Self

import msgspec

from netloom.errors import KernelError, NftError, Unsupported
from netloom.linux import netns
from netloom.linux.netlink import (
    NETLINK_NETFILTER,
    NLM_F_ACK,
    NLM_F_DUMP,
    NLMSG_DONE,
    NLMSG_ERROR,
    Message,
    NetlinkSocket,
    Request,
    attr,
    attributes,
    decode,
    encode,
    iter_attributes,
    refusal,
    string,
    text,
)
from netloom.linux.nft_codec import (
    CHAIN_NAME,
    DELSETELEM,
    GETCHAIN,
    GETRULE,
    GETSETELEM,
    OBJECT_TABLE,
    RULE_CHAIN,
    SUBSYSTEM,
    TABLE_NAME,
    decode_elements,
    encode_batch,
    generic,
    list_request,
)
from netloom.program.nft import Container, DeleteElements, Key, Transaction, Value
from netloom.units import Family

_GETTABLE = SUBSYSTEM << 8 | 1
_GETSET = SUBSYSTEM << 8 | 10

_TABLE_FLAGS = 2
_CHAIN_HOOK, _CHAIN_POLICY, _CHAIN_TYPE = 4, 5, 7
_HOOK_NUMBER, _HOOK_PRIORITY = 1, 2
_HOOKS = ("prerouting", "input", "forward", "output", "postrouting")  # linux/netfilter.h
_POLICIES = ("drop", "accept")
_RULE_EXPRESSIONS = 4
_EXPRESSION_NAME, _EXPRESSION_DATA = 1, 2
_SET_NAME, _SET_ELEMENTS = 2, 3
_SET_DEFINITION = (3, 4, 5, 6, 7, 9, 11, 12)
"""Of a map or set what its declaration says: flags, types and lengths, size and parts of the key, timeout."""
_SET_REFERENCE = 1  # NFTA_LOOKUP_SET, NFTA_DYNSET_SET_NAME
_STATEFUL = {"counter", "quota", "last"}
"""Expressions whose data change with each packet."""
_ANONYMOUS = b"__"

_PAGES = 64
"""How many pages of a dump are read on a thread at a time: 2 MiB."""
_AT_ONCE = 64
"""Questions in one datagram."""
_ELEMENTS_AT_ONCE = 100
_LENGTH = struct.Struct("=H")


class ChainDump(msgspec.Struct, frozen=True):
    """One chain."""

    hook: str
    """Of a base chain as nft would write it, ``nat prerouting -100 accept``; else empty."""
    rules: tuple[bytes, ...]
    """Digests, in order."""


class TableDump(msgspec.Struct, frozen=True):
    """One table but for the elements of its maps."""

    chains: Mapping[str, ChainDump]
    containers: Mapping[str, bytes]
    """Digests of the declarations of named maps and sets."""
    flags: bytes = b""
    """``dormant`` is one: a table that does nothing."""


class NftDump:
    """Reads the tables of one network namespace. A context manager; one task at a time.

    Args:
        netns_fd: the namespace; None for the caller's own.

    Raises:
        Unsupported: this kernel has no nftables.
    """

    def __init__(self, *, netns_fd: int | None = None) -> None:
        try:
            self._socket = NetlinkSocket(NETLINK_NETFILTER, netns_fd=netns_fd)
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
        """Close the socket."""
        self._socket.close()

    async def table(self, family: Family, table: str) -> TableDump | None:
        """Chains, rules and declarations of a table; None where there is none.

        Raises:
            KernelError: the kernel refused.
            Unavailable: it did not hold still for any of several tries.
        """
        return await netns.run_in_async(None, lambda: self._table(family, table))

    async def elements(
        self, family: Family, table: str, container: Container
    ) -> AsyncIterator[Iterator[tuple[Key, Value]]]:
        """What is in a map or set, some at a time; where it is written to meanwhile, roughly. Each is a millisecond's work.

        Raises:
            NftError: there is no such table or container (ENOENT), or it is of another shape (EINVAL).
        """
        operation = f"list {family.value} {table} {container.name}"
        seq = self._socket.next_seq()
        body = generic(family) + list_request(table, container.name)
        self._socket.send(encode(Request(GETSETELEM, NLM_F_DUMP, body, operation), seq))
        ended = False
        kept: list[bytes] = []
        while not ended:
            pages, ended = await netns.run_in_async(None, lambda: self._pages(operation, seq))
            if container.is_interval:
                kept += pages  # a range is told in two elements, which need not be in one message
                continue
            for body in (smaller for page in pages for smaller in _smaller(page)):
                yield _decoded(container, family, operation, body)
        if kept:
            yield _decoded(container, family, operation, *kept)

    async def look_up(
        self, family: Family, table: str, container: Container, keys: Sequence[Key]
    ) -> dict[Key, Value]:
        """Which of these keys are there, and their values; none where there is no such table or container.

        Raises:
            NftError: it is of another shape (EINVAL).
        """
        if not container.is_interval:
            return await netns.run_in_async(None, lambda: self._look_up(family, table, container, keys))
        # The kernel looks a range up by addresses in it, not by its ends. There are few.
        found: dict[Key, Value] = {}
        try:
            async for page in self.elements(family, table, container):
                found.update(page)
        except NftError as error:
            if error.errno != errno.ENOENT:
                raise
        return {key: found[key] for key in keys if key in found}

    def _pages(self, operation: str, seq: int) -> tuple[list[bytes], bool]:
        """The bodies of the next messages of a dump, and whether it has ended."""
        found: list[bytes] = []
        for _ in range(_PAGES):
            for message in self._socket.receive():
                if message.seq != seq:
                    continue
                if message.type in {NLMSG_DONE, NLMSG_ERROR}:
                    refused = refusal(message)
                    if refused is not None and refused.errno != errno.EINTR:
                        raise NftError(operation, refused.errno, os.strerror(refused.errno))
                    return found, True
                found.append(message.body)
        return found, False

    def _look_up(
        self, family: Family, table: str, container: Container, keys: Sequence[Key]
    ) -> dict[Key, Value]:
        operation = f"get {family.value} {table} {container.name}"
        found: dict[Key, Value] = {}
        for start in range(0, len(keys), _AT_ONCE):
            bodies = [_question(family, table, container, key) for key in keys[start : start + _AT_ONCE]]
            first = self._socket.next_seq()
            seqs = [first, *(self._socket.next_seq() for _ in bodies[1:])]
            self._socket.send(
                b"".join(
                    encode(Request(GETSETELEM, NLM_F_ACK, body, operation), seq)
                    for body, seq in zip(bodies, seqs, strict=True)
                )
            )
            for body in self._answers(set(seqs), operation):
                found.update(_decoded(container, family, operation, body))
        return found

    def _answers(self, waiting: set[int], operation: str) -> list[bytes]:
        """What came for these requests until each was acknowledged or refused; a key that is not there has no answer."""
        found: list[bytes] = []
        while waiting:
            for message in self._socket.receive():
                if message.seq not in waiting:
                    continue
                if message.type != NLMSG_ERROR:
                    found.append(message.body)
                    continue
                waiting.discard(message.seq)
                refused = refusal(message)
                if refused is not None and refused.errno != errno.ENOENT:
                    raise NftError(operation, refused.errno, os.strerror(refused.errno))
        return found

    def _table(self, family: Family, table: str) -> TableDump | None:
        flags = [
            found.get(_TABLE_FLAGS, b"")
            for found in self._objects(family, _GETTABLE, b"")
            if text(found.get(TABLE_NAME, b"")) == table
        ]
        if not flags:
            return None
        named = attr(OBJECT_TABLE, string(table))
        containers: dict[str, bytes] = {}
        anonymous: dict[bytes, bytes] = {}
        for found in self._objects(family, _GETSET, named):
            name = found.get(_SET_NAME, b"")
            declared = b"".join(found.get(kind, b"") for kind in _SET_DEFINITION)
            if name.startswith(_ANONYMOUS):
                anonymous[name] = declared
            else:
                containers[text(name)] = _digest(declared)
        contents = {
            name: _digest(declared, *self._raw_elements(family, table, text(name)))
            for name, declared in anonymous.items()
        }
        rules: dict[str, list[bytes]] = collections.defaultdict(list)
        for found in self._objects(family, GETRULE, named):
            if text(found.get(OBJECT_TABLE, b"")) == table:
                rules[text(found.get(RULE_CHAIN, b""))].append(
                    _rule_digest(found.get(_RULE_EXPRESSIONS, b""), contents)
                )
        chains = {
            text(found.get(CHAIN_NAME, b"")): _hook(found)
            for found in self._objects(family, GETCHAIN, b"")
            if text(found.get(OBJECT_TABLE, b"")) == table
        }
        return TableDump(
            {name: ChainDump(hook, tuple(rules.get(name, ()))) for name, hook in chains.items()},
            containers,
            flags[0],
        )

    def _objects(self, family: Family, kind: int, restriction: bytes) -> list[dict[int, bytes]]:
        request = Request(kind, 0, generic(family) + restriction, "nft list ruleset")
        return [attributes(message.body, 4) for message in self._socket.dump(request)]

    def _raw_elements(self, family: Family, table: str, name: str) -> list[bytes]:
        """As the kernel writes them, sorted: the order of a dump is by a hash that is another each time."""
        body = generic(family) + list_request(table, name)
        try:
            messages: list[Message] = self._socket.dump(
                Request(GETSETELEM, 0, body, f"list {family.value} {table} {name}")
            )
        except KernelError as error:
            if error.errno == errno.ENOENT:  # gone with its rule since we heard of it
                return []
            raise
        return sorted(
            element
            for message in messages
            for _, element in iter_attributes(attributes(message.body, 4).get(_SET_ELEMENTS, b""))
        )


def _smaller(body: bytes) -> Iterator[bytes]:
    """The elements of a message as several, with fewer elements each."""
    elements = attributes(body, 4).get(_SET_ELEMENTS, b"")
    start = offset = count = 0
    while offset + 4 <= len(elements):
        (length,) = _LENGTH.unpack_from(elements, offset)
        if length < 4:
            break
        offset += (length + 3) & ~3
        count += 1
        if count == _ELEMENTS_AT_ONCE or offset >= len(elements):
            yield body[:4] + attr(_SET_ELEMENTS, elements[start:offset])
            start, count = offset, 0


def _decoded(
    container: Container, family: Family, operation: str, *bodies: bytes
) -> Iterator[tuple[Key, Value]]:
    try:
        yield from decode_elements(container, family, *bodies)
    except ValueError as error:
        raise NftError(operation, errno.EINVAL, str(error)) from error


def _question(family: Family, table: str, container: Container, key: Key) -> bytes:
    """What asks for one element has the form of what deletes it."""
    deletion = Transaction(family, table, (DeleteElements(container, (key,)),))
    return next(
        message.body for message in decode(encode_batch([deletion], 0).datagram) if message.type == DELSETELEM
    )


def _hook(chain: Mapping[int, bytes]) -> str:
    if _CHAIN_HOOK not in chain:
        return ""
    hook = attributes(chain[_CHAIN_HOOK])
    number = int.from_bytes(hook.get(_HOOK_NUMBER, b""), "big")
    priority = int.from_bytes(hook.get(_HOOK_PRIORITY, b""), "big", signed=True)
    policy = int.from_bytes(chain.get(_CHAIN_POLICY, b""), "big")
    return " ".join((
        text(chain.get(_CHAIN_TYPE, b"")),
        _HOOKS[number] if number < len(_HOOKS) else str(number),
        str(priority),
        _POLICIES[policy] if policy < len(_POLICIES) else str(policy),
    ))  # fmt: skip


def _rule_digest(expressions: bytes, contents: Mapping[bytes, bytes]) -> bytes:
    if _ANONYMOUS not in expressions and not any(name.encode() in expressions for name in _STATEFUL):
        return _digest(expressions)
    parts: list[bytes] = []
    for _, element in iter_attributes(expressions):
        expression = attributes(element)
        name = expression.get(_EXPRESSION_NAME, b"")
        data = expression.get(_EXPRESSION_DATA, b"")
        parts.append(name)
        if text(name) in _STATEFUL:
            continue
        parts.extend(
            contents.get(payload, payload) if kind == _SET_REFERENCE else b"%d:%b" % (kind, payload)
            for kind, payload in iter_attributes(data)
        )
    return _digest(*parts)


def _digest(*parts: bytes) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(4, "big"))
        digest.update(part)
    return digest.digest()
