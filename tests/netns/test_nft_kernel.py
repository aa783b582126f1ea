"""The kernel's side of ``linux.nft``: what a refusal says, what fits into a transaction, what the plane needs of it."""

from __future__ import annotations

import errno
import ipaddress

import pytest

from netloom.dataplane.nftables import compile as program
from netloom.dataplane.nftables.apply import NftablesPlane
from netloom.dataplane.nftables.containers import OURS, SERVICE, SOURCE_RANGES
from netloom.errors import NftError, Unsupported
from netloom.linux.conntrack import Conntrack
from netloom.linux.nft import Nft
from netloom.model.inputs import NodeFacts
from netloom.model.state import difference
from netloom.program.nft import (
    AddChain,
    AddContainer,
    AddElements,
    AddRule,
    AddTable,
    Chain,
    DeleteElements,
    FlushChain,
    Transaction,
    Verdict,
)
from netloom.testing.frontends import frontend, network_state
from netloom.testing.netns import fresh_netns
from netloom.units import Family

pytestmark = pytest.mark.netns

V4 = Family.V4
ENDPOINTS, SERVICES, VERDICTS = SERVICE.endpoints, SERVICE.labels, SERVICE.holds
ADDRESS = ipaddress.ip_address("10.96.0.80").packed
FACTS = NodeFacts(
    name="node-1",
    addresses=(ipaddress.ip_address("192.0.2.11"),),
    pod_cidrs=(ipaddress.ip_network("10.244.1.0/24"),),
    service_cidrs=(ipaddress.ip_network("10.96.0.0/16"),),
)


def tx(*ops):
    return Transaction(V4, "netloom", ops)


@pytest.fixture
async def netns_fd():
    with fresh_netns() as fd:
        yield fd


@pytest.fixture
async def nft(netns_fd):
    with Nft(netns_fd=netns_fd) as kernel:
        await kernel.run(tx(AddTable(), AddContainer(ENDPOINTS), AddContainer(SERVICES)))
        yield kernel


async def test_a_refusal_names_the_element_that_is_at_fault(nft):
    await nft.run(tx(AddElements(ENDPOINTS, (((500, ADDRESS, 6, 80), (ADDRESS, 1)),))))
    many = tuple(((slot, ADDRESS, 6, 80), (ADDRESS, 2)) for slot in range(1000))
    with pytest.raises(NftError) as caught:
        await nft.run(tx(AddElements(ENDPOINTS, many)))
    assert caught.value.errno == errno.EEXIST
    assert "500 . 10.96.0.80 . tcp . 80 : 10.96.0.80 . 2" in str(caught.value)


async def test_a_refused_deletion_names_its_map(nft):
    with pytest.raises(NftError, match="delete element ip netloom endpoints"):
        await nft.run(tx(DeleteElements(ENDPOINTS, ((1, ADDRESS, 6, 80),))))


async def test_a_refused_program_names_its_statement(nft):
    with pytest.raises(NftError) as caught:
        await nft.run(tx(AddChain(Chain("one")), AddRule("one", "ip daddr @nothing drop")))
    assert caught.value.errno == errno.ENOENT
    assert "add rule ip netloom one ip daddr @nothing drop" in str(caught.value)
    assert await nft.chains(V4, "netloom") == {}


async def test_without_the_nft_program_the_error_says_what_to_install(netns_fd):
    with (
        Nft(netns_fd=netns_fd, program="nft-that-is-not-there") as nft,
        pytest.raises(Unsupported, match="install the nftables package"),
    ):
        await nft.run(tx(AddTable()))


async def test_most_elements_fit_and_what_is_too_much_is_refused_whole(netns_fd):
    with Nft(netns_fd=netns_fd, send_bytes=100_000) as nft:
        await nft.run(tx(AddTable(), AddContainer(ENDPOINTS), AddContainer(VERDICTS), AddChain(Chain("c"))))
        some = tuple(
            ((ADDRESS, protocol, port), Verdict("goto", "c")) for protocol in (6, 17) for port in range(9000)
        )
        await nft.run(tx(AddElements(VERDICTS, some[: nft.most_elements])))
        with pytest.raises(NftError) as caught:
            await nft.run(tx(AddElements(VERDICTS, some)))
        assert caught.value.errno == errno.EMSGSIZE
        assert len(await nft.elements(V4, "netloom", VERDICTS)) == nft.most_elements


