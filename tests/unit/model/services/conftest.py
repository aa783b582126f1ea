"""What tests of Services share."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from netloom.model.inputs import NodeFacts


@pytest.fixture
def facts() -> NodeFacts:
    """Node node-1 in zone-a of a dual-stack cluster."""
    return NodeFacts(
        name="node-1",
        addresses=(ip_address("192.0.2.11"), ip_address("2001:db8:1::11")),
        pod_cidrs=(ip_network("10.244.0.0/24"), ip_network("2001:db8:f:1::/64")),
        cluster_cidrs=(ip_network("10.244.0.0/16"), ip_network("2001:db8:f::/48")),
        service_cidrs=(ip_network("10.96.0.0/16"), ip_network("2001:db8:c::/112")),
        dns_addresses=(ip_address("10.96.0.10"),),
        zone="zone-a",
    )
