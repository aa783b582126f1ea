"""Macvlan, whose driver many kernels lack: pods of one node on a segment of the outside, with addresses of a pool."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from netloom.linux import process
from netloom.linux.netns import Namespaces
from netloom.linux.rtnl import Rtnl
from netloom.testing.hosts import Host
from netloom.testing.netns import fresh_netns
from netloom.testing.secondary_rig import PLUGIN_DIR, SecondaryRig, call, first_interface

pytestmark = [
    pytest.mark.vm,
    pytest.mark.skipif(not Path(PLUGIN_DIR, "macvlan").exists(), reason="no containernetworking-plugins"),
]


async def test_two_pods_on_a_segment_of_the_outside(tmp_path, cni_shim):
    socket = tmp_path / "ipam.sock"
    with fresh_netns() as node, fresh_netns() as a, fresh_netns() as b:
        made = await process.run(["ip", "link", "add", "ens1", "type", "dummy"], ns=Namespaces(net=node))
        assert made.returncode == 0, made.stderr
        with Rtnl(node) as rtnl:
            rtnl.set_up("ens1")
        rig = SecondaryRig(
            tmp_path,
            node_fd=node,
            plugin_dirs=(str(cni_shim.parent), PLUGIN_DIR),
            environment={"NETLOOM_CNI_SOCKET": str(socket)},
        )
        rig.pool("blue", "192.0.2.0/24", gateways=("192.0.2.1",))
        ipam = {"type": "netloom-ipam", "pool": "blue"}
        config = {"cniVersion": "1.0.0", "type": "macvlan", "master": "ens1", "mode": "bridge", "ipam": ipam}
        rig.definitions.put("shop/blue", config)
        async with rig.ipam(socket):
            for number, fd in enumerate((a, b)):
                rig.pod(f"shop/p{number}", networks="blue")
                request = call(f"shop/p{number}", container=f"c{number}")
                await rig.networks.add(request, fd, first_interface(f"c{number}"))
            addresses = []
            for fd in (a, b):
                with Rtnl(fd) as rtnl:
                    assert rtnl.find_link("net1").kind == "macvlan"
                    addresses += [x.interface.ip for x in rtnl.addresses("net1") if x.interface.version == 4]
            assert len(set(addresses)) == 2
            assert all(address in ipaddress.ip_network("192.0.2.0/24") for address in addresses)
            async with Host("b", b, (addresses[1],)).serve(80):
                said = await Host("a", a, (addresses[0],)).ask(addresses[1], 80)
                assert said is not None
                assert said.peer == addresses[0]
            for number, fd in enumerate((a, b)):
                request = call(f"shop/p{number}", "DEL", f"c{number}")
                await rig.networks.delete(request, fd)
                with Rtnl(fd) as rtnl:
                    assert [link.name for link in rtnl.links()] == ["lo"]
        assert rig.leased() == []
        rig.close()
