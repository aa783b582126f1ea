"""Routing policy rules: which table is asked for packets from an address, or with a mark. In: values. Out: netlink requests (linux/fib_rules.h).

Not here: routes of the tables (``rtmsg``), sockets (``rtnl``).
"""

from __future__ import annotations

import socket
import struct

from netloom.linux.netlink import NLM_F_CREATE, NLM_F_EXCL, Message, Request, attr, attributes, u8, u32
from netloom.program.routes import MarkRule
from netloom.units import Addr, Family, family_of

RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE = 32, 33, 34
_HEAD = struct.Struct("=BBBBBBBBI")
_FRA_SRC, _FRA_PRIORITY, _FRA_MARK, _FRA_TABLE, _FRA_MASK, _FRA_PROTOCOL = 2, 6, 10, 15, 16, 21
_WHOLE_MARK = 0xFFFFFFFF
_FR_ACT_TO_TBL = 1
_AF = {Family.V4: socket.AF_INET, Family.V6: socket.AF_INET6}


def new_rule(source: Addr, table: int, *, priority: int, protocol: int) -> Request:
    """Packets from an address are routed by a table; EEXIST where the rule is there."""
    family = family_of(source)
    low = table if table < 256 else 0
    body = _HEAD.pack(_AF[family], 0, family.bits, 0, low, 0, 0, _FR_ACT_TO_TBL, 0)
    body += attr(_FRA_SRC, source.packed) + attr(_FRA_PRIORITY, u32(priority))
    body += attr(_FRA_TABLE, u32(table)) + attr(_FRA_PROTOCOL, u8(protocol))
    return Request(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, body, f"rule from {source} to table {table}")


def delete_rule(source: Addr, *, priority: int) -> Request:
    """Take away a rule for packets from an address, whichever table it names; ENOENT where there is none."""
    family = family_of(source)
    body = _HEAD.pack(_AF[family], 0, family.bits, 0, 0, 0, 0, 0, 0)
    body += attr(_FRA_SRC, source.packed) + attr(_FRA_PRIORITY, u32(priority))
    return Request(RTM_DELRULE, 0, body, f"delete rule from {source}")


def new_mark_rule(family: Family, rule: MarkRule) -> Request:
    """Packets with a mark are routed by a table; EEXIST where the rule is there."""
    return Request(
        RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, _mark_rule(family, rule), f"{family.value} rule {rule}"
    )


def delete_mark_rule(family: Family, rule: MarkRule) -> Request:
    """Take such a rule away; ENOENT where there is none."""
    return Request(RTM_DELRULE, 0, _mark_rule(family, rule), f"delete {family.value} rule {rule}")


def _mark_rule(family: Family, rule: MarkRule) -> bytes:
    low = rule.table if rule.table < 256 else 0
    body = _HEAD.pack(_AF[family], 0, 0, 0, low, 0, 0, _FR_ACT_TO_TBL, 0)
    body += attr(_FRA_PRIORITY, u32(rule.priority)) + attr(_FRA_MARK, u32(rule.mark))
    body += attr(_FRA_MASK, u32(_WHOLE_MARK)) + attr(_FRA_TABLE, u32(rule.table))
    return body + attr(_FRA_PROTOCOL, u8(rule.protocol))


def read_mark_rule(message: Message) -> MarkRule | None:
    """A rule for the packets with one mark; None for other rules."""
    _, to_bits, from_bits, _, table, _, _, action, flags = _HEAD.unpack_from(message.body)
    found = attributes(message.body, _HEAD.size)
    if action != _FR_ACT_TO_TBL or to_bits or from_bits or flags or _FRA_MARK not in found:
        return None
    if _u32(found.get(_FRA_MASK)) != _WHOLE_MARK:
        return None
    return MarkRule(
        mark=_u32(found[_FRA_MARK]),
        table=_u32(found.get(_FRA_TABLE)) or table,
        priority=_u32(found.get(_FRA_PRIORITY)),
        protocol=found.get(_FRA_PROTOCOL, bytes(1))[0],
    )


def _u32(payload: bytes | None) -> int:
    return int(struct.unpack("=I", payload)[0]) if payload is not None and len(payload) == 4 else 0


def dump_rules(family: Family) -> Request:
    """Ask for all rules of a family."""
    return Request(
        RTM_GETRULE, 0, _HEAD.pack(_AF[family], 0, 0, 0, 0, 0, 0, 0, 0), f"list {family.value} rules"
    )


def read_source_rule(message: Message) -> tuple[bytes, int] | None:
    """Source and table of a rule for the packets of one address; None for other rules."""
    _, to_bits, from_bits, _, table, _, _, action, _ = _HEAD.unpack_from(message.body)
    found = attributes(message.body, _HEAD.size)
    packed = found.get(_FRA_SRC, b"")
    if action != _FR_ACT_TO_TBL or to_bits or not packed or from_bits != 8 * len(packed):
        return None
    wide = found.get(_FRA_TABLE)
    return packed, struct.unpack("=I", wide)[0] if wide else table
