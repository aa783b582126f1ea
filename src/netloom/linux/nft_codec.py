"""Set elements in the kernel's own encoding: batches of additions and deletions, and what dumps say. Pure: bytes and values.

In: :class:`Transaction` values, or attributes of a dump. Out: netlink messages, or elements.
Not here: sockets (``nft``), chains and rules (``nft_rule_codec``; most of them go as text through the ``nft`` program).
From ``linux/netfilter/nf_tables.h`` and ``nfnetlink.h``; the parts of a key are padded to four bytes each, as registers are.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

import msgspec

from netloom.linux import nft_rule_codec
from netloom.linux.netlink import (
    NLA_F_NESTED,
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_REQUEST,
    attr,
    attributes,
    be32,
    iter_attributes,
    nested,
    string,
)
from netloom.linux.nft_verdict import decode_verdict, encode_verdict
from netloom.program.nft import (
    AddElements,
    Atom,
    Container,
    DeleteElements,
    Element,
    Field,
    Key,
    Op,
    Transaction,
    Value,
    Verdict,
    render_element,
    render_key,
)
from netloom.units import Family

SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
NEWSETELEM = SUBSYSTEM << 8 | 12
GETSETELEM = SUBSYSTEM << 8 | 13
DELSETELEM = SUBSYSTEM << 8 | 14
GETTABLE = SUBSYSTEM << 8 | 1
GETCHAIN = SUBSYSTEM << 8 | 4
_BATCH_BEGIN = 0x10
_BATCH_END = 0x11
_NFPROTO = {Family.V4: 2, Family.V6: 10}

GETRULE = SUBSYSTEM << 8 | 7
GETSET = SUBSYSTEM << 8 | 10
SET_NAME = 2

OBJECT_TABLE = 1
CHAIN_NAME = 3
RULE_CHAIN = 2
RULE_USERDATA = 7
TABLE_NAME = 1

_LIST_TABLE = 1
_LIST_SET = 2
_LIST_ELEMENTS = 3
_ELEM = 1
_ELEM_KEY = 1
_ELEM_DATA = 2
_ELEM_FLAGS = 3
_ELEM_KEY_END = 10
_INTERVAL_END = 1
_DATA_VALUE = 1
_DATA_VERDICT = 2

_ELEMENTS_PER_MESSAGE = 400
"""An attribute is at most 65,535 bytes long, and an element at most about 160."""
ELEMENT_BYTES = 160
"""What one element takes at most in a batch, its share of the headers included."""
RULE_BYTES = 1_400
"""What one rule takes on average with all that it brings (some have maps of 80 verdicts), twice: ``nft`` rounds up to a power of two."""

_HEADER = struct.Struct("=IHHII")
_SEQ_MASK = 0xFFFF_FFFF
_MOST_NUMBERS = 1 << 14
_NUMBERS: dict[Atom, bytes] = {}
"""Encoded slots and labels: the same few come again and again."""


class Batch(msgspec.Struct, frozen=True):
    """A transaction as one datagram, and the way back from the kernel's complaint to the operation."""

    datagram: bytes
    first_seq: int
    parts: tuple[Part, ...]

    def index(self, seq: int) -> int:
        """Which message of the batch has this sequence number: 0 is its begin, the last part asks for an ack."""
        return (seq - self.first_seq) & _SEQ_MASK

    def operation(self, index: int, offset: int | None) -> str:
        """In words, the operation of a message; ``offset`` of the attribute that the kernel did not like."""
        return self.parts[index - 1].describe(offset) if 1 <= index <= len(self.parts) else "nft batch"


class Part(msgspec.Struct, frozen=True):
    """One message of a batch."""

    family: Family
    table: str
    op: Op
    ends: tuple[int, ...]
    """Offset in the message at which each element ends."""

    def describe(self, offset: int | None) -> str:
        """The element at an offset of the message, or the message where the kernel gave none."""
        if not isinstance(self.op, AddElements | DeleteElements):
            return Transaction(self.family, self.table, (self.op,)).render().strip()
        verb = "add element" if isinstance(self.op, AddElements) else "delete element"
        where = f"{verb} {self.family.value} {self.table} {self.op.container.name}"
        index = next((i for i, end in enumerate(self.ends) if offset is not None and offset < end), None)
        if index is None:
            return where
        if isinstance(self.op, AddElements):
            element = render_element(self.op.container, self.op.elements[index], self.family)
        else:
            element = render_key(self.family, self.op.container.key, self.op.keys[index])
        return f"{where} {{ {element} }}"


