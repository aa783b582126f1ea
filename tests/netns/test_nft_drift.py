"""Whoever changes our table is noticed, named, and what he did is put right; nobody else is suspected."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import itertools
import logging
import time

import msgspec
import pytest

from netloom.api.selectors import Selector
from netloom.clock import SystemClock
from netloom.dataplane.nftables.apply import NftablesPlane
from netloom.dataplane.nftables.audit import TIMER, Auditor
from netloom.dataplane.nftables.compile import elements
from netloom.dataplane.nftables.containers import OURS, OWN_POD_RANGES, POD_RANGES, SERVICE
from netloom.dataplane.nftables.contents import peer_sets
from netloom.dataplane.nftables.drift import DriftKind
from netloom.errors import NftError
from netloom.linux import process
from netloom.linux.conntrack import Conntrack
from netloom.linux.netns import Namespaces
from netloom.linux.nft import Nft
from netloom.linux.nft_events import AccountedNft
from netloom.model.policy.state import (
    Action,
    Chain,
    ChainKey,
    Direction,
    NetworkPeers,
    PodPeers,
    PolicyPod,
    PolicyRef,
    PolicyState,
    Rule,
    Tier,
)
from netloom.model.provenance import Source
from netloom.model.state import PodRange, difference
from netloom.observe.drift import DriftLog
from netloom.program.nft import AddElements, DeleteElements, Transaction
from netloom.testing.frontends import frontend
from netloom.testing.service_networks import (
    CLUSTER_IPS,
    TARGET_PORT,
    answers,
    facts,
    node_port,
    one_node,
    peers,
    service,
    serving,
    state_of,
)
from netloom.testing.topologies import add_pod
from netloom.units import Family, ObjectKey, Protocol

pytestmark = pytest.mark.netns

V4, TCP, UDP = Family.V4, Protocol.TCP, Protocol.UDP
PLACE = CLUSTER_IPS[V4]


class Turns:
    """What of the engine is used."""

    def __init__(self, state):
        self.facts = facts()
        self.state = state
        self._turning = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def still(self):
        async with self._turning:
            yield self.state


class Watched:
    """A node whose table is watched over, and somebody else who may change it."""

    def __init__(self, net, asker, plane, turns, auditor, audits, log):
        self.net, self.asker, self.plane = net, asker, plane
        self.turns, self.auditor, self.audits, self.log = turns, auditor, audits, log

    async def nft(self, command):
        done = await process.run(["nft", "-f", "-"], input=command.encode(), ns=self._namespaces)
        assert done.returncode == 0, done.stderr

    async def nft_text(self, *words):
        done = await process.run(["nft", "-a", *words], ns=self._namespaces)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()

    @property
    def _namespaces(self):
        return Namespaces(net=self.net.node.netns_fd)

    async def change(self, state):
        async with self.turns.still():
            await self.plane.apply(difference(self.turns.state, state))
            self.turns.state = state

    async def next_audit(self):
        async with asyncio.timeout(10):
            return await self.audits.get()


@contextlib.asynccontextmanager
async def watched(*, protocol=TCP, backends="ab", **settings):
    with contextlib.ExitStack() as stack:
        net = stack.enter_context(one_node())
        asker = add_pod(stack, net.node, 1, 4)
        nft = stack.enter_context(AccountedNft(netns_fd=net.node.netns_fd))
        conntrack = stack.enter_context(Conntrack(netns_fd=net.node.netns_fd))
        plane = NftablesPlane(nft=nft, conntrack=conntrack)
        chosen = [getattr(net, name) for name in backends]
        state = state_of(
            service(V4, protocol, *chosen),
            service(Family.V6, protocol, *chosen),
            node_port(V4, protocol, net.a),
            pods=(net.a, net.b, asker),
        )
        turns = Turns(state)
        await plane.start(state, turns.facts)
        audits, log = asyncio.Queue(), DriftLog(node="node-1", clock=SystemClock())

        def report(audit):
            log.take(audit)
            audits.put_nowait(audit)

        auditor = Auditor(
            plane=plane,
            nft=nft,
            turns=turns,
            report=report,
            clock=SystemClock(),
            netns_fd=net.node.netns_fd,
            **settings,
        )
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(auditor.run())
            await auditor.ready.wait()
            yield Watched(net, asker, plane, turns, auditor, audits, log)
            running.cancel()


async def test_a_missing_element_is_named_and_put_right_at_once_and_what_it_broke_works_again():
    async with watched() as node, serving(node.net.a, node.net.b, protocol=TCP):
        assert (await node.asker.ask(PLACE, 80, TCP)).peer == node.asker.address
        took = []
        for _ in range(5):  # others use this machine, too: the fastest counts
            async with node.turns.still():  # the engine is busy: the drift stays
                await node.nft(f"delete element ip netloom services {{ {PLACE} . tcp . 80 }}")
                assert await node.asker.ask(PLACE, 80, TCP) is None
                done = time.monotonic()
            audit = await node.next_audit()
            took.append(time.monotonic() - done)
            assert await node.asker.ask(PLACE, 80, TCP)
        assert min(took) < 0.1
    (drift,) = audit.drifts
    assert (drift.kind, drift.place) == (DriftKind.MISSING, "map services")
    assert "shop/cart" in drift.text
    assert "missing on node-1" in drift.text
    assert audit.cause.startswith("nft (process ")
    assert [str(source) for source in drift.sources] == ["Service shop/cart: spec.ports[0]"]


async def test_a_missing_endpoint_is_named_and_counted():
    async with watched() as node:
        await node.nft(f"delete element ip netloom endpoints {{ 0 . {PLACE} . tcp . 80 }}")
        audit = await node.next_audit()
        assert (await node.auditor.audit()).count == 0
    address = node.net.a.address
    (drift,) = audit.drifts
    assert (
        drift.text
        == f"endpoint {address}:{TARGET_PORT} of shop/cart is missing on node-1 (at {PLACE}:80/tcp)"
    )
    assert str(drift.sources[0]) == f"EndpointSlice shop/cart-[{address}]: endpoints[0]"
    found = {(s.name, s.labels): s.value for s in node.log.samples()}
    assert found["netloom_drift_found_total", (("kind", "missing"),)] == 1
    assert found["netloom_drift_repaired_total", ()] == 1
    assert found["netloom_drift_unrepaired", ()] == 0
    assert node.log.report().lines[0].text == drift.text


async def test_a_flow_that_went_where_a_foreign_endpoint_led_it_ends():
    async with watched(protocol=UDP, backends="a") as node, serving(node.net.a, node.net.b, protocol=UDP):
        sock = node.asker.open_socket(V4, UDP)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, (str(PLACE), 80))

        async def ask():
            await loop.sock_sendall(sock, b"?")
            return (await loop.sock_recv(sock, 1000)).split()[0].decode()

        with contextlib.closing(sock):
            slot = f"0 . {PLACE} . udp . 80"
            async with asyncio.timeout(10), node.turns.still():
                await node.nft(
                    f"delete element ip netloom endpoints {{ {slot} }}\n"
                    f"add element ip netloom endpoints {{ {slot} : {node.net.b.address} . {TARGET_PORT} }}"
                )
                assert node.net.b.name in await ask()
            audit = await node.next_audit()
            async with asyncio.timeout(10):
                assert node.net.a.name in await ask()
    (drift,) = audit.drifts
    assert drift.kind is DriftKind.WRONG
    a, b = node.net.a.address, node.net.b.address
    assert f"endpoint {a}:{TARGET_PORT} of shop/cart is replaced by {b}:{TARGET_PORT} on node-1" in drift.text


FOREIGN = {
    "an endpoint of ours": (
        f"add element ip netloom endpoints {{ 7 . {PLACE} . tcp . 80 : 192.0.2.99 . 80 }}",
        "192.0.2.99:80 on node-1 is foreign: it stands among the endpoints of shop/cart",
    ),
    "a Service that nobody has": (
        "add element ip netloom services { 192.0.2.99 . tcp . 80 : 0:1 }",
        "192.0.2.99 . tcp . 80 : 0:1 on node-1 is foreign: it comes from no object",
    ),
    "a node that is none": (
        "add element ip netloom peers { 192.0.2.99 }",
        "192.0.2.99 on node-1 is foreign: it comes from no object",
    ),
    "a chain": ("add chain ip netloom strange", "chain strange is none of ours and stands in our table"),
    "a chain at a hook": (
        "add chain ip netloom strange { type filter hook forward priority 0; policy drop; }",
        "chain strange is none of ours",
    ),
    "a set": ("add set ip netloom strange { type ipv4_addr; }", "strange is none of ours"),
}
BROKEN = {
    "no rules at a hook": ("flush chain ip netloom nat-prerouting", "lacks 1 rule of 1 on node-1"),
    "one rule more": ("insert rule ip netloom filter-forward drop", "has 1 rule too many"),
    "no rules in a class": (
        "flush chain ip netloom balance-2",
        "endpoints of a Service) lacks 1 rule of 1",
    ),
    "no table": (
        "delete table ip netloom",
        "table ip netloom, and with it every Service and policy, is missing",
    ),
    "a table that sleeps": ("add table ip netloom { flags dormant; }", "table ip netloom is dormant"),
    "another policy": ("chain ip netloom filter-forward { policy drop; }", "priority"),
}


@pytest.mark.parametrize("case", FOREIGN)
async def test_what_is_foreign_goes(case):
    command, text = FOREIGN[case]
    async with watched() as node, serving(node.net.a, node.net.b, protocol=TCP):
        await node.nft(command)
        audit = await node.next_audit()
        assert (audit.count, audit.unrepaired) == (1, ())
        assert audit.drifts[0].kind is DriftKind.FOREIGN
        assert text in audit.drifts[0].text
        assert "strange" not in await node.nft_text("list", "ruleset")
        assert "192.0.2.99" not in await node.nft_text("list", "ruleset")
        assert (await node.auditor.audit()).count == 0
        assert set(await answers(node.asker, PLACE, TCP, 20)) == {node.net.a.name, node.net.b.name}


@pytest.mark.parametrize("case", BROKEN)
async def test_rules_come_back(case):
    command, text = BROKEN[case]
    if case == "another policy":
        text = "stands at filter forward 0 drop instead of filter forward 0 accept"
    async with watched() as node, serving(node.net.a, node.net.b, protocol=TCP):
        async with node.turns.still():
            await node.nft(command)
            reached = await answers(node.asker, PLACE, TCP, 1)
            assert set(reached) == {None}
        audit = await node.next_audit()
        assert (audit.count, audit.unrepaired) == (1, ())
        assert text in audit.drifts[0].text
        assert (await node.auditor.audit()).count == 0
        assert set(await answers(node.asker, PLACE, TCP, 20)) == {node.net.a.name, node.net.b.name}


@pytest.mark.parametrize("chain", ["refuse", "balance-2"])
async def test_a_rule_in_disguise_is_seen(chain):
    """It has our comment, by which a start would take it for ours."""
    async with watched() as node, serving(node.net.a, node.net.b, protocol=TCP):
        lines = (await node.nft_text("list", "chain", "ip", "netloom", chain)).splitlines()
        rule = next(line for line in lines if "comment" in line)
        comment, handle = rule.split('comment "')[1].split('"')[0], rule.split("# handle ")[1]
        await node.nft(f'replace rule ip netloom {chain} handle {handle} accept comment "{comment}"')
        audit = await node.next_audit()
        assert "has 1 rule changed" in audit.drifts[0].text
        assert audit.unrepaired == ()
        assert (await node.auditor.audit()).count == 0
        assert set(await answers(node.asker, PLACE, TCP, 20)) == {node.net.a.name, node.net.b.name}


async def test_our_own_changes_are_not_suspected_and_neither_is_what_packets_write_or_others_own():
    async with watched() as node, serving(node.net.a, node.net.b, protocol=TCP):
        state = node.turns.state
        for number in range(50):
            one = frontend(f"10.96.1.{number}:80", f"10.244.1.{number + 10}:8080")
            await node.change(
                state_of(*state.frontends.values(), one, pods=(node.net.a, node.net.b, node.asker))
            )
        target = f"{node.net.a.address}:{TARGET_PORT}"
        sticky = frontend("10.96.2.1:80", target, affinity_s=77)  # with chains of its own
        await node.change(
            state_of(*state.frontends.values(), sticky, pods=(node.net.a, node.net.b, node.asker))
        )
        assert await node.asker.ask(ipaddress.ip_address("10.96.2.1"), 80, TCP)
        assert "expires" in await node.nft_text("list", "map", "ip", "netloom", "affinity")
        async with node.turns.still():
            await node.plane.start(node.turns.state, node.turns.facts)
        await node.nft("add table ip other\nadd chain ip other c\nadd rule ip other c accept")
        assert (await node.auditor.audit()).count == 0
        # One more, by which we know that all before was looked at.
        await node.nft("add chain ip netloom strange")
        audit = await node.next_audit()
        assert [drift.place for drift in audit.drifts] == ["chain strange"]
        assert node.audits.empty()


async def test_comparisons_beside_changes_find_nothing():
    """What is read while changes go on is out of date when it is compared: none of that is drift."""
    async with watched() as node:
        state = node.turns.state
        many = [frontend(f"10.96.4.{n}:80", "10.244.1.9:80", affinity_s=n % 3) for n in range(200)]
        stop = asyncio.Event()

        async def change():
            for number in itertools.cycle(range(200)):
                if stop.is_set():
                    return
                some = many[: 100 + number % 7] if number % 2 else many[number % 50 :]
                frontends = {one.key: one for one in (*state.frontends.values(), *some)}
                await node.change(msgspec.structs.replace(state, frontends=frontends))
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(change())
            for _ in range(10):
                assert (await node.auditor.audit()).drifts == ()
            stop.set()
        assert node.audits.empty()


async def test_the_slow_audit_finds_what_no_notification_told():
    async with watched(interval_s=0.5) as node:
        while (audit := await node.next_audit()).count:
            pass
        assert (audit.cause, audit.everything) == (TIMER, True)
        missing = Transaction(
            V4,
            "netloom",
            (DeleteElements(SERVICE.endpoints, ((1, PLACE.packed, 6, 80),)),),
        )
        async with node.turns.still():
            await node.auditor._nft.run(missing)  # by our own port, which nobody is told of
        while not (audit := await node.next_audit()).count:
            pass
        assert audit.cause == TIMER
        assert f"endpoint {node.net.b.address}:{TARGET_PORT} of shop/cart is missing" in audit.drifts[0].text


async def test_who_keeps_fighting_gets_a_share_of_our_time_and_is_told_of_once_in_a_while(caplog):
    caplog.set_level(logging.WARNING, "netloom.observe.drift")
    key = (1, PLACE.packed, 6, 80)
    deletion = Transaction(V4, "netloom", (DeleteElements(SERVICE.endpoints, (key,)),))
    async with watched() as node, asyncio.timeout(30):
        node.auditor._allowance._saved_s = 0.0
        began = time.monotonic()
        with Nft(netns_fd=node.net.node.netns_fd) as other:
            used, rounds = 0.0, 0
            while time.monotonic() - began < 1.5:
                with contextlib.suppress(NftError):  # not put back yet
                    await other.run(deletion)
                used += (await node.next_audit()).seconds
                rounds += 1
        took = time.monotonic() - began
        assert used < 0.1 * took + 0.2
        assert rounds > 1
        assert (await node.auditor.audit()).count == 0
    told = [record for record in caplog.records if record.name == "netloom.observe.drift"]
    assert len(told) == 1
    (line,) = node.log.report().lines
    assert line.count == rounds


async def test_elements_that_come_back_while_we_look_are_no_drift():
    """Somebody takes an element out and puts it in again: nothing is wrong when we look."""
    key = (1, PLACE.packed, 6, 80)
    async with watched() as node:
        value = (node.net.b.address.packed, TARGET_PORT)
        with Nft(netns_fd=node.net.node.netns_fd) as other:
            async with node.turns.still():
                await other.run(Transaction(V4, "netloom", (DeleteElements(SERVICE.endpoints, (key,)),)))
                await other.run(
                    Transaction(V4, "netloom", (AddElements(SERVICE.endpoints, ((key, value),)),))
                )
            await other.run(
                Transaction(V4, "netloom", (DeleteElements(SERVICE.endpoints, ((0, *key[1:]),)),))
            )
        audit = await node.next_audit()
        assert [drift.item.split(" ")[0] for drift in audit.drifts] == ["0"]


CLIENTS = PodPeers(namespace="shop", pods=Selector())
POLICY = Source("NetworkPolicy", "shop", "web")
UNDER = ChainKey(Direction.INGRESS, (PolicyRef("NetworkPolicy", "shop", "web"),))
WORLD = NetworkPeers((ipaddress.ip_network("203.0.113.0/24"),))


def under_policy(node):
    """Pod a lets nobody in but the asker, and some ranges."""
    rules = tuple(
        Rule(Tier.NETWORK_POLICY, Action.ACCEPT, POLICY.at(f"spec.ingress[{n}]"), peers)
        for n, peers in enumerate((CLIENTS, WORLD))
    )
    return msgspec.structs.replace(
        node.turns.state,
        policy=PolicyState(
            sets={
                CLIENTS: {node.asker.address: ObjectKey("shop", "asker")},
                WORLD: {WORLD.cidrs[0]: ObjectKey("", "")},
            },
            chains={UNDER: Chain(rules, Action.DENY, (POLICY,))},
            pods={node.net.a.address: PolicyPod(ObjectKey("shop", "a"), "uid", UNDER, None)},
        ),
    )


@contextlib.asynccontextmanager
async def guarded():
    async with watched() as node, serving(node.net.a, protocol=TCP):
        await node.change(under_policy(node))
        (chain,) = (
            name for program in node.plane.tables[V4].policy.programs.values() for name, _ in program.chains
        )
        sets = {key: name for name, key in peer_sets(node.plane.tables[V4]).items()}

        async def reached(host):
            return await host.ask(node.net.a.address, TARGET_PORT, TCP) is not None

        assert await reached(node.asker)
        assert not await reached(node.net.b)
        assert (await node.auditor.audit()).count == 0
        yield node, chain, sets, reached
        assert (await node.auditor.audit()).count == 0
        assert await reached(node.asker)
        assert not await reached(node.net.b)


@pytest.mark.parametrize(
    ("command", "opens", "text"),
    [
        ("flush chain ip netloom {chain}", True, "chain {chain} (ingress of NetworkPolicy shop/web) lacks 4 rules of 4"),
        ("insert rule ip netloom {chain} return", True, "shop/web) has 1 rule too many"),
        (
            "delete element ip netloom policy-ingress {{ {a} }}",
            True,
            "Pod shop/a ({a}) is under ingress of NetworkPolicy shop/web: this is missing",
        ),
        ("flush set ip netloom {clients}", False, "{asker} (shop/asker) is one of all pods in namespace shop: this is missing"),
        ("add element ip netloom {clients} {{ {b} }}", True, "{b} on node-1 is foreign: it stands among all pods in"),
        ("add element ip netloom {world} {{ {b} }}", True, "{b}-{b} on node-1 is foreign: it stands among 203.0.113.0/24"),
        ("add set ip netloom peers-strange {{ type ipv4_addr; }}", False, "peers-strange is none of ours"),
        ("add chain ip netloom policy-strange", False, "chain policy-strange is none of ours"),
    ],
)  # fmt: skip
async def test_policies_are_watched_over(command, opens, text):
    async with guarded() as (node, chain, sets, reached):
        words = {
            "chain": chain,
            "clients": sets[CLIENTS],
            "world": sets[WORLD],
            "a": node.net.a.address,
            "b": node.net.b.address,
            "asker": node.asker.address,
        }
        async with node.turns.still():
            await node.nft(command.format(**words))
            assert await reached(node.net.b) == opens
        audit = await node.next_audit()
        assert (audit.count, audit.unrepaired) == (1, ())
        assert text.format(**words) in audit.drifts[0].text


async def test_a_flow_that_only_drift_let_through_ends():
    async with guarded() as (node, _, _, _):
        sock = node.net.b.open_socket(V4, UDP)
        loop = asyncio.get_running_loop()
        async with node.net.a.serve(TARGET_PORT, UDP):
            with contextlib.closing(sock):
                await loop.sock_connect(sock, (str(node.net.a.address), TARGET_PORT))

                async def talk():
                    await loop.sock_sendall(sock, b"?")
                    async with asyncio.timeout(0.3):
                        return bool(await loop.sock_recv(sock, 1000))

                async with node.turns.still():
                    await node.nft(f"delete element ip netloom policy-ingress {{ {node.net.a.address} }}")
                    assert await talk()
                await node.next_audit()
                with pytest.raises(TimeoutError):
                    await talk()


async def test_a_change_of_policies_is_no_drift():
    async with guarded() as (node, _, _, _):
        state = node.turns.state
        for number in range(10):
            more = {ipaddress.ip_address(f"10.244.2.{number}"): ObjectKey("shop", f"pod-{number}")}
            sets = {**state.policy.sets, CLIENTS: {**state.policy.sets[CLIENTS], **more}}
            await node.change(
                msgspec.structs.replace(state, policy=msgspec.structs.replace(state.policy, sets=sets))
            )
            assert (await node.auditor.audit()).count == 0
        await node.change(msgspec.structs.replace(state, policy=PolicyState()))
        assert (await node.auditor.audit()).count == 0
        await node.change(state)
        assert node.audits.empty()


async def test_every_kind_of_element_is_missed_and_comes_back():
    rich = (
        frontend("198.51.100.1:80", "10.244.1.9:80", source_ranges=("192.0.2.0/24", "203.0.113.0/24")),
        frontend("198.51.100.2:80", "10.244.1.9:80", inside=("10.244.1.9:80", "10.244.2.9:80")),
        frontend("10.96.3.1:80", "10.244.1.9:80", "10.244.2.9:80", affinity_s=60),
        frontend("*:30081", "10.244.1.9:80", inside=("10.244.1.9:80", "10.244.2.9:80")),
        frontend("*:30082", "10.244.1.9:80", affinity_s=60),
    )
    async with watched() as node:
        hosts = (node.net.a, node.net.b)
        state = state_of(*node.turns.state.frontends.values(), *rich, pods=hosts, peers=peers(2))
        keeps = Source("Pod", "default", "a", field="metadata.annotations[netloom.io/masquerade]")
        pods = {a: msgspec.structs.replace(one, keeps_source=keeps) for a, one in state.local_pods.items()}
        pool = ipaddress.ip_network("203.0.113.0/24")
        ranges = {pool: PodRange(pool, True)}
        state = msgspec.structs.replace(state, local_pods=pods, ranges=ranges)
        await node.change(state)
        with Nft(netns_fd=node.net.node.netns_fd) as other:
            for container in OURS:
                key, *_ = elements(node.plane.tables[V4])[container.name]
                await other.run(Transaction(V4, "netloom", (DeleteElements(container, (key,)),)))
                audit = await node.next_audit()
                (drift,) = audit.drifts
                assert (drift.kind, drift.place.split()[1]) == (DriftKind.MISSING, container.name)
                # a range may be of several pools and blocks at once
                assert drift.sources or container in (POD_RANGES, OWN_POD_RANGES), drift
                assert "on node-1" in drift.text
                assert not audit.unrepaired
        assert (await node.auditor.audit()).count == 0
