"""What a fabric needs is tried before nodes are made, and nothing of the trial stays."""

import contextlib

import pytest

from netloom.errors import Unsupported
from netloom.linux.netns import new_netns, run_in
from netloom.linux.rtnl import Rtnl
from netloom.local.fabric_needs import _kernel_encrypts, check_fabric
from netloom.model.routes.ways import FabricKind

pytestmark = pytest.mark.netns


def links(netns):
    with Rtnl(netns) as rtnl:
        return [link.name for link in rtnl.links()]


@pytest.mark.parametrize("kind", FabricKind)
def test_a_trial_leaves_nothing(kind):
    netns = new_netns()
    before = links(netns)
    may_lack = kind in (FabricKind.WIREGUARD, FabricKind.UDP)
    with contextlib.suppress(Unsupported) if may_lack else contextlib.nullcontext():
        run_in(netns, lambda: check_fabric(kind))
    assert links(netns) == before


def test_without_a_driver_and_without_the_program_encryption_is_refused():
    netns = new_netns()
    if run_in(netns, _kernel_encrypts):
        run_in(netns, lambda: check_fabric(FabricKind.WIREGUARD, wireguard_program="nobody-has-this"))
        return
    with pytest.raises(Unsupported, match="neither the kernel's wireguard nor nobody-has-this is here"):
        run_in(netns, lambda: check_fabric(FabricKind.WIREGUARD, wireguard_program="nobody-has-this"))