def generic(family: Family | None, resource: int = 0) -> bytes:
    """``struct nfgenmsg``; no family means all."""
    return struct.pack(">BBH", _NFPROTO[family] if family is not None else 0, 0, resource)


def encode_batch(transactions: Sequence[Transaction], first_seq: int) -> Batch:
    """Transactions as one batch, which the kernel takes whole or not at all.

    Raises:
        TypeError: there is an operation among them that only the ``nft`` program can encode.
    """
    parts: list[Part] = []
    bodies: list[tuple[int, int, bytes]] = []
    for transaction in transactions:
        for op in transaction.ops:
            for part, kind, flags, body in _messages(transaction, op, len(parts) + 1):
                parts.append(part)
                bodies.append((kind, flags, body))
    seq = first_seq
    chunks = [_message(_BATCH_BEGIN, 0, seq, generic(None, SUBSYSTEM))]
    for index, (kind, flags, body) in enumerate(bodies):
        seq += 1
        # Errors come unasked; one ack tells that all is done.
        ack = NLM_F_ACK if index == len(bodies) - 1 else 0
        chunks.append(_message(kind, flags | ack, seq, body))
    chunks.append(_message(_BATCH_END, 0, seq + 1, generic(None, SUBSYSTEM)))
    return Batch(b"".join(chunks), first_seq, tuple(parts))


def decode_elements(container: Container, family: Family, *bodies: bytes) -> Iterator[Element]:
    """The elements in the messages of a dump of ``container``.

    Raises:
        ValueError: it is a container of another shape.
    """
    read_key = _reader(container.key, family, "big" if container.is_interval else sys.byteorder)
    read_data = _reader(container.data, family)
    listed = (
        attributes(one)
        for body in bodies
        for _, one in iter_attributes(attributes(body, 4).get(_LIST_ELEMENTS, b""))
    )
    if container.is_interval and len(container.key) == 1:
        yield from _read_twos(listed)
        return
    for found in listed:
        payload = attributes(found.get(_ELEM_KEY, b"")).get(_DATA_VALUE, b"")
        if container.is_interval:
            last = attributes(found.get(_ELEM_KEY_END, b"")).get(_DATA_VALUE, b"")
            key = _ranged(read_key(payload), read_key(last))
        else:
            key = read_key(payload)
        value: Value = None
        if container.verdicts or container.data:
            data = attributes(found.get(_ELEM_DATA, b""))
            value = (
                decode_verdict(data.get(_DATA_VERDICT, b""))
                if container.verdicts
                else read_data(data.get(_DATA_VALUE, b""))
            )
        yield key, value


def _read_twos(listed: Iterable[dict[int, bytes]]) -> Iterator[Element]:
    """Ranges from elements that say where one begins and where one is over."""
    ends = sorted(
        (
            attributes(found.get(_ELEM_KEY, b"")).get(_DATA_VALUE, b""),
            not int.from_bytes(found.get(_ELEM_FLAGS, b""), "big") & _INTERVAL_END,
        )
        for found in listed
    )
    first: bytes | None = None
    for place, begins in ends:
        if first is not None:
            yield (first + (int.from_bytes(place, "big") - 1).to_bytes(len(place), "big"),), None
        first = place if begins else None
    if first is not None:
        yield (first + b"\xff" * len(first),), None


def list_request(table: str, container: str) -> bytes:
    """The attributes that ask for the elements of one container."""
    return attr(_LIST_TABLE, string(table)) + attr(_LIST_SET, string(container))


