"""Which addresses are announced, by which means, and by which nodes."""

from ipaddress import ip_address, ip_network

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netloom.api.load_balancers import LoadBalancerPool, LoadBalancerPoolSpec
from netloom.api.meta import Condition
from netloom.model.announcing.duties import EXCLUDED_LABEL, Announcing
from netloom.model.announcing.gone import GoneNode
from netloom.model.announcing.view import AnnounceView
from netloom.model.load_balancers.status import CONDITION
from netloom.model.routes.ways import UNDERLAY_ANNOTATION
from netloom.testing import builders as b

NEAR = '{"mtu":1500,"segments":[["eth0","192.0.2.11/24"],["eth0","2001:db8::11/64"]]}'
FAR = '{"mtu":1500,"segments":[["eth0","198.51.100.11/24"]]}'
ADDRESS, OTHER = "192.0.2.100", "192.0.2.101"
NAMES = ("node-1", "node-2", "node-3")


def node(name, *, underlay=NEAR, labels=None, address=None):
    made = b.node(name, *([address] if address else []), labels=labels)
    meta = msgspec.structs.replace(made.metadata, annotations={UNDERLAY_ANNOTATION: underlay})
    return msgspec.structs.replace(made, metadata=meta)


def balancer(name="shop/web", *addresses, policy="Cluster", created=None, **spec):
    return b.service(
        name,
        "10.96.0.10",
        created=created,
        ingress=addresses or (ADDRESS,),
        type="LoadBalancer",
        ports=[b.port(80)],
        external_traffic_policy=policy,
        ip_families=("IPv4",),
        **spec,
    )


def pool(*ranges, name="front", announce=("Layer2", "BGP")):
    spec = LoadBalancerPoolSpec(cidrs=ranges or ("192.0.2.0/25",), announce=tuple(announce))
    return LoadBalancerPool(metadata=b.meta(name), spec=spec)


def slice_of(service, *nodes, name="", **how):
    endpoints = [b.endpoint(f"10.244.0.{i}", node=one, **how) for i, one in enumerate(nodes, 2)]
    return b.endpoint_slice(f"{service}-{name or 'x'}", service.rpartition("/")[2], *endpoints)


def view(*objects, pools=(), gone=()):
    plain = b.view(*objects, *(node(name) for name in NAMES if not any(o.key.name == name for o in objects)))
    fields = {name: getattr(plain, name) for name in plain.__struct_fields__}
    fields["gone"] = {b.key_of(name): GoneNode(name) for name in gone}
    return AnnounceView(**fields, load_balancer_pools={one.key: one for one in pools or (pool(),)})


def only(announced):
    (duty,) = announced.duties.values()
    return duty


def test_every_node_that_is_there_may_have_an_address():
    duty = only(Announcing.compute(view(balancer())))
    assert (duty.address, duty.candidates, duty.layer2, duty.bgp) == (ip_address(ADDRESS), NAMES, NAMES, True)
    assert str(duty.source) == "Service shop/web: status.loadBalancer.ingress[0].ip"


def test_who_is_gone_or_excluded_may_not():
    away = node("node-2", labels={EXCLUDED_LABEL: ""})
    duty = only(Announcing.compute(view(balancer(), away, gone=["node-3"])))
    assert duty.candidates == ("node-1",)


def test_at_layer_2_only_who_has_a_network_with_the_address():
    far = node("node-1", underlay=FAR)
    assert only(Announcing.compute(view(balancer(), far))).layer2 == ("node-2", "node-3")
    assert only(Announcing.compute(view(balancer(), far), everywhere=True)).layer2 == NAMES


@pytest.mark.parametrize(("announce", "layer2", "bgp"), [(("Layer2",), NAMES, False), (("BGP",), (), True)])
def test_the_pool_says_by_which_means(announce, layer2, bgp):
    duty = only(Announcing.compute(view(balancer(), pools=[pool(announce=announce)])))
    assert (duty.layer2, duty.bgp) == (layer2, bgp)


