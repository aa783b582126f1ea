"""A switch of the data centre for tests: FRR's bgpd, zebra and bfdd in a namespace, with directories of their own.

In: configuration. Out: what they know, as vtysh tells it. Another program than ours speaks for the other side. Nothing of the machine's own FRR is touched. Not here: topologies.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec

from netloom.linux import process
from netloom.linux.mounts import bind, make_private
from netloom.linux.netns import Namespaces
from netloom.linux.process import Command
from netloom.testing.hosts import Host

FRR = Path("/usr/lib/frr")
_START_S = 10.0
DAEMONS = ("zebra", "bfdd", "bgpd")


class FrrSwitch:
    """FRR on a host; ``frr_switch`` makes it.

    Args:
        host: the namespace that it is in.
        directory: for its files, short enough for sockets.
    """

    def __init__(self, host: Host, directory: Path) -> None:
        self._directory = directory
        self._ns = Namespaces(net=host.netns_fd)

    async def run(self, *commands: str) -> str:
        """What vtysh says to these commands, one after the other."""
        words = [word for command in commands for word in ("-c", command)]
        argv = ["vtysh", "--vty_socket", str(self._directory), "--config_dir", str(self._directory), *words]
        done = await process.run(argv, ns=self._ns)
        return done.stdout.decode()

    async def show(self, command: str) -> Any:  # noqa: ANN401 - JSON
        """The same as JSON; nothing where there is none."""
        try:
            return msgspec.json.decode(await self.run(f"{command} json"))
        except msgspec.DecodeError:
            return {}

    async def paths(self, prefix: str) -> list[Any]:
        """All paths to a prefix that are known."""
        version = "ipv6" if ":" in prefix else "ipv4"
        found = await self.show(f"show bgp {version} unicast {prefix}")
        return list(found.get("paths", ())) if isinstance(found, dict) else []

    async def next_hops(self, prefix: str) -> set[str]:
        """By whom the kernel's route to a prefix leads, as zebra has installed it."""
        version = "ipv6" if ":" in prefix else "ip"
        found = await self.show(f"show {version} route {prefix}")
        routes = found.get(prefix, []) if isinstance(found, dict) else []
        return {
            hop["ip"]
            for route in routes
            if route.get("installed")
            for hop in route.get("nexthops", ())
            if hop.get("fib") and "ip" in hop
        }

    async def _until_listens(self, path: Path) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _START_S
        with socket.socket(socket.AF_UNIX) as probe:
            while probe.connect_ex(str(path)):
                if loop.time() > deadline:
                    raise TimeoutError(f"zebra does not listen at {path}")
                await asyncio.sleep(0.01)

    def _have_groups(self) -> None:
        """The daemons give up privileges that they do not have here, and ask whether root is of their group: say so."""
        groups = self._directory / "group"
        groups.write_text("root:x:0:\nfrrvty:x:0:root\n")
        make_private("/")
        bind(str(groups), "/etc/group")

    async def start(self) -> list[process.Process]:
        """Start the daemons, in the order in which they need each other."""
        started: list[process.Process] = []
        for name in DAEMONS:
            if started:  # who does not find zebra there asks again after ten seconds only
                await self._until_listens(self._directory / "zserv.api")
            config = self._directory / f"{name}.conf"
            api, vty = self._directory / "zserv.api", self._directory
            words = ["-f", str(config), "-i", str(self._directory / f"{name}.pid"), "-z", str(api)]
            words += ["--vty_socket", str(vty), "-u", "root", "-g", "root", "-P", "0"]
            words += ["--bfdctl", str(self._directory / "bfdd.sock")] if name == "bfdd" else []
            log = (self._directory / f"{name}.log").open("wb")
            with contextlib.closing(log):
                command = Command(argv=(str(FRR / name), *words), stdout=log.fileno(), stderr=log.fileno())
                started.append(
                    await process.spawn(command, ns=self._ns, new=process.NEW_MNT, prepare=self._have_groups)
                )
        return started


@contextlib.asynccontextmanager
async def frr_switch(host: Host, directory: Path, bgp: str) -> AsyncIterator[FrrSwitch]:
    """FRR with this configuration of its bgpd."""
    for name in DAEMONS:
        text = bgp if name == "bgpd" else ""
        (directory / f"{name}.conf").write_text(f"{text}\n")
    (directory / "vtysh.conf").write_text("no service integrated-vtysh-config\n")
    switch = FrrSwitch(host, directory)
    daemons = await switch.start()
    try:
        yield switch
    finally:
        for daemon in daemons:
            daemon.close()