def _messages(transaction: Transaction, op: Op, number: int) -> Iterator[tuple[Part, int, int, bytes]]:
    family, table = transaction.family, transaction.table
    if isinstance(op, AddElements):
        encode = _element_writer(op.container, family)
        for start in range(0, len(op.elements), _ELEMENTS_PER_MESSAGE):
            some = op.elements[start : start + _ELEMENTS_PER_MESSAGE]
            body, ends = _body(family, table, op.container, [encode(*element) for element in some])
            yield Part(family, table, AddElements(op.container, some), ends), NEWSETELEM, NLM_F_CREATE, body
    elif isinstance(op, DeleteElements):
        encode = _element_writer(msgspec.structs.replace(op.container, data=(), verdicts=False), family)
        for start in range(0, len(op.keys), _ELEMENTS_PER_MESSAGE):
            keys = op.keys[start : start + _ELEMENTS_PER_MESSAGE]
            body, ends = _body(family, table, op.container, [encode(key, None) for key in keys])
            yield Part(family, table, DeleteElements(op.container, keys), ends), DELSETELEM, 0, body
    else:
        kind, flags, body = nft_rule_codec.encode(family, table, op, number)
        yield Part(family, table, op, ()), kind, flags, generic(family) + body


def _body(
    family: Family, table: str, container: Container, encoded: list[bytes]
) -> tuple[bytes, tuple[int, ...]]:
    head = generic(family) + list_request(table, container.name)
    offset = _HEADER.size + len(head) + 4
    ends = []
    for one in encoded:
        offset += len(one)
        ends.append(offset)
    return head + nested(_LIST_ELEMENTS, b"".join(encoded)), tuple(ends)


def _message(kind: int, flags: int, seq: int, body: bytes) -> bytes:
    # Every body here is a multiple of four bytes already.
    return _HEADER.pack(_HEADER.size + len(body), kind, flags | NLM_F_REQUEST, seq & _SEQ_MASK, 0) + body


def _element_writer(container: Container, family: Family) -> Callable[[Key, Value], bytes]:
    """A function that encodes elements. Those of one container have equal lengths, save for verdicts: heads are made once."""
    if container.is_interval:
        return _range_writer(container, family)
    write_key, key_size = _packer(container.key, family)
    write_data, data_size = _packer(container.data, family)
    key_head = _head(key_size + 8, _ELEM_KEY) + _head(key_size + 4, _DATA_VALUE, plain=True)
    data_head = _head(data_size + 8, _ELEM_DATA) + _head(data_size + 4, _DATA_VALUE, plain=True)
    key_length, data_length = 4 + len(key_head) + key_size, len(data_head) + data_size
    set_head = _head(key_length, _ELEM) + key_head
    map_head = _head(key_length + data_length, _ELEM) + key_head
    verdicts: dict[Verdict, tuple[bytes, bytes]] = {}

    def write(key: Key, value: Value) -> bytes:
        if value is None:
            return set_head + write_key(*key)
        if not isinstance(value, Verdict):
            return map_head + write_key(*key) + data_head + write_data(*value)
        known = verdicts.get(value)
        if known is None:
            data = nested(_ELEM_DATA, encode_verdict(value))
            known = verdicts[value] = (_head(key_length + len(data), _ELEM) + key_head, data)
        return known[0] + write_key(*key) + known[1]

    return write


def _range_writer(container: Container, family: Family) -> Callable[[Key, Value], bytes]:
    """For interval sets and maps: the key twice, with the first and with the last address of the range.

    Where the range is all of the key the kernel wants two elements instead, the second behind the range and with a flag.
    """
    if len(container.key) == 1:
        return _write_two
    write_key, size = _packer(container.key, family, "big")
    first_head = _head(size + 8, _ELEM_KEY) + _head(size + 4, _DATA_VALUE, plain=True)
    last_head = _head(size + 8, _ELEM_KEY_END) + _head(size + 4, _DATA_VALUE, plain=True)
    write_data, data_size = _packer(container.data, family)
    data_head = _head(data_size + 8, _ELEM_DATA) + _head(data_size + 4, _DATA_VALUE, plain=True)
    length = 4 + len(first_head) + len(last_head) + 2 * size
    head = _head(length + (len(data_head) + data_size if container.data else 0), _ELEM)

    def write(key: Key, value: Value) -> bytes:
        ends = key[-1]
        if isinstance(value, Verdict) or not isinstance(ends, bytes):
            raise TypeError(f"{container.name}: {key!r} is no range, or its value is a verdict")
        half = len(ends) // 2
        data = b"" if value is None else data_head + write_data(*value)
        first, last = write_key(*key[:-1], ends[:half]), write_key(*key[:-1], ends[half:])
        return b"".join((head, first_head, first, last_head, last, data))

    return write


