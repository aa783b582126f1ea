"""Addresses of Services under any history: never twice without sharing, the same after a restart, and as if computed from nothing."""

from __future__ import annotations

import itertools

from hypothesis import given as hypothesis_given
from hypothesis import strategies as st

from netloom.api.core import Namespace, Service
from netloom.api.meta import LabelSelector
from netloom.model.load_balancers.wishes import read_wish
from netloom.testing import builders as b
from netloom.testing.load_balancer_rig import World, balanced, given, pool

NAMES = ("shop/a", "shop/b", "shop/c", "web/a", "web/d")
RANGES = (
    "203.0.113.0/31",
    "203.0.113.1-203.0.113.2",
    "203.0.113.0/32",
    "192.0.2.0/31",
    "2001:db8::/127",
    "2001:db8::1/128",
)
ADDRESSES = ("203.0.113.0", "203.0.113.1", "192.0.2.0", "2001:db8::1", "2001:db8::99")
DAYS = tuple(f"2026-01-0{day}T00:00:00Z" for day in range(1, 5))


@st.composite
def services(draw):
    asked = {
        "netloom.io/load-balancer-addresses": draw(st.sampled_from(("", "", "", *ADDRESSES, "x"))),
        "netloom.io/load-balancer-pool": draw(st.sampled_from(("", "", "", "p", "q", "q,p", "none"))),
        "netloom.io/share-address": draw(st.sampled_from(("", "k"))),
    }
    families = draw(st.sampled_from((("IPv4",), ("IPv6",), ("IPv4", "IPv6"), ("IPv6", "IPv4"))))
    return balanced(
        draw(st.sampled_from(NAMES)),
        families=families,
        ports=draw(st.sampled_from(((80,), (443,), (80, 443)))),
        annotations={name: text for name, text in asked.items() if text},
        labels={"app": draw(st.sampled_from("xy"))},
        created=draw(st.sampled_from(DAYS)),
        load_balancer_class=draw(st.sampled_from(("", "", "", "example.org/lb"))),
        external_traffic_policy=draw(st.sampled_from(("Cluster", "Local"))),
        ip_family_policy=draw(st.sampled_from(("SingleStack", "PreferDualStack", "RequireDualStack"))),
        selector={"app": draw(st.sampled_from("xy"))},
    )


@st.composite
def pools(draw):
    selector = st.sampled_from((None, None, LabelSelector({"app": "x"})))
    return pool(
        draw(st.sampled_from("pqr")),
        *draw(st.lists(st.sampled_from(RANGES), min_size=1, max_size=3, unique=True)),
        created=draw(st.sampled_from(DAYS)),
        auto_assign=draw(st.booleans()) or draw(st.booleans()),
        disabled=draw(st.sampled_from((False, False, True))),
        reserved=draw(st.sampled_from(((), ("203.0.113.0",)))),
        service_selector=draw(selector),
        namespace_selector=draw(selector),
    )


@st.composite
def others(draw):
    if draw(st.booleans()):
        labels = {"app": draw(st.sampled_from("xy"))}
        return Namespace(metadata=b.meta(draw(st.sampled_from(("shop", "web"))), labels=labels))
    return b.node("n", draw(st.sampled_from(ADDRESSES)))


plain = st.builds(
    lambda name, address: b.service(name, "10.96.0.1", external_ips=(address,)),
    st.sampled_from(NAMES),
    st.sampled_from(ADDRESSES),
)
gone = st.one_of(
    st.tuples(st.just("services"), st.sampled_from(NAMES)),
    st.tuples(st.just("pools"), st.sampled_from("pqr")),
    st.tuples(st.just("nodes"), st.just("n")),
)
writes = st.sampled_from(("write", *NAMES))
steps = st.lists(
    st.one_of(services(), services(), services(), pools(), pools(), others(), plain, gone, writes, writes),
    max_size=40,
)


def clashes(world):
    """Pairs of Services that list one address and may not share it."""
    wishes = [wish for s in world.objects["services"].values() if (wish := read_wish(s)) is not None]
    return [
        (one.subject.subject, other.subject.subject)
        for one, other in itertools.combinations(wishes, 2)
        if set(one.has) & set(other.has) and one.sharing.clash(other.sharing)
    ]


def take(world, step):
    if step == "write":
        world.write()
    elif isinstance(step, str):
        if any(str(key) == step for key in world.allocator.decisions):
            world.write(step)
    elif isinstance(step, tuple):
        world.drop(*step)
    elif isinstance(step, Service) and step.spec.type != "LoadBalancer":
        world.put(given(step, ()))
        world.tell("services", step.key, step)  # the API server drops what a balancer gave
    else:
        world.put(step)


@hypothesis_given(steps)
def test_history_leaves_no_trace_and_a_restart_changes_nothing(history):
    world = World()
    for step in history:
        take(world, step)
        again = world.restarted()
        assert world.allocator.decisions == again.decisions
        assert world.allocator.counts() == again.counts()
        assert world.allocator.pool_findings == again.pool_findings


@hypothesis_given(st.lists(st.one_of(services(), pools(), others()), max_size=12), steps)
def test_nobody_is_given_what_another_has(begin, history):
    """Two can only come to clash by a change of their own; what is written never makes a clash that was not there."""
    world = World(*begin)
    for step in history:
        before = clashes(world)
        take(world, step)
        if isinstance(step, str):
            assert set(clashes(world)) <= set(before)
    world.write()
    ours = {f"Service {key}" for key in world.allocator.decisions}
    assert not [pair for pair in clashes(world) if set(pair) <= ours]


@hypothesis_given(st.lists(services(), min_size=1, max_size=8), st.lists(pools(), min_size=1, max_size=3))
def test_what_is_written_once_stays_until_somebody_changes_something(some, given_pools):
    world = World(*given_pools, *some).write()
    before = {key: service.status for key, service in world.objects["services"].items()}
    for one in given_pools:
        world.drop("pools", one.metadata.name)
    world.write()
    kept = {key: service.status for key, service in world.objects["services"].items()}
    assert kept == before


@hypothesis_given(st.lists(services(), max_size=8), st.lists(pools(), max_size=3))
def test_whoever_lacks_an_address_could_not_have_had_one(some, given_pools):
    """Who waits for a pool that is said to be dry: all of its addresses are held."""
    world = World(*given_pools, *some).write()
    for key, decision in world.allocator.decisions.items():
        for lack in decision.lacks:
            for name in lack.dry:
                counted = world.allocator.counts()[name].available
                assert (counted.ipv4, counted.ipv6)[lack.version == 6] == 0, (key, lack)