@pytest.mark.parametrize(
    ("service", "pools"),
    [
        (balancer(), [pool(announce=())]),
        (balancer(), [pool("198.51.100.0/24")]),
        (balancer(load_balancer_class="example.org/other"), ()),
        (b.service("shop/web", "10.96.0.10", ports=[b.port(80)], external_ips=(ADDRESS,)), ()),
        (balancer("shop/web", "10.96.0.77"), [pool("10.96.0.0/24")]),
    ],
    ids=["no means", "no pool", "another's class", "an external IP", "a ClusterIP"],
)
def test_what_is_not_ours_to_announce_is_not_announced(service, pools):
    ranges = (ip_network("10.96.0.0/16"),)
    assert not Announcing.compute(view(service, pools=pools), service_cidrs=ranges).duties


def test_what_a_service_keeps_is_announced_although_its_pool_is_gone():
    service = balancer()
    status = msgspec.structs.replace(service.status, conditions=(Condition(CONDITION, "True", "Kept"),))
    kept = msgspec.structs.replace(service, status=status)
    assert only(Announcing.compute(view(kept, pools=[pool("198.51.100.0/24")]))).candidates == NAMES


def test_a_nodes_own_address_is_left_to_it():
    found = Announcing.compute(view(balancer(), node("node-1", address=ADDRESS)))
    assert not found.duties
    assert "address of Node node-1" in str(found.findings[0])


def test_a_local_policy_leaves_nodes_with_ready_endpoints():
    service = balancer(policy="Local")
    ends = [
        slice_of("shop/web", "node-2", "node-3"),
        slice_of("shop/web", "node-1", name="y", ready=False, serving=True, terminating=True),
    ]
    assert only(Announcing.compute(view(service, *ends))).candidates == ("node-2", "node-3")
    assert only(Announcing.compute(view(service))).candidates == ()


def test_who_shares_an_address_has_one_owner_for_all():
    one, two = balancer("shop/a", policy="Local"), balancer("shop/b", policy="Local")
    both = view(one, two, slice_of("shop/a", "node-1", "node-2"), slice_of("shop/b", "node-2", "node-3"))
    assert only(Announcing.compute(both)).candidates == ("node-2",)
    apart = Announcing.compute(view(one, two, slice_of("shop/a", "node-1"), slice_of("shop/b", "node-3")))
    assert only(apart).candidates == ()
    assert [f.source.name for f in apart.findings] == ["a", "b"]
    idle = Announcing.compute(view(one, two, slice_of("shop/a", "node-1")))
    assert only(idle).candidates == ("node-1",)


OBJECTS = st.lists(
    st.one_of(
        st.builds(
            balancer,
            st.sampled_from(("shop/a", "shop/b")),
            st.sampled_from((ADDRESS, OTHER)),
            policy=st.sampled_from(("Local", "Cluster")),
        ),
        st.builds(
            lambda name, suffix, nodes: slice_of(name, *nodes, name=suffix),
            st.sampled_from(("shop/a", "shop/b")),
            st.sampled_from(("x", "y")),
            st.lists(st.sampled_from(NAMES), max_size=3, unique=True),
        ),
        st.builds(lambda name: b.service(name, "10.96.0.9"), st.sampled_from(("shop/a", "shop/b"))),
    ),
    max_size=8,
)


@given(OBJECTS, OBJECTS, st.data())
def test_history_leaves_no_trace(before, after, data):
    follow = Announcing()

    def take(obj, *, gone=False):
        change = follow.service_changed if type(obj).__name__ == "Service" else follow.slice_changed
        change(obj.key, None if gone else obj)

    for obj in [*before, *after]:
        take(obj)
    last = {(type(obj).__name__, obj.key): obj for obj in [*before, *after]}
    for key in data.draw(st.sets(st.sampled_from(sorted(last, key=str))) if last else st.just(set())):
        take(last.pop(key), gone=True)
    there = view(*last.values())
    assert follow.announced(there) == Announcing.compute(there)
