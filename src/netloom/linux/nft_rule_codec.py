"""Chains, rules and sets in the kernel's own encoding, for programs that change with the cluster. Pure: values to bytes.

In: operations of ``program.nft`` whose encoding is known (``Transaction.is_native``). Out: kind, flags and body of a message.
Not here: elements (``nft_codec``), base chains and rules that only the ``nft`` program can encode.
From ``linux/netfilter/nf_tables.h``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from netloom.linux.netlink import NLM_F_APPEND, NLM_F_CREATE, attr, be16, be32, nested, string, text, u8
from netloom.linux.nft_verdict import encode_verdict
from netloom.program.nft import (
    AddChain,
    AddContainer,
    AddRule,
    Container,
    DeleteChain,
    DeleteContainer,
    Field,
    FlushChain,
    Op,
)
from netloom.program.nft_rules import (
    AddressIn,
    Count,
    Do,
    Limit,
    Log,
    Look,
    PairIn,
    PortIn,
    ProtocolIs,
    Side,
    TupleIn,
)
from netloom.units import Family

_SUBSYSTEM = 10 << 8
_NEWCHAIN, _DELCHAIN = _SUBSYSTEM | 3, _SUBSYSTEM | 5
_NEWRULE, _DELRULE = _SUBSYSTEM | 6, _SUBSYSTEM | 8
_NEWSET, _DELSET = _SUBSYSTEM | 9, _SUBSYSTEM | 11

_TABLE = 1
_CHAIN_NAME = 3
_RULE_CHAIN, _RULE_EXPRESSIONS, _RULE_USERDATA = 2, 4, 7
_SET_NAME, _SET_FLAGS, _SET_KEY_TYPE, _SET_KEY_LENGTH = 2, 3, 4, 5
_SET_DATA_TYPE, _SET_DATA_LENGTH, _SET_DESCRIPTION, _SET_ID = 6, 7, 9, 10
_FLAG_INTERVAL, _FLAG_MAP, _FLAG_CONCAT = 4, 8, 0x80
_VERDICT_TYPE = 0xFFFF_FF00
_LIST_ELEM = 1
_EXPR_NAME, _EXPR_DATA = 1, 2
_DATA_VALUE = 1
_USERDATA_COMMENT = 0

_REGISTER = 1  # NFT_REG_1, 16 bytes
_REGISTERS_32 = 8  # NFT_REG32_00, of 4 bytes each
_VERDICT_REGISTER = 0
_NETWORK, _TRANSPORT = 1, 2  # enum nft_payload_bases
_META_L4PROTO = 16
_EQUAL = 0

# nft's own numbers of types, so that it can list what is here (nftables: enum datatypes).
_TYPES = {Field.PROTOCOL: 12, Field.PORT: 13}
_ADDRESS_TYPES = {Family.V4: 7, Family.V6: 8}
_ADDRESSES = {Family.V4: (12, 16, 4), Family.V6: (8, 24, 16)}
"""Offsets of source and destination in the header, and length."""

Message = tuple[int, int, bytes]
"""Kind, flags, and body after the generic header."""


def encode(family: Family, table: str, op: Op, number: int) -> Message:
    """One operation; ``number`` is another for each set of a batch.

    Raises:
        TypeError: its encoding is not known here.
    """
    head = attr(_TABLE, string(table))
    match op:
        case AddChain(chain) if chain.hook is None:
            return _NEWCHAIN, NLM_F_CREATE, head + attr(_CHAIN_NAME, string(chain.name))
        case DeleteChain(name):
            return _DELCHAIN, 0, head + attr(_CHAIN_NAME, string(name))
        case FlushChain(name):
            return _DELRULE, 0, head + attr(_RULE_CHAIN, string(name))
        case AddContainer(container):
            return _NEWSET, NLM_F_CREATE, head + _set(family, container, number)
        case DeleteContainer(container):
            return _DELSET, 0, head + attr(_SET_NAME, string(container.name))
        case AddRule(chain, _, comment, statements) if statements:
            body = head + attr(_RULE_CHAIN, string(chain)) + _expressions(family, statements)
            if comment:
                said = string(comment)
                body += attr(_RULE_USERDATA, bytes((_USERDATA_COMMENT, len(said))) + said)
            return _NEWRULE, NLM_F_CREATE | NLM_F_APPEND, body
        case _:
            raise TypeError(f"{type(op).__name__} has no encoding here")


def _set(family: Family, container: Container, number: int) -> bytes:
    flags = _FLAG_INTERVAL if container.is_interval else 0
    lengths = [_length(family, field) for field in container.key]
    description = b""
    if len(lengths) > 1:
        flags |= _FLAG_CONCAT
        fields = b"".join(nested(_LIST_ELEM, attr(1, be32(length))) for length in lengths)
        description = nested(_SET_DESCRIPTION, nested(2, fields))
    data = b""
    if container.verdicts:
        flags |= _FLAG_MAP
        data = attr(_SET_DATA_TYPE, be32(_VERDICT_TYPE)) + attr(_SET_DATA_LENGTH, be32(16))
    return b"".join(
        (
            attr(_SET_NAME, string(container.name)),
            attr(_SET_FLAGS, be32(flags)),
            attr(_SET_KEY_TYPE, be32(_type(family, container.key))),
            attr(_SET_KEY_LENGTH, be32(sum(-(-length // 4) * 4 for length in lengths))),
            data,
            description,
            attr(_SET_ID, be32(number)),
        )
    )


def _length(family: Family, field: Field) -> int:
    return {Field.PROTOCOL: 1, Field.PORT: 2}.get(field, family.bits // 8)


def _type(family: Family, fields: tuple[Field, ...]) -> int:
    number = 0
    for field in fields:  # a concatenation has six bits for each part
        number = number << 6 | _TYPES.get(field, _ADDRESS_TYPES[family])
    return number


def _expressions(family: Family, statements: tuple[msgspec.Struct, ...]) -> bytes:
    listed = (
        nested(_LIST_ELEM, attr(_EXPR_NAME, string(name)), nested(_EXPR_DATA, data))
        for statement in statements
        for name, data in _encoders[type(statement)](family, statement)
    )
    return nested(_RULE_EXPRESSIONS, b"".join(listed))


Expression = tuple[str, bytes]


def _payload(base: int, offset: int, length: int, register: int) -> Expression:
    data = attr(1, be32(register)) + attr(2, be32(base)) + attr(3, be32(offset)) + attr(4, be32(length))
    return "payload", data


def _address(family: Family, side: Side, register: int) -> Expression:
    source, destination, length = _ADDRESSES[family]
    return _payload(_NETWORK, source if side is Side.SOURCE else destination, length, register)


def _protocol(register: int) -> Expression:
    return "meta", attr(2, be32(_META_L4PROTO)) + attr(1, be32(register))


def _value(kind: int, payload: bytes) -> bytes:
    return nested(kind, attr(_DATA_VALUE, payload))


def _compare(payload: bytes) -> Expression:
    return "cmp", attr(1, be32(_REGISTER)) + attr(2, be32(_EQUAL)) + _value(3, payload)


def _lookup(name: str, *, into: int | None = None) -> Expression:
    data = attr(1, string(name)) + attr(2, be32(_REGISTER))
    return "lookup", data if into is None else data + attr(3, be32(into))


def _address_in(family: Family, one: AddressIn) -> Iterator[Expression]:
    yield _address(family, one.side, _REGISTER)
    yield _lookup(one.set)


def _tuple_in(family: Family, one: TupleIn) -> Iterator[Expression]:
    after = _REGISTERS_32 + family.bits // 32
    yield _address(family, Side.DESTINATION, _REGISTER)
    yield _protocol(after)
    yield _payload(_TRANSPORT, 2, 2, after + 1)
    yield _lookup(one.set)


def _pair_in(family: Family, one: PairIn) -> Iterator[Expression]:
    yield _address(family, Side.SOURCE, _REGISTERS_32)
    yield _address(family, Side.DESTINATION, _REGISTERS_32 + family.bits // 32)
    yield "lookup", attr(1, string(one.set)) + attr(2, be32(_REGISTERS_32))


def _protocol_is(_: Family, one: ProtocolIs) -> Iterator[Expression]:
    yield _protocol(_REGISTER)
    yield _compare(u8(one.protocol.number))


def _port_in(_: Family, one: PortIn) -> Iterator[Expression]:
    yield _payload(_TRANSPORT, 2, 2, _REGISTER)
    if one.first == one.last:
        yield _compare(be16(one.first))
    else:
        ends = _value(3, be16(one.first)) + _value(4, be16(one.last))
        yield "range", attr(1, be32(_REGISTER)) + attr(2, be32(_EQUAL)) + ends


def _count(_: Family, __: Count) -> Iterator[Expression]:
    yield "counter", b""


def _log(_: Family, one: Log) -> Iterator[Expression]:
    yield "log", attr(1, be16(one.group)) + attr(2, string(one.prefix)) + attr(3, be32(128))


def _limit(_: Family, one: Limit) -> Iterator[Expression]:
    rate = one.a_second.to_bytes(8, "big")
    a_second = (1).to_bytes(8, "big")
    yield "limit", attr(1, rate) + attr(2, a_second) + attr(3, be32(one.a_second)) + attr(4, be32(0))


def _look(family: Family, one: Look) -> Iterator[Expression]:
    yield _address(family, one.side, _REGISTER)
    yield _lookup(one.map, into=_VERDICT_REGISTER)


def _do(_: Family, one: Do) -> Iterator[Expression]:
    yield "immediate", attr(1, be32(_VERDICT_REGISTER)) + nested(2, encode_verdict(one.verdict))


_encoders: dict[type, Callable[[Family, Any], Iterator[Expression]]] = {
    AddressIn: _address_in,
    TupleIn: _tuple_in,
    PairIn: _pair_in,
    ProtocolIs: _protocol_is,
    PortIn: _port_in,
    Count: _count,
    Log: _log,
    Limit: _limit,
    Look: _look,
    Do: _do,
}


def rule_comment(userdata: bytes) -> str:
    """The comment in a rule's user data, where ``nft`` keeps it: type, length, text."""
    while len(userdata) >= 2:
        kind, length = userdata[0], userdata[1]
        if kind == _USERDATA_COMMENT:
            return text(userdata[2 : 2 + length])
        userdata = userdata[2 + length :]
    return ""