def _write_two(key: Key, value: Value) -> bytes:
    ends = key[0]
    if value is not None or not isinstance(ends, bytes):
        raise TypeError(f"{key!r} is no range of a set")
    half = len(ends) // 2
    first = nested(_ELEM, nested(_ELEM_KEY, attr(_DATA_VALUE, ends[:half])))
    behind = int.from_bytes(ends[half:], "big") + 1
    if behind >> (8 * half):  # up to the last address there is: without an end
        return first
    end = nested(_ELEM_KEY, attr(_DATA_VALUE, behind.to_bytes(half, "big")))
    return first + nested(_ELEM, end, attr(_ELEM_FLAGS, be32(_INTERVAL_END)))


def _ranged(first: Key, last: Key) -> Key:
    low, high = first[-1], last[-1]
    if first[:-1] != last[:-1] or not isinstance(low, bytes) or not isinstance(high, bytes):
        raise ValueError("an element's first and last key differ in more than the range")
    return (*first[:-1], low + high)


def _head(length: int, kind: int, *, plain: bool = False) -> bytes:
    return struct.pack("=HH", length, kind if plain else kind | NLA_F_NESTED)


_HOST_ORDER = (Field.SLOT, Field.LABEL, Field.MARK)
"""Numbers in the host's order, as ``numgen`` and ``meta`` leave them in their registers; all else is in network order, and so
are these in the keys of ranges: nft turns them round before it looks."""


def _layout(fields: tuple[Field, ...], family: Family) -> struct.Struct:
    address = f"{family.bits // 8}s"
    parts = {
        Field.SLOT: "4s",
        Field.LABEL: "4s",
        Field.MARK: "4s",
        Field.ADDRESS: address,
        Field.SOURCE_RANGE: address,
        Field.PROTOCOL: "B3x",
        Field.PORT: "H2x",
        Field.MAC: "6s2x",
    }
    return struct.Struct(">" + "".join(parts[field] for field in fields))


def _packer(
    fields: tuple[Field, ...], family: Family, order: Literal["little", "big"] = sys.byteorder
) -> tuple[Callable[..., bytes], int]:
    """A function that encodes atoms, and how many bytes it gives. A number in the host's order stands first or nowhere."""
    packed = _layout(fields, family)
    if not fields or fields[0] not in _HOST_ORDER:
        return packed.pack, packed.size

    def pack(number: Atom, *rest: Atom) -> bytes:
        if order != sys.byteorder:
            return packed.pack(int(number).to_bytes(4, order), *rest)
        return packed.pack(_number(number), *rest)

    return pack, packed.size


def _number(number: Atom) -> bytes:
    encoded = _NUMBERS.get(number)
    if encoded is None:
        encoded = int(number).to_bytes(4, sys.byteorder)
        if len(_NUMBERS) < _MOST_NUMBERS:
            _NUMBERS[number] = encoded
    return encoded


def _reader(
    fields: tuple[Field, ...], family: Family, order: Literal["little", "big"] = sys.byteorder
) -> Callable[[bytes], Key]:
    packed = _layout(fields, family)
    is_number = [field in _HOST_ORDER for field in fields]
    has_number = any(is_number)

    def read(payload: bytes) -> Key:
        if len(payload) != packed.size:
            raise ValueError(f"a key or value of {packed.size} bytes was expected, not of {len(payload)}")
        atoms = packed.unpack(payload)
        if not has_number:
            return atoms
        return tuple(
            int.from_bytes(atom, order) if number else atom
            for atom, number in zip(atoms, is_number, strict=True)
        )

    return read
