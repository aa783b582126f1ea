"""Interfaces of kinds that this machine's own kernel may lack, made by our netlink: what other rooms build on."""

from __future__ import annotations

import os

import pytest

from netloom.linux import netns, rtmsg
from netloom.linux.rtnl import Rtnl

pytestmark = pytest.mark.vm


@pytest.mark.parametrize("kind", ["dummy", "wireguard"])
def test_an_interface_is_made_seen_and_deleted(kind: str):
    fd = netns.new_netns()
    try:
        with Rtnl(fd) as rtnl:
            rtnl.batch([rtmsg.new_link("nl-test", kind)])
            link = rtnl.find_link("nl-test")
            assert link is not None
            assert link.kind == kind
            rtnl.delete_link("nl-test")
            assert rtnl.find_link("nl-test") is None
    finally:
        os.close(fd)