async def test_a_small_send_buffer_starts_restarts_and_replaces_thousands_of_services(netns_fd):
    """What an ordinary user has where net.core.wmem_max is the kernel's default."""
    backends = [f"10.244.1.{n}:8080" for n in range(1, 6)]
    state = network_state(
        *(frontend(f"10.96.{n // 250}.{n % 250}:80", *backends) for n in range(2500)), pods=["10.244.1.1"]
    )
    wanted = program.elements(program.table_state(state, V4))
    with Nft(netns_fd=netns_fd, send_bytes=100_000) as nft, Conntrack(netns_fd=netns_fd) as conntrack:

        async def start():
            await NftablesPlane(nft=nft, conntrack=conntrack).start(state, FACTS)
            assert {c.name: await nft.elements(V4, "netloom", c) for c in OURS} == wanted

        await start()
        await nft.run(tx(DeleteElements(SERVICES, tuple(wanted["services"])[:2000])))
        await start()
        await nft.run(tx(FlushChain("balance-1")))
        await start()
        chains = await nft.chains(V4, "netloom")
        assert program.is_renewable(V4, chains)
        assert len(chains["nat-prerouting"]) == 1


async def test_ranges_are_written_and_read_back(netns_fd):
    def one(first, last):
        return (ADDRESS, 6, 80, ipaddress.ip_address(first).packed + ipaddress.ip_address(last).packed)

    ranges = [one("10.0.0.0", "10.255.255.255"), one("192.0.2.7", "192.0.2.7")]
    with Nft(netns_fd=netns_fd) as nft:
        await nft.run(tx(AddTable(), AddContainer(SOURCE_RANGES)))
        await nft.run(tx(AddElements(SOURCE_RANGES, tuple((key, None) for key in ranges))))
        assert set(await nft.elements(V4, "netloom", SOURCE_RANGES)) == set(ranges)
        await nft.run(tx(DeleteElements(SOURCE_RANGES, tuple(ranges[:1]))))
        assert set(await nft.elements(V4, "netloom", SOURCE_RANGES)) == set(ranges[1:])


async def test_a_service_of_5000_endpoints_and_one_of_2000_ports(netns_fd):
    many = [f"10.244.{n // 250}.{n % 250 + 1}:8080" for n in range(5001)]
    ports = [frontend(f"10.96.0.81:{number}", many[0]) for number in range(1, 2001)]
    was, now = (
        network_state(
            frontend("10.96.0.80:80", *some), frontend("10.96.0.82:80", *some, affinity_s=60), *ports
        )
        for some in (many[:-1], many)
    )
    with Nft(netns_fd=netns_fd) as nft, Conntrack(netns_fd=netns_fd) as conntrack:
        plane = NftablesPlane(nft=nft, conntrack=conntrack)
        await plane.start(was, FACTS)
        await plane.apply(difference(was, now))
        endpoints = await nft.elements(V4, "netloom", ENDPOINTS)
        assert len([key for key in endpoints if key[1] == ADDRESS]) == 5001
        assert len(await nft.elements(V4, "netloom", SERVICE.targets)) == 5001
        assert len(await nft.elements(V4, "netloom", SERVICES)) == 2002
        step = program.step(program.table_state(was, V4), difference(was, now))
        assert step.transaction.count == 3, "one endpoint; a number and its backend"


async def test_a_change_is_no_program_start_and_no_listing(netns_fd):
    """The hot path is one batch: it works where the nft program is missing."""
    with Conntrack(netns_fd=netns_fd) as conntrack:
        was = network_state(frontend("10.96.0.80:80", "10.244.1.5:8080"))
        now = network_state(frontend("10.96.0.80:80", "10.244.1.5:8080", "10.244.1.6:8080"))
        with Nft(netns_fd=netns_fd) as nft:
            plane = NftablesPlane(nft=nft, conntrack=conntrack)
            await plane.start(was, FACTS)
            nft._program = "nft-that-is-not-there"
            await plane.apply(difference(was, now))
            assert len(await nft.elements(V4, "netloom", ENDPOINTS)) == 2
