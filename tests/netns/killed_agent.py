"""An agent that attaches one pod's networks and is killed at a given step. Started by test_secondary_killed.

    killed_agent.py DIRECTORY NODE_FD POD_FD PLUGIN_DIRS STEP

Steps are counted at whatever is durable or done by others: writes of the record, requests to the API server, starts and ends of
plugins. It ends by SIGKILL at the step with this number, and with 0 where there are fewer.
"""

import asyncio
import functools
import os
import signal
import sys
from pathlib import Path

from tests.netns.secondary_world import definitions

from netloom.cni.delegate import Delegates
from netloom.cni.networks.record import NetworkRecord
from netloom.testing.secondary_rig import ScriptedLeases, SecondaryRig, call, first_interface


class Steps:
    def __init__(self, last):
        self.left = last

    def take(self):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, kind, name):
        inner = getattr(kind, name)

        if asyncio.iscoroutinefunction(inner):

            @functools.wraps(inner)
            async def outer(*args, **kwargs):
                self.take()
                found = await inner(*args, **kwargs)
                self.take()
                return found

        else:

            @functools.wraps(inner)
            def outer(*args, **kwargs):
                self.take()
                found = inner(*args, **kwargs)
                self.take()
                return found

        setattr(kind, name, outer)


async def main(directory, node_fd, pod_fd, plugin_dirs, step):
    steps = Steps(step)
    for name in ("begin", "note", "forget", "put_lease", "drop_lease"):
        steps.around(NetworkRecord, name)
    for name in ("create", "update", "delete"):
        steps.around(ScriptedLeases, name)
    steps.around(Delegates, "_run")
    socket = directory / "ipam.sock"
    rig = SecondaryRig(
        directory,
        node_fd=node_fd,
        api=ScriptedLeases(directory / "api.json"),
        plugin_dirs=plugin_dirs,
        environment={"NETLOOM_CNI_SOCKET": str(socket)},
    )
    definitions(rig)
    async with rig.ipam(socket):
        await rig.networks.add(call("shop/cart"), pod_fd, first_interface())


asyncio.run(
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4].split(":"), int(sys.argv[5]))
)
