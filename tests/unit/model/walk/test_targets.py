"""What the user typed, read as origin and destination; and what is said where it cannot be."""

from __future__ import annotations

from ipaddress import ip_address

import msgspec
import pytest

from netloom.api.core import ContainerPort
from netloom.api.meta import OwnerReference
from netloom.errors import NotFound, UsageError
from netloom.model.inputs import ClusterFacts
from netloom.model.walk.cluster import ClusterModel
from netloom.model.walk.packet import (
    AddressTarget,
    InternetTarget,
    NameTarget,
    NodeTarget,
    OriginKind,
    PodTarget,
    ServiceTarget,
)
from netloom.model.walk.targets import Written, read_destination, read_origin, split
from netloom.model.walk.walk import walk
from netloom.testing import builders as b
from netloom.units import ObjectKey, Protocol


def owned(name, kind, owner, *, template="", controller=True, **rest):
    pod = b.pod(name, **rest, labels={"pod-template-hash": template} if template else {})
    references = (
        OwnerReference(kind="Other", name="x"),
        OwnerReference(kind=kind, name=owner, controller=controller),
    )
    return msgspec.structs.replace(
        pod, metadata=msgspec.structs.replace(pod.metadata, owner_references=references)
    )


def place(pod, address, node="node-1", ready=True):
    status = b.pod("x", address, ready=ready).status
    return msgspec.structs.replace(pod, spec=msgspec.structs.replace(pod.spec, node_name=node), status=status)


CLUSTER = ClusterModel(
    b.view(
        b.node("node-1", "192.0.2.11", pod_cidrs=["10.244.0.0/24"]),
        b.pod("default/web", "10.244.0.2", node="node-1"),
        b.pod("shop/cart-0", "10.244.0.3", node="node-1", ports=[ContainerPort(80), ContainerPort(81)]),
        b.pod("shop/host", "192.0.2.11", node="node-1", host_network=True),
        b.pod("shop/lost-host", "192.0.2.77", node="node-7", host_network=True),
        place(owned("shop/api-9f-b", "ReplicaSet", "api-9f", template="9f"), "10.244.0.4"),
        place(owned("shop/api-9f-a", "ReplicaSet", "api-9f", template="9f"), "10.244.0.5", ready=False),
        place(owned("shop/db-0", "StatefulSet", "db"), "10.244.0.6"),
        place(owned("shop/bare-x", "ReplicaSet", "bare"), "10.244.0.7"),
        owned("shop/loose", "ReplicaSet", "nobody", controller=False),
        b.service("shop/cart", "10.96.0.1", ports=[b.port(80, "http"), b.port(53, "dns", protocol="UDP")]),
        b.service("shop/cart-0", "10.96.0.2", ports=[b.port(80)]),
    ),
    ClusterFacts(),
)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("cart", Written("cart", None, None)),
        ("cart:80", Written("cart", 80, None)),
        ("cart.shop:http", Written("cart.shop", "http", None)),
        ("svc/cart:53/udp", Written("svc/cart", 53, Protocol.UDP)),
        ("svc/cart/UDP", Written("svc/cart", None, Protocol.UDP)),
        ("shop/udp", Written("shop/udp", None, None)),
        ("cart.shop/sctp", Written("cart.shop", None, Protocol.SCTP)),
        ("10.1.2.3", Written("10.1.2.3", None, None)),
        ("10.1.2.3:53/udp", Written("10.1.2.3", 53, Protocol.UDP)),
        ("2001:db8::1", Written("2001:db8::1", None, None)),
        ("[2001:db8::1]", Written("2001:db8::1", None, None)),
        ("[2001:db8::1]/udp", Written("2001:db8::1", None, Protocol.UDP)),
        ("[::1]:80/tcp", Written("::1", 80, Protocol.TCP)),
    ],
)
def test_split(text, written):
    assert split(text) == written


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cart:0", "'0' is no port"),
        ("cart:65536", "'65536' is no port"),
        ("cart:", "'' is no port"),
        ("cart:Http", "'Http' is no port"),
        ("cart:an-overlong-port-name", "is no port"),
        (":80", "a port, but whose"),
        ("[::1", "no IPv6 address in brackets"),
        ("[10.x]:80", "no IPv6 address in brackets"),
        ("[::1]80", "no IPv6 address in brackets"),
        ("a:b:80", "which part is the port"),
    ],
)
def test_what_cannot_be_split(text, says):
    with pytest.raises(UsageError, match=says.replace("?", r"\?").replace("'", ".")):
        split(text)


@pytest.mark.parametrize(
    ("text", "kind", "pod", "node"),
    [
        ("web", OriginKind.POD, "default/web", "node-1"),
        ("shop/cart-0", OriginKind.POD, "shop/cart-0", "node-1"),
        ("pod/shop/cart-0", OriginKind.POD, "shop/cart-0", "node-1"),
        ("10.244.0.3", OriginKind.POD, "shop/cart-0", "node-1"),
        ("shop/host", OriginKind.NODE, "shop/host", "node-1"),
        ("shop/lost-host", OriginKind.NODE, "shop/lost-host", "node-7"),
        ("node-1", OriginKind.NODE, None, "node-1"),
        ("node/node-1", OriginKind.NODE, None, "node-1"),
        ("192.0.2.11", OriginKind.NODE, None, "node-1"),
        ("internet", OriginKind.OUTSIDE, None, ""),
        ("198.51.100.1", OriginKind.OUTSIDE, None, ""),
        ("[2001:db8::1]", OriginKind.OUTSIDE, None, ""),
        ("deploy/shop/api", OriginKind.POD, "shop/api-9f-b", "node-1"),
        ("shop/api", OriginKind.POD, "shop/api-9f-b", "node-1"),
        ("rs/shop/api-9f", OriginKind.POD, "shop/api-9f-b", "node-1"),
        ("rs/shop/bare", OriginKind.POD, "shop/bare-x", "node-1"),
        ("sts/shop/db", OriginKind.POD, "shop/db-0", "node-1"),
    ],
)
def test_origins(text, kind, pod, node):
    origin = read_origin(text, CLUSTER)
    assert (origin.kind, str(origin.pod) if origin.pod else None, origin.node) == (kind, pod, node)


