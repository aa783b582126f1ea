"""Rules made of statements, sets and chains: the kernel takes our encoding, and ``nft`` reads it back as it was meant."""

from __future__ import annotations

import errno
import ipaddress

import pytest

from netloom.errors import NftError
from netloom.linux import process
from netloom.linux.netns import Namespaces
from netloom.linux.nft import Nft, find_program
from netloom.program.nft import (
    AddChain,
    AddContainer,
    AddElements,
    AddTable,
    Chain,
    Container,
    DeleteChain,
    DeleteContainer,
    DeleteElements,
    Field,
    FlushChain,
    Transaction,
    Verdict,
)
from netloom.program.nft_rules import (
    AddressIn,
    Count,
    Do,
    Limit,
    Log,
    Look,
    PortIn,
    ProtocolIs,
    Side,
    TupleIn,
    rule,
)
from netloom.testing.netns import fresh_netns
from netloom.units import Family, Protocol

pytestmark = pytest.mark.netns

PODS = Container("pods", (Field.ADDRESS,))
BLOCKS = Container("blocks", (Field.SOURCE_RANGE,))
PAIRS = Container("pairs", (Field.ADDRESS, Field.PROTOCOL, Field.PORT))
BY_POD = Container("by-pod", (Field.ADDRESS,), verdicts=True)
ADDRESSES = {
    Family.V4: [ipaddress.ip_address(f"10.244.1.{n}").packed for n in range(1, 6)],
    Family.V6: [ipaddress.ip_address(f"2001:db8::{n}").packed for n in range(1, 6)],
}
RULES = [
    ((AddressIn(Side.SOURCE, "pods"), Count(), Do(Verdict("return"))), "{ip} saddr @pods counter packets 0 bytes 0 return"),
    ((AddressIn(Side.DESTINATION, "blocks"), Do(Verdict("accept"))), "{ip} daddr @blocks accept"),
    ((TupleIn("pairs"), Do(Verdict("return"))), "{ip} daddr . meta l4proto . th dport @pairs return"),
    ((ProtocolIs(Protocol.TCP), PortIn(80, 80), Do(Verdict("drop"))), "tcp dport 80 drop"),
    ((ProtocolIs(Protocol.UDP), PortIn(53, 60), Do(Verdict("drop"))), "udp dport 53-60 drop"),
    ((ProtocolIs(Protocol.SCTP), Do(Verdict("jump", "leaf"))), "meta l4proto sctp jump leaf"),
    ((Look(Side.SOURCE, "by-pod"),), "{ip} saddr vmap @by-pod"),
    ((Limit(50), Do(Verdict("drop"))), "limit rate 50/second burst 50 packets drop"),
    ((Log(7, "shop/db"), Do(Verdict("drop"))), 'log prefix "shop/db" group 7 snaplen 128 drop'),
]  # fmt: skip


@pytest.mark.parametrize("family", list(Family), ids=lambda f: f.value)
async def test_nft_reads_what_we_wrote(family):
    first, second, third, *_ = ADDRESSES[family]
    ops = (
        *(AddContainer(one) for one in (PODS, BLOCKS, PAIRS, BY_POD)),
        *(AddChain(Chain(name)) for name in ("leaf", "policy")),
        AddElements(PODS, (((first,), None),)),
        AddElements(BLOCKS, (((second + third,), None),)),
        AddElements(PAIRS, (((first, 6, 80), None),)),
        AddElements(BY_POD, (((first,), Verdict("jump", "leaf")),)),
        *(rule(family, "policy", statements, f"rule {n}") for n, (statements, _) in enumerate(RULES)),
    )
    with fresh_netns() as fd, Nft(netns_fd=fd, program="nft-that-is-not-there") as nft:
        with Nft(netns_fd=fd) as with_program:
            await with_program.run(Transaction(family, "t", (AddTable(),)))
        await nft.run(Transaction(family, "t", ops))
        listed = await process.run(
            [find_program(), "list", "table", family.value, "t"], ns=Namespaces(net=fd)
        )
        text = listed.stdout.decode()
        for number, (_, words) in enumerate(RULES):
            assert f'{words.format(ip=family.value)} comment "rule {number}"' in text
        assert (await nft.chains(family, "t"))["policy"] == tuple(f"rule {n}" for n in range(len(RULES)))
        for container, elements in (
            (PODS, {(first,): None}),
            (BLOCKS, {(second + third,): None}),
            (PAIRS, {(first, 6, 80): None}),
            (BY_POD, {(first,): Verdict("jump", "leaf")}),
        ):
            assert await nft.elements(family, "t", container) == elements
        with pytest.raises(NftError) as caught:
            await nft.run(Transaction(family, "t", (DeleteContainer(PODS),)))
        assert caught.value.errno == errno.EBUSY
        gone = (
            FlushChain("policy"),
            DeleteChain("policy"),
            DeleteElements(BY_POD, ((first,),)),
            DeleteChain("leaf"),
            *(DeleteContainer(one) for one in (PODS, BLOCKS, PAIRS, BY_POD)),
        )
        await nft.run(Transaction(family, "t", gone))
        assert await nft.chains(family, "t") == {}


async def test_ranges_beside_each_other_stay_apart():
    a, b, c, d, e = ADDRESSES[Family.V4]
    ranges = {(a + b,): None, (c + c,): None, (d + e,): None, (bytes(4) + bytes(4),): None}
    last = (b"\xff\xff\xff\0" + b"\xff\xff\xff\xff",)
    with fresh_netns() as fd, Nft(netns_fd=fd) as nft:
        await nft.run(Transaction(Family.V4, "t", (AddTable(),)))
        fill = AddElements(BLOCKS, tuple({**ranges, last: None}.items()))
        await nft.run(Transaction(Family.V4, "t", (AddContainer(BLOCKS), fill)))
        assert await nft.elements(Family.V4, "t", BLOCKS) == {**ranges, last: None}
        await nft.run(Transaction(Family.V4, "t", (DeleteElements(BLOCKS, ((c + c,), last)),)))
        del ranges[c + c,]
        assert await nft.elements(Family.V4, "t", BLOCKS) == ranges
