"""The comments of one chain's rules, whatever else its table holds. In: names. Out: words, as whoever made the rules wrote them.

``linux.nft.Nft.chains`` reads a whole table, which takes tens of milliseconds where there are thousands of policies.
"""

from __future__ import annotations

from netloom.errors import Unsupported
from netloom.linux.netlink import NETLINK_NETFILTER, NetlinkSocket, Request, attr, attributes, string, text
from netloom.linux.nft_codec import (
    CHAIN_NAME,
    GETCHAIN,
    GETRULE,
    OBJECT_TABLE,
    RULE_CHAIN,
    RULE_USERDATA,
    generic,
)
from netloom.linux.nft_rule_codec import rule_comment
from netloom.units import Family


def rule_comments(
    family: Family, table: str, chain: str, *, netns_fd: int | None = None
) -> tuple[str, ...] | None:
    """In the order of the rules, empty for one without; None where there is no such chain.

    Args:
        family: of the table.
        table: its name.
        chain: the chain's name.
        netns_fd: the namespace; None for the caller's own.

    Raises:
        KernelError: the kernel refused.
        Unsupported: this kernel has no nftables.
    """
    where = attr(OBJECT_TABLE, string(table)) + attr(RULE_CHAIN, string(chain))
    request = Request(GETRULE, 0, generic(family) + where, f"nft list chain {table} {chain}")
    try:
        opened = NetlinkSocket(NETLINK_NETFILTER, netns_fd=netns_fd)
    except OSError as error:
        raise Unsupported(
            f"netfilter netlink socket: {error.strerror}", "this kernel needs CONFIG_NF_TABLES"
        ) from error
    with opened as socket:
        found = [attributes(message.body, 4) for message in socket.dump(request)]
        rules = [one for one in found if text(one.get(RULE_CHAIN, b"")) == chain]
        if not rules and not _is_there(socket, family, table, chain):
            return None
    return tuple(rule_comment(rule.get(RULE_USERDATA, b"")) for rule in rules)


def _is_there(socket: NetlinkSocket, family: Family, table: str, chain: str) -> bool:
    found = socket.dump(Request(GETCHAIN, 0, generic(family), f"nft list chains of {table}"))
    chains = (attributes(message.body, 4) for message in found)
    return any(
        text(one.get(OBJECT_TABLE, b"")) == table and text(one.get(CHAIN_NAME, b"")) == chain
        for one in chains
    )
