"""What is not as it should be, in words, and what puts it right."""

from __future__ import annotations

import ipaddress
import struct

import msgspec
import pytest

from netloom.api.selectors import Selector
from netloom.dataplane.nftables import compile as program
from netloom.dataplane.nftables import contents, drift
from netloom.dataplane.nftables.audit import Allowance
from netloom.dataplane.nftables.containers import OURS, SERVICE
from netloom.dataplane.nftables.drift import Difference, DriftKind
from netloom.dataplane.nftables.drift_words import described, meanings
from netloom.dataplane.nftables.scope import Scope, scope_of
from netloom.dataplane.nftables.skeleton import layout
from netloom.linux.netlink import decode
from netloom.linux.nft_codec import encode_batch
from netloom.linux.nft_commits import Change, Commit, Overrun
from netloom.linux.nft_dump import ChainDump, TableDump
from netloom.model.policy.state import (
    Action,
    Chain,
    ChainKey,
    Direction,
    Endpoint,
    EndpointPeers,
    NetworkPeers,
    PodPeers,
    PolicyPod,
    PolicyRef,
    PolicyState,
    Rule,
    Tier,
)
from netloom.model.provenance import Source
from netloom.program.nft import AddElements, Transaction, Verdict
from netloom.testing.fake_nft import FakeNft
from netloom.testing.frontends import frontend, network_state, peer
from netloom.testing.service_networks import facts
from netloom.units import Family, ObjectKey, Protocol

V4, V6 = Family.V4, Family.V6
STATE = network_state(
    frontend("10.96.0.80:80", "10.244.1.5:8080", "10.244.2.7:8080"),
    frontend("[2001:db8::80]:80", "[2001:db8:1::5]:8080"),
    frontend("*:30080", "10.244.1.5:8080"),
    pods=("10.244.1.5",),
    peers=(peer("10.244.2.0/24", "192.0.2.12"),),
)
CLIENTS = PodPeers(namespace="shop", pods=Selector())
WORLD = NetworkPeers((ipaddress.ip_network("203.0.113.0/24"),))
PORTS = EndpointPeers(CLIENTS, "http", Protocol.TCP)
CLIENT, WEB = (ipaddress.ip_address(f"10.244.{n}.5") for n in (2, 1))
POLICY = Source("NetworkPolicy", "shop", "web")
UNDER = ChainKey(Direction.INGRESS, (PolicyRef("NetworkPolicy", "shop", "web"),))
FROM = tuple(
    Rule(Tier.NETWORK_POLICY, Action.ACCEPT, POLICY.at(f"spec.ingress[{n}]"), peers, None, endpoints)
    for n, (peers, endpoints) in enumerate(((CLIENTS, ()), (WORLD, ()), (None, (PORTS,))))
)
STATE = msgspec.structs.replace(
    STATE,
    policy=PolicyState(
        sets={
            CLIENTS: {CLIENT: ObjectKey("shop", "client")},
            WORLD: {WORLD.cidrs[0]: ObjectKey("", "")},
            PORTS: {Endpoint(CLIENT, Protocol.TCP, 8080): ObjectKey("shop", "client")},
        },
        chains={UNDER: Chain(FROM, Action.DENY, (POLICY,))},
        pods={WEB: PolicyPod(ObjectKey("shop", "web"), "uid", UNDER, None)},
    ),
)
TABLE = program.table_state(STATE, V4)
HELD = contents.containers_of(TABLE)
PLACE = ipaddress.ip_address("10.96.0.80").packed
POD = ipaddress.ip_address("10.244.1.5").packed
STRANGER = ipaddress.ip_address("192.0.2.99").packed
ENDPOINTS = SERVICE.endpoints.name
FIRST = (0, PLACE, 6, 80)


def words(kind, container, key, *, table=TABLE, **values):
    return described(Difference(kind, container, key, **values), STATE, table, "node-2")


def test_nothing_differs_from_itself():
    assert drift.differences(HELD, program.elements(TABLE), program.elements(TABLE)) == []


def test_differences_are_missing_foreign_and_wrong_and_their_repair_is_exactly_they():
    desired = program.elements(TABLE)
    present = {name: dict(found) for name, found in desired.items()}
    del present["peers"][(ipaddress.ip_address("192.0.2.12").packed,)]
    present["hairpin"][(STRANGER, STRANGER)] = None
    present[ENDPOINTS][FIRST] = (STRANGER, 1)
    found = drift.differences(HELD, desired, present)
    assert [(one.kind, one.container.name) for one in found] == [
        (DriftKind.WRONG, ENDPOINTS),
        (DriftKind.FOREIGN, "hairpin"),
        (DriftKind.MISSING, "peers"),
    ]
    assert drift.repair(V4, found).count == 4


