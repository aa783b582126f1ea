"""Pods that leave by gateways, with real packets: whom a server outside sees, before and after the address has moved."""

from __future__ import annotations

import pytest

from netloom.fabric.hostgw.apply import HostGateway
from netloom.fabric.vxlan.apply import VxlanFabric
from netloom.linux.rtnl import Rtnl
from netloom.program.names import EGRESS_LINK
from netloom.testing.egress_rig import EXITS, LAYOUTS, egress_gateway, egress_rig
from netloom.units import Family

pytestmark = pytest.mark.netns

FABRICS = {"hostgw": HostGateway, "vxlan": VxlanFabric}
FAMILIES = tuple(Family)


@pytest.mark.parametrize("name", list(FABRICS))
async def test_chosen_pods_leave_by_the_address_and_all_is_as_before_without_it(name):
    async with egress_rig(LAYOUTS[name], FABRICS[name]) as rig:
        one, two, three = (node.pod for node in rig.nodes)
        for family in FAMILIES:
            await rig.put()
            own = [node.host.address_of(family) for node in rig.nodes]
            assert [await rig.seen(pod, family) for pod in (one, two, three)] == own
            await rig.put(egress_gateway())
            assert [await rig.seen(pod, family) for pod in (one, two, three)] == [EXITS[family]] * 3
            await rig.put()
            assert [await rig.seen(pod, family) for pod in (one, two, three)] == own
        for node in rig.nodes:
            with Rtnl(node.host.netns_fd) as rtnl:
                assert rtnl.find_link(EGRESS_LINK) is None
