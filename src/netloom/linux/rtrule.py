"""Routing policy rules: which table is asked for packets from an address. In: values. Out: netlink requests (linux/fib_rules.h).

Not here: routes of the tables (``rtmsg``), sockets (``rtnl``).
"""

from __future__ import annotations

import socket
import struct

from netloom.linux.netlink import NLM_F_CREATE, NLM_F_EXCL, Message, Request, attr, attributes, u8, u32
from netloom.units import Addr, Family, family_of

RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE = 32, 33, 34
_HEAD = struct.Struct("=BBBBBBBBI")
_FRA_SRC, _FRA_PRIORITY, _FRA_TABLE, _FRA_PROTOCOL = 2, 6, 15, 21
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
