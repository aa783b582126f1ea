"""The agent is killed at every step of attaching a pod's networks: whatever was done, DEL of the next one leaves nothing."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from tests.netns.secondary_world import definitions

from netloom.linux import netns, process
from netloom.linux.process import Command
from netloom.linux.rtnl import Rtnl
from netloom.testing.netns import fresh_netns
from netloom.testing.secondary_rig import PLUGIN_DIR, ScriptedLeases, SecondaryRig, call

pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(not Path(PLUGIN_DIR, "bridge").exists(), reason="no containernetworking-plugins"),
]
ROOT = Path(__file__).parents[2]


def links(fd):
    with Rtnl(fd) as rtnl:
        return sorted(link.name for link in rtnl.links())


def addresses(directory):
    return [p.name for p in (directory / "plugins" / "var-lib").rglob("198.51.100.*")]


@pytest.fixture
def plugin_dirs(cni_shim):
    return (str(cni_shim.parent), PLUGIN_DIR)


@pytest.fixture
def node():
    with fresh_netns() as fd:
        yield fd


async def start(directory, node_fd, pod_fd, plugin_dirs, step):
    words = (sys.executable, str(Path(__file__).with_name("killed_agent.py")), str(directory))
    return await process.spawn(
        Command(
            argv=(*words, str(node_fd), str(pod_fd), ":".join(plugin_dirs), str(step)),
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"},
            pass_fds=(node_fd, pod_fd),
            stderr=2,
        )
    )


async def killed(directory, node_fd, pod_fd, plugin_dirs, step):
    return await end_of(directory, node_fd, pod_fd, plugin_dirs, step) == -signal.SIGKILL


async def end_of(directory, node_fd, pod_fd, plugin_dirs, step):
    agent = await start(directory, node_fd, pod_fd, plugin_dirs, step)
    try:
        async with asyncio.timeout(60):
            return await agent.wait()
    finally:
        agent.close()


def next_agent(directory, node_fd, plugin_dirs):
    return SecondaryRig(
        directory,
        node_fd=node_fd,
        api=ScriptedLeases(directory / "api.json"),
        plugin_dirs=plugin_dirs,
        environment={"NETLOOM_CNI_SOCKET": str(directory / "ipam.sock")},
    )


async def take_away(directory, node_fd, pod_fd, plugin_dirs):
    rig = next_agent(directory, node_fd, plugin_dirs)
    try:
        async with rig.ipam(directory / "ipam.sock"):
            await rig.networks.delete(call("shop/cart", "DEL"), pod_fd)
        assert rig.record.attachments() == []
        assert rig.record.leases() == []
        assert rig.leased() == []
        assert addresses(directory) == []
    finally:
        rig.close()


async def test_whatever_the_step_del_leaves_nothing(tmp_path, node, plugin_dirs):
    step, was_killed = 1, True
    seen_lease = seen_link = 0
    while was_killed:
        directory = tmp_path / str(step)
        directory.mkdir()
        with fresh_netns() as pod_fd:
            was_killed = await killed(directory, node, pod_fd, plugin_dirs, step)
            seen_lease += bool(ScriptedLeases(directory / "api.json").objects)
            seen_link += links(pod_fd) != ["lo"]
            await take_away(directory, node, pod_fd if step % 2 else None, plugin_dirs)
            if step % 2:
                assert links(pod_fd) == ["lo"], step
        step += 1
    assert links(node) == ["br-blue", "lo"]
    # the kills were where they matter: some left addresses and interfaces behind, which then went
    assert step > 15
    assert seen_lease > 5
    assert seen_link > 2


async def test_after_the_kill_the_next_add_succeeds(tmp_path, node, plugin_dirs):
    # Debian's bridge (1.1.1) cannot use a bridge that lost its only port before it was given a MAC: it is given one here
    warm = tmp_path / "warm"
    warm.mkdir()
    with fresh_netns() as pod_fd:
        assert await end_of(warm, node, pod_fd, plugin_dirs, 1000) == 0
        await take_away(warm, node, pod_fd, plugin_dirs)
    for step in (5, 9, 13):
        directory = tmp_path / str(step)
        directory.mkdir()
        with fresh_netns() as pod_fd:
            assert await killed(directory, node, pod_fd, plugin_dirs, step)
            assert await end_of(directory, node, pod_fd, plugin_dirs, 1000) == 0
            assert links(pod_fd) == ["lo", "net1", "net2"]
            assert len(ScriptedLeases(directory / "api.json").objects) == 2
            await take_away(directory, node, pod_fd, plugin_dirs)


async def test_a_plugin_that_outlives_its_agent_is_waited_for(tmp_path, node, plugin_dirs):
    """The agent is killed while a plugin works: were DEL done at once, what the plugin makes afterwards would stay for ever."""
    slow = tmp_path / "bin"
    slow.mkdir()
    started, go = tmp_path / "started", tmp_path / "go"
    os.mkfifo(started)
    os.mkfifo(go)
    # netloom's agent runs it under the name `bridge`, which stands first in the directories
    script = f'#!/bin/sh\nconfig=$(cat)\necho x > {started}\nread x < {go}\nprintf %s "$config" | {PLUGIN_DIR}/bridge\n'
    plugin = slow / "bridge"
    plugin.write_text(script)
    plugin.chmod(0o755)
    with fresh_netns() as pod_fd:
        agent = await start(tmp_path, node, pod_fd, (str(slow), *plugin_dirs), 1000)
        await netns.run_in_async(None, started.read_text)
        agent.kill()
        await agent.wait()
        agent.close()
        rig = next_agent(tmp_path, node, plugin_dirs)
        async with rig.ipam(tmp_path / "ipam.sock"), asyncio.TaskGroup() as tasks:
            gone = tasks.create_task(rig.networks.delete(call("shop/cart", "DEL"), pod_fd))
            done, _ = await asyncio.wait([gone], timeout=0.5)
            assert not done
            await netns.run_in_async(None, lambda: go.write_text("x\n"))
            await gone
        assert links(pod_fd) == ["lo"]
        assert rig.leased() == []
        assert rig.record.leases() == []
        rig.close()


def test_the_world_is_the_same_for_both(tmp_path):
    rig = SecondaryRig(tmp_path)
    definitions(rig)
    assert set(rig.pods) == {"shop/cart"}
    rig.close()
