"""A stopped cluster that is started again with other options."""

import pytest

from netloom.errors import UsageError
from netloom.local.cluster import _check_resumed
from netloom.local.settings import ClusterSettings
from netloom.model.routes.ways import FabricKind

WAS = ClusterSettings(name="shop", fabric=FabricKind.WIREGUARD, segments=2)


def changed(**changes):
    fields = {"name": "shop", "fabric": FabricKind.WIREGUARD, "segments": 2, **changes}
    return ClusterSettings(**fields)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"pod_cidrs": ("10.0.0.0/16", "fd00::/48")}, "--pod-cidr 10.0.0.0/16,fd00::/48: cluster 'shop'"),
        ({"underlay_cidrs": ("172.31.0.0/24",)}, "--underlay-cidr 172.31.0.0/24"),
        (
            {"fabric": FabricKind.HOSTGW},
            "--fabric hostgw: cluster 'shop' has objects from a former run with wireguard",
        ),
        ({"segments": 1}, "--segments 1: cluster 'shop'"),
    ],
)
def test_addresses_and_what_was_encrypted_stay(changes, says):
    with pytest.raises(UsageError) as caught:
        _check_resumed(WAS, changed(**changes))
    assert caught.value.problem.startswith(says)
    assert "netloom down --name shop" in caught.value.hint


@pytest.mark.parametrize(
    "changes", [{}, {"nodes": 5}, {"underlay_mtu": 9000}, {"router_mtu": 1400}, {"tunnel_port": 51821}]
)
def test_all_else_may_change(changes):
    _check_resumed(WAS, changed(**changes))
