from __future__ import annotations

import ipaddress

import pytest

from netloom.dataplane.nftables import compile as program
from netloom.dataplane.nftables.classes import class_chains, remember_chains
from netloom.dataplane.nftables.explain import explain, explain_chain
from netloom.dataplane.nftables.skeleton import base_chains, layout, regular_chains
from netloom.model.inputs import NodeFacts
from netloom.testing.frontends import SERVICE, frontend, network_state, peer
from netloom.units import Family

STATE = network_state(
    frontend("10.96.0.80:80", "10.244.1.5:8080", "10.244.2.7:8080"),
    frontend("*:30080", "10.244.1.5:8080", masquerade=True),
    frontend("10.96.0.81:80"),
    frontend("10.96.0.82:80", "10.244.1.5:8080", "10.244.2.7:8080", affinity_s=60),
    frontend(
        "192.0.2.80:80", "10.244.1.5:8080", inside=["10.244.2.7:8080"], source_ranges=["203.0.113.0/24"]
    ),
    pods=["10.244.1.5"],
    peers=[peer("10.244.2.0/24", "192.0.2.12")],
)
TABLE = program.table_state(STATE, Family.V4)


def packed(text):
    return ipaddress.ip_address(text).packed


def test_every_element_leads_to_an_object():
    for container, elements in program.elements(TABLE).items():
        for key in elements:
            found = explain(container, key, STATE, TABLE)
            assert found is not None, (container, key)
            assert found.sources, (container, key)


@pytest.mark.parametrize(
    ("container", "key", "text", "source"),
    [
        (
            "services",
            (packed("10.96.0.80"), 6, 80),
            "10.96.0.80:80/tcp is shop/cart/tcp: draws one of up to 2 endpoints of a Service",
            SERVICE,
        ),
        (
            "services",
            (packed("10.96.0.81"), 6, 80),
            "10.96.0.81:80/tcp is shop/cart/tcp: refused at once: TCP reset, ICMP port unreachable for everything else",
            SERVICE,
        ),
        (
            "endpoints",
            (1, packed("10.96.0.80"), 6, 80),
            "10.244.2.7:8080 is 1 of 2 endpoints of shop/cart/tcp at 10.96.0.80:80/tcp",
            STATE.frontends[frontend("10.96.0.80:80").key].backends[1].source,
        ),
        (
            "node-ports",
            (6, 30080),
            "*:30080/tcp is shop/cart/tcp: draws one of up to 1 endpoints of a NodePort, and gives the node's address as source",
            SERVICE,
        ),
    ],
)
def test_words_and_sources(container, key, text, source):
    found = explain(container, key, STATE, TABLE)
    assert (found.text, found.sources[0]) == (text, source)


@pytest.mark.parametrize(
    ("container", "key"),
    [
        ("services", (packed("10.96.0.99"), 6, 80)),
        ("services", (packed("10.96.0.80"), 99, 80)),
        ("endpoints", (2, packed("10.96.0.80"), 6, 80)),
        ("endpoints", (0, packed("10.96.0.81"), 6, 80)),
        ("stages", (1, packed("192.0.2.80"), 6, 80)),
        ("targets", (1, packed("10.96.0.82"), 6, 80)),
        ("holds", (packed("10.96.0.80"), 6, 80)),
        ("source-ranges", (packed("192.0.2.80"), 6, 80, bytes(8))),
        ("node-ports", (17, 30080)),
        ("hairpin", (packed("10.244.1.6"), packed("10.244.1.6"))),
        ("hairpin", (packed("10.244.1.5"), packed("10.244.1.6"))),
        ("peers", (packed("192.0.2.13"),)),
        ("somebody-elses", (1,)),
    ],
)
def test_what_the_model_has_not_is_not_explained(container, key):
    assert explain(container, key, STATE, TABLE) is None


def test_every_chain_has_words():
    node = layout(NodeFacts(name="node-1"), Family.V4)
    for chain, _ in (
        *class_chains(Family.V4),
        *remember_chains(Family.V4, [60]),
        *regular_chains(node),
        *base_chains(node),
    ):
        assert explain_chain(chain.name), chain.name
    assert explain_chain("somebody-elses") == ""
