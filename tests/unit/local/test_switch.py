"""The switch of a local cluster: its configuration is one that BIRD reads, and each node finds it on its own segment."""

from __future__ import annotations

import ipaddress
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest

from netloom.api.bgp import BGPPeer
from netloom.api.selectors import from_selector
from netloom.local import switch
from netloom.local.settings import ClusterSettings, checked
from netloom.model.announcing.bgp_peers import read_peer
from netloom.model.routes.ways import FabricKind

FLAT = checked(ClusterSettings(fabric=FabricKind.BGP, nodes=3))
ROUTED = checked(
    ClusterSettings(
        fabric=FabricKind.BGP,
        nodes=3,
        segments=2,
        pod_cidrs=("10.244.0.0/16", "fd00:244::/48"),
        service_cidrs=("10.96.0.0/16", "fd00:96::/112"),
        underlay_cidrs=("172.30.0.0/24", "fd00:30::/48"),
    )
)


@pytest.mark.skipif(shutil.which("bird", path="/usr/sbin:/usr/bin") is None, reason="no bird")
@pytest.mark.parametrize("settings", [FLAT, ROUTED], ids=["flat", "routed"])
def test_bird_reads_it(settings, tmp_path):
    text = switch.render(settings, Path("/run/bird.log"))
    (tmp_path / "bird.conf").write_text(text)
    bird = shutil.which("bird", path="/usr/sbin:/usr/bin")
    done = subprocess.run([bird, "-p", "-c", tmp_path / "bird.conf"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert text.count("protocol bgp ") == settings.segments * len(settings.underlay_cidrs)


@pytest.mark.parametrize("settings", [FLAT, ROUTED], ids=["flat", "routed"])
def test_each_node_finds_the_switch_on_its_own_segment(settings):
    read = []
    for body in switch.peers(settings):
        peer, findings = read_peer(msgspec.convert(body, type=BGPPeer))
        assert findings == ()
        assert peer is not None
        read.append(peer)
    for index, name in enumerate(settings.node_names):
        labels = {"kubernetes.io/hostname": name}
        mine = [peer for peer in read if peer.is_of(labels)]
        place = settings.place(index)
        assert [peer.address for peer in mine] == list(place.segment.gateways)
        for peer, interface in zip(mine, place.interfaces, strict=True):
            assert peer.address in ipaddress.ip_interface(interface).network
            assert peer.asn != peer.my_asn


def test_other_fabrics_have_no_switch():
    assert not switch.is_wanted(checked(ClusterSettings()))
    assert switch.is_wanted(FLAT)


def test_selectors_name_nodes_by_what_runners_call_them():
    bodies = list(switch.peers(ROUTED))
    assert "nodeSelector" not in next(iter(switch.peers(FLAT)))["spec"]
    peer = msgspec.convert(bodies[0], type=BGPPeer)
    assert peer.spec.node_selector is not None
    assert str(from_selector(peer.spec.node_selector)) == "kubernetes.io/hostname in (node-1,node-2)"