async def test_a_repair_leads_back_to_what_should_be():
    nft = FakeNft()
    desired = program.elements(TABLE)
    for piece in program.foundations(layout(facts(), V4), TABLE.times, 100_000):
        await nft.run(piece)
    for piece in program.filling(TABLE, 1000):
        await nft.run(piece)
    spoiled = [
        Difference(DriftKind.FOREIGN, SERVICE.endpoints, FIRST),
        Difference(DriftKind.MISSING, SERVICE.endpoints, (9, *FIRST[1:]), wanted=(STRANGER, 1)),
    ]
    await nft.run(drift.repair(V4, spoiled))
    present = {c.name: await nft.elements(V4, "netloom", c) for c in OURS}
    assert present != desired
    await nft.run(drift.repair(V4, drift.differences(HELD, desired, present)))
    assert {c.name: await nft.elements(V4, "netloom", c) for c in OURS} == desired


@pytest.mark.parametrize("size", [1, 2, 100])
def test_pieces_of_a_table_have_all_its_elements_once(size):
    found = [
        contents.mark(name, key, value)
        for piece in contents.pieces(TABLE, size)
        for name, elements in piece.items()
        for key, value in elements.items()
    ]
    whole = {
        contents.mark(name, key, value)
        for name, elements in (program.elements(TABLE) | TABLE.policy.elements()).items()
        for key, value in elements.items()
    }
    assert len(found) == len(whole) > 10
    assert set(found) == whole


def test_what_should_be_at_some_keys():
    suspects = {
        ENDPOINTS: [FIRST, (7, *FIRST[1:]), (0, STRANGER, 6, 80)],
        "hairpin": [(POD, POD)],
        "peers": [],
        "policy-egress": [(POD,)],
    }
    assert contents.wanted(TABLE, suspects) == {
        ENDPOINTS: {FIRST: (POD, 8080)},
        "hairpin": {(POD, POD): None},
        "peers": {},
        "policy-egress": {},
    }


def test_an_endpoint_is_named_with_its_service_and_its_sources():
    one = words(DriftKind.MISSING, SERVICE.endpoints, FIRST, wanted=(POD, 8080))
    assert one.text == "endpoint 10.244.1.5:8080 of shop/cart is missing on node-2 (at 10.96.0.80:80/tcp)"
    assert one.item == "0 . 10.96.0.80 . tcp . 80 : 10.244.1.5 . 8080"
    assert [str(source) for source in one.sources] == [
        "EndpointSlice shop/cart-10.244.1.5: endpoints[0]",
        "Service shop/cart: spec.ports[0]",
    ]


def test_an_endpoint_of_the_other_family():
    table = program.table_state(STATE, V6)
    host = ipaddress.ip_address("2001:db8:1::5").packed
    key = (0, ipaddress.ip_address("2001:db8::80").packed, 6, 80)
    one = words(DriftKind.MISSING, SERVICE.endpoints, key, table=table, wanted=(host, 8080))
    assert one.text == (
        "endpoint [2001:db8:1::5]:8080 of shop/cart is missing on node-2 (at [2001:db8::80]:80/tcp)"
    )


def test_what_stands_in_anothers_place_is_named():
    wrong = words(DriftKind.WRONG, SERVICE.endpoints, FIRST, wanted=(POD, 8080), present=(STRANGER, 1))
    assert wrong.text == (
        "endpoint 10.244.1.5:8080 of shop/cart is replaced by 192.0.2.99:1 on node-2 (at 10.96.0.80:80/tcp)"
    )
    foreign = words(DriftKind.FOREIGN, SERVICE.endpoints, (9, *FIRST[1:]), present=(STRANGER, 1))
    assert "192.0.2.99:1 on node-2 is foreign: it stands among the endpoints of shop/cart" in foreign.text
    nobody = words(DriftKind.FOREIGN, SERVICE.endpoints, (0, STRANGER, 6, 80), present=(STRANGER, 1))
    assert nobody.text.endswith("on node-2 is foreign: it comes from no object")
    assert nobody.sources == ()


def test_labels_pods_and_nodes_are_named():
    label = words(DriftKind.MISSING, SERVICE.labels, (PLACE, 6, 80), wanted=(2,))
    assert "10.96.0.80:80/tcp is shop/cart" in label.text
    assert label.text.endswith("this is missing on node-2")
    container = next(one for one in OURS if one.name == "peers")
    node = words(DriftKind.MISSING, container, (ipaddress.ip_address("192.0.2.12").packed,))
    assert "192.0.2.12 is Node node-2" in node.text


def of_policies():
    return {name: one for name, one in HELD.items() if one.name.startswith(("peers-", "policy-"))}


