"""What plugins see on a node of the local cluster: a /var/lib and /run of the node's own, and nothing of the machine to write to."""

import os

import pytest

from netloom.cni.networks.plugin_view import make_view
from netloom.linux import process
from netloom.linux.netns import Namespaces

pytestmark = pytest.mark.netns


@pytest.fixture
def view(tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "word").write_text("there")
    fd = make_view(tmp_path / "state", keep=[str(kept), "/usr/lib/cni", "/no/such/place"])
    yield fd, tmp_path
    os.close(fd)


async def inside(view, *words):
    return await process.run(words, ns=Namespaces(mnt=view[0]))


async def test_what_is_written_is_the_nodes_own(view):
    before = set(os.listdir("/var/lib")), set(os.listdir("/run"))
    for place in ("/var/lib/cni", "/run/cni"):
        assert (await inside(view, "mkdir", "-p", place)).returncode == 0
    assert (await inside(view, "ls", "/var/lib")).stdout == b"cni\n"
    assert (view[1] / "state" / "var-lib" / "cni").is_dir()
    assert (view[1] / "state" / "run" / "cni").is_dir()
    assert (set(os.listdir("/var/lib")), set(os.listdir("/run"))) == before


@pytest.mark.parametrize("place", ["/etc/netloom-test", "/usr/netloom-test", "/netloom-test"])
async def test_nothing_else_can_be_written(view, place):
    said = await inside(view, "touch", place)
    assert b"Read-only file system" in said.stderr
    assert "netloom-test" not in os.listdir(place.rpartition("/")[0] or "/")


async def test_what_is_to_be_kept_is_there_although_its_place_is_covered(view):
    assert (await inside(view, "cat", str(view[1] / "kept" / "word"))).stdout == b"there"
    assert (await inside(view, "touch", "/tmp/own")).returncode == 0
    assert "own" not in os.listdir("/tmp")


async def test_the_kernels_own_files_can_be_written(view):
    # as bridge and tuning do; the value stays what it is
    code = 'read x < /proc/sys/net/ipv4/ip_forward; printf %s "$x" > /proc/sys/net/ipv4/ip_forward'
    net = process.NEW_NET
    started = await process.spawn(
        process.Command(argv=("sh", "-c", code)), ns=Namespaces(mnt=view[0]), new=net
    )
    assert await started.wait() == 0
    started.close()
