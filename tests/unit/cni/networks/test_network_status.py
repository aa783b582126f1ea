"""The annotation network-status: its shape, and that it is written in the end."""

import json

import pytest

from netloom.cni.networks.publish import StatusPublisher
from netloom.cni.networks.results import read
from netloom.cni.networks.status import NetworkStatus, annotation, status_of
from netloom.errors import InvalidObject, NotFound, Unavailable
from netloom.kube.resources import PODS
from netloom.kube.status import Conflict
from netloom.program.links import Link
from netloom.units import ObjectKey

POD = ObjectKey("shop", "cart")
RESULT = {
    "cniVersion": "1.1.0",
    "interfaces": [
        {"name": "br0", "mac": "aa:00:00:00:00:01"},
        {"name": "net1", "mac": "aa:00:00:00:00:02", "sandbox": "/x", "mtu": 1400},
    ],
    "ips": [{"address": "192.0.2.5/24", "interface": 1}, {"address": "2001:db8::5/64", "interface": 1}],
    "dns": {"nameservers": ["192.0.2.53"], "search": [], "domain": "example.org"},
}


def test_the_shape_is_that_of_the_standard():
    own = NetworkStatus(
        name="netloom", interface="eth0", ips=("10.1.0.5",), mac="aa", mtu=1500, is_default=True
    )
    blue = status_of("shop/blue", "net1", read(RESULT, plugin="x"), gateways=("192.0.2.1",))
    assert json.loads(annotation([own, blue])) == [
        {
            "name": "netloom",
            "interface": "eth0",
            "ips": ["10.1.0.5"],
            "mac": "aa",
            "mtu": 1500,
            "default": True,
            "dns": {},
        },
        {
            "name": "shop/blue",
            "interface": "net1",
            "ips": ["192.0.2.5", "2001:db8::5"],
            "mac": "aa:00:00:00:00:02",
            "mtu": 1400,
            "dns": {"nameservers": ["192.0.2.53"], "domain": "example.org"},
            "gateway": ["192.0.2.1"],
        },
    ]


def test_what_an_old_result_cannot_say_is_read_from_the_interface():
    old = read({"cniVersion": "0.2.0", "ip4": {"ip": "192.0.2.5/24"}}, plugin="x")
    blue = status_of("shop/blue", "net1", old, link=Link(index=3, name="net1", mac="aa", mtu=1300))
    assert (blue.interface, blue.mac, blue.mtu, blue.ips) == ("net1", "aa", 1300, ("192.0.2.5",))


class Api:
    def __init__(self):
        self.written = {}
        self.problem = None

    async def patch(self, resource, key, body, *, subresource=""):
        if self.problem is not None:
            raise self.problem
        assert (resource, subresource) == (PODS, "status")
        self.written[key] = body["metadata"]
        return {}


@pytest.fixture
def api():
    return Api()


async def test_it_is_written_at_once_for_this_very_pod(api):
    await StatusPublisher(api=api).publish(POD, "uid-1", "[]")
    metadata = {"uid": "uid-1", "annotations": {"k8s.v1.cni.cncf.io/network-status": "[]"}}
    assert api.written == {POD: metadata}


async def test_where_the_api_server_is_away_the_newest_is_written_later(api):
    publisher = StatusPublisher(api=api)
    api.problem = Unavailable("away")
    await publisher.publish(POD, "uid-1", "old")
    await publisher.publish(POD, "uid-1", "new")
    assert not await publisher.turn()
    api.problem = None
    assert await publisher.turn()
    assert api.written[POD]["annotations"]["k8s.v1.cni.cncf.io/network-status"] == "new"
    api.written.clear()
    assert await publisher.turn()
    assert api.written == {}


@pytest.mark.parametrize("problem", [NotFound("gone"), Conflict("another"), InvalidObject("Pod", "", "no")])
async def test_a_pod_that_is_gone_or_another_is_not_waited_for(api, problem):
    publisher = StatusPublisher(api=api)
    api.problem = problem
    await publisher.publish(POD, "uid-1", "[]")
    api.problem = None
    assert await publisher.turn()
    assert api.written == {}


async def test_what_waits_is_bounded(api):
    publisher = StatusPublisher(api=api)
    api.problem = Unavailable("away")
    for number in range(1005):
        await publisher.publish(ObjectKey("shop", f"p{number}"), "u", "[]")
    api.problem = None
    assert await publisher.turn()
    assert len(api.written) == 1000
    assert ObjectKey("shop", "p0") not in api.written