def test_what_policies_put_into_the_kernel_is_named_with_their_fields():
    found = {
        name: {words(DriftKind.MISSING, one, key).text for key in TABLE.policy.elements()[name]}
        for name, one in of_policies().items()
    }
    texts = {text for some in found.values() for text in some}
    assert texts == {
        "Pod shop/web (10.244.1.5) is under ingress of NetworkPolicy shop/web: this is missing on node-2",
        f"10.244.2.5 (shop/client) is one of {CLIENTS}: this is missing on node-2",
        f"203.0.113.0-203.0.113.255 is one of {WORLD}: this is missing on node-2",
        f"10.244.2.5 . tcp . 8080 (shop/client) is one of {PORTS}: this is missing on node-2",
    }
    (name,) = (name for name, key in contents.peer_sets(TABLE).items() if key == PORTS)
    one = words(DriftKind.MISSING, HELD[name], (CLIENT.packed, 6, 8080))
    assert [str(source) for source in one.sources] == ["NetworkPolicy shop/web: spec.ingress[2]"]


def test_a_foreign_peer_is_named_with_those_it_stands_among():
    (name,) = (name for name, key in contents.peer_sets(TABLE).items() if key == CLIENTS)
    one = words(DriftKind.FOREIGN, HELD[name], (STRANGER,))
    assert one.text == f"192.0.2.99 on node-2 is foreign: it stands among {CLIENTS}"
    assert str(one.sources[0]) == "NetworkPolicy shop/web: spec.ingress[0]"
    pod = words(DriftKind.FOREIGN, HELD["policy-ingress"], (STRANGER,), present=Verdict("drop"))
    assert pod.text.endswith("on node-2 is foreign: it comes from no object")


def test_chains_and_sets_of_policies_are_named():
    said = meanings(STATE, TABLE)
    (chain,) = (name for name in said if name.startswith("policy-"))
    desired = TableDump({chain: ChainDump("", (b"1",))}, {})
    (one,) = drift.compare_tables(desired, TableDump({}, {}), V4, "node-2", said)
    assert one.text == f"chain {chain} (ingress of NetworkPolicy shop/web) is missing on node-2"
    assert [str(source) for source in one.sources] == ["NetworkPolicy shop/web"]


CHAINS = {
    "refuse": ChainDump("", (b"1", b"2")),
    "nat-output": ChainDump("nat output -100 accept", (b"3",)),
}
RIGHT = TableDump(CHAINS, {"endpoints": b"x"}, b"\0")


@pytest.mark.parametrize(
    ("present", "kind", "place", "text"),
    [
        (None, DriftKind.MISSING, "table", "table ip netloom, and with it every Service and policy, is missing on node-2"),
        (TableDump(CHAINS, RIGHT.containers, b"\1"), DriftKind.WRONG, "table", "is dormant"),
        (TableDump({"refuse": CHAINS["refuse"]}, RIGHT.containers, b"\0"), DriftKind.MISSING, "chain nat-output", "is missing"),
        (TableDump(CHAINS | {"x": ChainDump("", ())}, RIGHT.containers, b"\0"), DriftKind.FOREIGN, "chain x", "none of ours"),
        (TableDump(CHAINS | {"refuse": ChainDump("", (b"1",))}, RIGHT.containers, b"\0"), DriftKind.WRONG, "chain refuse", "lacks 1 rule of 2"),
        (TableDump(CHAINS | {"refuse": ChainDump("", (b"1", b"2", b"2", b"9"))}, RIGHT.containers, b"\0"), DriftKind.WRONG, "chain refuse", "has 2 rules too many"),
        (TableDump(CHAINS | {"refuse": ChainDump("", (b"1", b"9"))}, RIGHT.containers, b"\0"), DriftKind.WRONG, "chain refuse", "has 1 rule changed"),
        (TableDump(CHAINS | {"refuse": ChainDump("", (b"2", b"1"))}, RIGHT.containers, b"\0"), DriftKind.WRONG, "chain refuse", "has its rules in another order"),
        (TableDump(CHAINS | {"nat-output": ChainDump("", (b"3",))}, RIGHT.containers, b"\0"), DriftKind.WRONG, "chain nat-output", "stands at no hook instead of nat output -100 accept"),
        (TableDump(CHAINS, {}, b"\0"), DriftKind.MISSING, "map or set endpoints", "is missing"),
        (TableDump(CHAINS, {"endpoints": b"y"}, b"\0"), DriftKind.WRONG, "map or set endpoints", "declared in another way"),
        (TableDump(CHAINS, {"endpoints": b"x", "z": b""}, b"\0"), DriftKind.FOREIGN, "map or set z", "none of ours"),
    ],
)  # fmt: skip
def test_tables_chains_and_maps_are_named(present, kind, place, text):
    (one,) = drift.compare_tables(RIGHT, present, V4, "node-2", {})
    assert (one.kind, one.place) == (kind, place)
    assert text in one.text
    assert "on node-2" in one.text
    assert drift.is_gone([one]) is (present is None)
    assert drift.names_of([one]) == (None if place == "table" else {place.split()[-1]})