def test_a_workload_says_which_pod_stands_for_it():
    assert (
        read_origin("deploy/shop/api", CLUSTER).note
        == "api-9f-b stands for Deployment shop/api (1 of 2 pods)"
    )
    assert read_origin("sts/shop/db", CLUSTER).note == "db-0 stands for StatefulSet shop/db"


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("internet", InternetTarget()),
        ("internet:443", InternetTarget()),
        ("10.1.2.3:80", AddressTarget(ip_address("10.1.2.3"))),
        ("Cart.shop:80", NameTarget("cart.shop")),
        ("cart.shop.svc.cluster.local.:80", NameTarget("cart.shop.svc.cluster.local.")),
        ("node/node-1:22", NodeTarget("node-1")),
        ("shop/cart:80", ServiceTarget(ObjectKey("shop", "cart"))),
        ("svc/cart", ServiceTarget(ObjectKey("shop", "cart"))),
        ("svc/shop/cart/udp", ServiceTarget(ObjectKey("shop", "cart"))),
        ("shop/cart-0", ServiceTarget(ObjectKey("shop", "cart-0"))),
        ("pod/cart-0", PodTarget(ObjectKey("shop", "cart-0"))),
        (
            "shop/api:80",
            PodTarget(ObjectKey("shop", "api-9f-b"), "api-9f-b stands for Deployment shop/api (1 of 2 pods)"),
        ),
    ],
)
def test_destinations(text, target):
    assert read_destination(text, CLUSTER, "shop").target == target


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("pod/shop/cart-1", "pod/shop/cart-1: no pod shop/cart-1; did you mean cart-0?"),
        ("pod/web-1", "pod/web-1: no pod default/web-1; did you mean web?"),
        ("other/web", "other/web: no pod or workload other/web; there is default/web"),
        ("deploy/zzz", "deploy/zzz: no Deployment default/zzz; see kubectl get pods,services -n default"),
        ("node/nod-1", "no node nod-1; did you mean node-1?"),
        ("node/zzz", "no node zzz; see kubectl get nodes"),
    ],
)
def test_no_such_origin(text, says):
    with pytest.raises(NotFound) as caught:
        read_origin(text, CLUSTER)
    assert str(caught.value) == says


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("svc/card:80", "svc/card:80: no service shop/card; did you mean cart or cart-0?"),
        ("svc/default/cart", "svc/default/cart: no service default/cart; there is shop/cart"),
        ("default/cart", "default/cart: no Service, pod or workload default/cart; there is shop/cart"),
        ("node/zzz:1", "no node zzz; see kubectl get nodes"),
    ],
)
def test_no_such_destination(text, says):
    with pytest.raises(NotFound) as caught:
        read_destination(text, CLUSTER, "shop")
    assert str(caught.value) == says


@pytest.mark.parametrize("text", ["", "/", "a/b/c/d", "kind/ns/name", "svc/shop/cart", "pod/"])
def test_origins_that_cannot_be_read(text):
    with pytest.raises(UsageError):
        read_origin(text, CLUSTER)


@pytest.mark.parametrize("text", ["a_/b/c/d", "not a name:80", "shop/", "kind/ns/name:80"])
def test_destinations_that_cannot_be_read(text):
    with pytest.raises(UsageError):
        read_destination(text, CLUSTER)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("shop/cart", "which port? Service shop/cart has 80/tcp (http), 53/udp (dns)"),
        ("shop/cart:https", "Service shop/cart has no port named https; it has 80/tcp (http), 53/udp (dns)"),
        ("pod/web", "which port? Pod default/web lists none"),
        ("pod/shop/cart-0/tcp", "which port? Pod shop/cart-0 has 80/tcp, 81/tcp"),
        ("node/node-1", "which port? node node-1 lists none"),
        ("10.1.2.3:http", "10.1.2.3 has no port named http; it has none"),
        ("internet:http", "ports outside have no names"),
    ],
)
def test_ports_that_are_left_open(text, says):
    origin = read_origin("web", CLUSTER)
    with pytest.raises(UsageError) as caught:
        walk(CLUSTER, origin, read_destination(text, CLUSTER))
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("text", "reaches"),
    [
        ("shop/cart/udp", "10.96.0.1:53/udp"),
        ("shop/cart:dns", "10.96.0.1:53/udp"),
        ("shop/cart:53", "10.96.0.1:53/udp"),
        ("shop/cart:80", "10.96.0.1:80/tcp"),
    ],
)
def test_ports_that_are_found(text, reaches):
    result = walk(CLUSTER, read_origin("web", CLUSTER), read_destination(text, CLUSTER))
    assert result.steps[1].text.startswith(reaches)