def test_the_right_table_is_right():
    assert drift.compare_tables(RIGHT, RIGHT, V4, "node-2", {}) == []


# --- what a commit makes necessary ------------------------------------------------------------------------------------


OURS_BY_FAMILY = {V4: HELD, V6: HELD}


def commit(*changes):
    return Commit(1, 4711, "nft", frozenset(), changes)


def bodies(container, *elements):
    batch = encode_batch([Transaction(V4, "netloom", (AddElements(container, elements),))], 0)
    return tuple(m.body for m in decode(batch.datagram) if m.type >> 8 == 10 and len(m.body) > 4)


def test_elements_of_a_commit_are_looked_up():
    change = Change(V4, "netloom", "element", ENDPOINTS, 1, 0, bodies(SERVICE.endpoints, (FIRST, (POD, 80))))
    scope = scope_of([commit(change)], OURS_BY_FAMILY)
    assert scope == Scope(cause="nft (process 4711)", keys={(V4, ENDPOINTS): frozenset({FIRST})})
    assert not scope.needs_reading


@pytest.mark.parametrize(
    "change",
    [
        Change(V4, "other", "rule", "c", 1),
        Change(V4, "netloom", "element", "affinity", 1, 0, ()),
        Change(V4, "netloom", "element", "none-of-ours", 1, 0, ()),
    ],
)
def test_what_is_none_of_ours_makes_nothing_necessary(change):
    assert scope_of([commit(change)], OURS_BY_FAMILY).is_empty


@pytest.mark.parametrize(
    ("change", "shapes", "whole"),
    [
        (Change(V4, "netloom", "rule", "c", 1), {V4}, set()),
        (Change(V6, "netloom", "chain", "c", 0, 1), {V6}, set()),
        (Change(V4, "netloom", "table", "netloom", 0, 1), {V4}, set()),
        (Change(V4, "netloom", "table", "netloom", 1, 1), {V4}, set(HELD)),
        (Change(V4, "netloom", "map", ENDPOINTS, 1, 1), {V4}, {ENDPOINTS}),
        (Change(V4, "netloom", "element", ENDPOINTS, 9999, 0, None), set(), {ENDPOINTS}),
        (Change(V4, "netloom", "element", "source-ranges", 1, 0, ()), set(), {"source-ranges"}),
        (Change(V4, "netloom", "element", ENDPOINTS, 1, 0, (struct.pack("=BBH", 2, 0, 0),)), set(), set()),
    ],
)
def test_what_a_change_makes_necessary(change, shapes, whole):
    scope = scope_of([commit(change)], OURS_BY_FAMILY)
    assert scope.shapes == shapes
    assert {name for _, name in scope.whole} == whole


def test_elements_that_cannot_be_read_make_the_whole_map_necessary():
    strange = bodies(SERVICE.labels, ((PLACE, 6, 80), (2,)))
    scope = scope_of([commit(Change(V4, "netloom", "element", ENDPOINTS, 1, 0, strange))], OURS_BY_FAMILY)
    assert scope.whole == {(V4, ENDPOINTS)}
    assert scope.needs_reading


def test_after_a_loss_everything_is_necessary():
    assert scope_of([commit(), Overrun()], OURS_BY_FAMILY).everything


def test_several_who_did_it_are_told():
    rule = Change(V4, "netloom", "rule", "c", 1)
    other = Commit(2, 12, "", frozenset(), (rule,))
    assert (
        scope_of([commit(rule), other, commit(rule)], OURS_BY_FAMILY).cause
        == "nft (process 4711), somebody (process 12)"
    )


# --- a share of the time ----------------------------------------------------------------------------------------------


class HandClock:
    now = 100.0

    def monotonic(self):
        return self.now

    def wall(self):
        return self.now


def test_who_uses_much_waits_and_not_for_ever():
    clock = HandClock()
    allowance = Allowance(clock)
    assert allowance.wait_s() == 0
    allowance.use(2.9)
    assert allowance.wait_s() == 0
    allowance.use(0.3)
    assert allowance.wait_s() == pytest.approx(2.0)
    clock.now += 2
    assert allowance.wait_s() == pytest.approx(0)
    allowance.use(1000)
    assert allowance.wait_s() == pytest.approx(10)
    clock.now += 1000
    allowance.use(2.9)
    assert allowance.wait_s() == 0
