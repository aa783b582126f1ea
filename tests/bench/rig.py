"""One node of a local cluster with nothing else: an API server, a real agent, a real DNS process, no pods.

All of it in the namespaces of the benchmark, laid out by the embedded cluster's own code: the API server on the underlay's
gateway behind TLS, the node in a namespace of its own. Children are forked from this process, which has imported everything,
as the cluster's first process does it. The API server is the real one, or one that has its answers ready (``feed``).
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
from tests.bench import feed, population, rooms

from netloom.clock import SystemClock
from netloom.linux import netns
from netloom.linux.nft import Nft
from netloom.local import supervisor
from netloom.local.control_plane import Listeners
from netloom.local.paths import ClusterPaths, NodePaths
from netloom.local.preflight import shim_path
from netloom.local.roles import children_of, machine_of
from netloom.local.settings import ClusterSettings
from netloom.local.underlay import NodeRoom, lay
from netloom.program import names
from netloom.units import Family

NODE = "node-1"
_PAUSE_S = 0.005
_METRICS_PORT = 10249
_API_PORT = 6443
_TURNED = re.compile(rb"^netloom_turns_total [1-9]", re.MULTILINE)


class Used(msgspec.Struct, frozen=True):
    """What a process has used."""

    cpu_s: float
    rss_mb: float


class Phase(msgspec.Struct, frozen=True):
    """The end of a phase of the agent's start: when, and what it had used by then."""

    at: float
    used: Used


class Rig:
    """Starts and ends the processes; see :func:`built`."""

    def __init__(self, root: Path) -> None:
        self.settings = ClusterSettings(name="bench", nodes=1)
        self.clock = SystemClock()
        (self.room,) = lay(self.settings)
        self.root = root
        self.paths = ClusterPaths(root)
        self.files: NodePaths = self.paths.node(NODE)
        self._running: dict[str, int] = {}
        self._runs: dict[str, Callable[[], None]] = {}
        self._control: socket.socket | None = None

    @property
    def node(self) -> NodeRoom:
        """The node's namespace and address."""
        return self.room

    def hold(self, services: int, pods: Sequence[str] = ()) -> None:
        """Start anew with this many Services in the store, and pods: the real API server and the DNS process, no agent."""
        rooms.say(f"filling a store with {services:,} Services")
        self.hold_filled(lambda path: population.fill(path, services, pods))

    def hold_filled(self, fill: Callable[[Path], None]) -> None:
        """Start anew with a store that this fills: the real API server and the DNS process, no agent."""
        listeners = self._anew()
        for old in self.root.glob("store.db*"):
            old.unlink()
        rooms.aside(lambda: fill(self.paths.store), type(None))
        self._fork("apiserver", None)
        self._let_go(listeners)

    def hold_ready(self, services: int) -> socket.socket:
        """Start anew with this many Services in a server that has its answers ready, and the DNS process; gives its control."""
        rooms.say(f"preparing answers for {services:,} Services")
        listeners = self._anew()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._runs["apiserver"] = lambda: feed.serve(listeners.underlay[0], theirs, self.paths.pki, services)
        self._fork("apiserver", None)
        theirs.close()
        self._let_go(listeners)
        if not self._control.recv(16):
            raise RuntimeError(f"no answers: {self.words()}")
        return self._control

    def _anew(self) -> Listeners:
        self.end()
        self._runs.clear()  # with them the sockets of the DNS process, which are opened anew
        self.paths.log.mkdir(exist_ok=True)
        host = socket.create_server(("127.0.0.1", 0))
        underlay = socket.create_server((str(self.settings.gateway), _API_PORT), backlog=512)
        local = socket.socket(socket.AF_UNIX)
        self.paths.api_socket.unlink(missing_ok=True)
        local.bind(str(self.paths.api_socket))
        local.listen(512)
        supervisor.pki(self.paths, self.settings, port=host.getsockname()[1], now=self.clock.wall())
        listeners = Listeners(host, (underlay,), local)
        children = children_of(
            paths=self.paths,
            settings=self.settings,
            machines=[machine_of(self.paths, self.settings, self.room)],
            listeners=listeners,
            clock=self.clock,
        )
        self._runs = {child.name: child.run for child in children}
        gc.collect()
        gc.freeze()
        return listeners

    def _let_go(self, listeners: Listeners) -> None:
        for listener in (listeners.host, *listeners.underlay, listeners.local):
            listener.close()
        self._fork(f"{NODE}-dns", self.room.netns)

    @property
    def api(self) -> tuple[str, int]:
        """Where nodes reach the API server."""
        return str(self.settings.gateway), _API_PORT

    def start_agent(self, *, cold: bool = False) -> float:
        """Start it, forked warm as in the embedded cluster or ``cold`` as a program; gives the time just before."""
        self.files.ipam.unlink(missing_ok=True)
        self.files.cni_socket.unlink(missing_ok=True)
        log = self.paths.log / "agent.out"
        program = str(Path(sys.executable).with_name("netloom"))
        command = [program, "agent", "--config", str(self.files.agent_config)]
        began = time.monotonic()
        if cold:
            self._running["agent"] = rooms.spawn(command, log=log, netns_fd=self.room.netns)
        else:
            self._fork(f"{NODE}-agent", self.room.netns, name="agent")
        return began

    def wait_hooked(self, timeout_s: float = 120.0) -> tuple[Phase, ...]:
        """Wait until Services are in force: the node's chains are looked at until that at the hook, which comes last, is there.

        Gives what had passed by when the agent's CNI socket was there (it opens first), the table, and the chain at the hook.
        """
        deadline = time.monotonic() + timeout_s
        phases: list[Phase] = []
        with Nft(netns_fd=self.room.netns) as nft, asyncio.Runner() as runner:
            while time.monotonic() < deadline:
                if not phases and self.files.cni_socket.exists():
                    phases.append(self._phase())
                chains = runner.run(nft.chains(Family.V4, names.NFT_TABLE))
                if len(phases) == 1 and chains is not None:
                    phases.append(self._phase())
                if (chains or {}).get(names.NFT_PREROUTING):
                    return (*phases, self._phase())
                time.sleep(_PAUSE_S)
        raise RuntimeError(f"no table in {timeout_s:.0f} s: {self.words()}")

    def wait_turned(self, timeout_s: float = 120.0) -> Phase:
        """Wait until the agent's own metrics say that its first turn is over; for starts that change nothing in the kernel."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if _TURNED.search(self._metrics()):
                return self._phase()
            time.sleep(_PAUSE_S)
        raise RuntimeError(f"nothing in force in {timeout_s:.0f} s: {self.words()}")

    def _metrics(self) -> bytes:
        """The page; empty where nobody answers yet."""
        with netns.open_socket(self.room.netns, socket.AF_INET, socket.SOCK_STREAM) as sock:
            sock.settimeout(20.0)
            try:
                sock.connect(("127.0.0.1", _METRICS_PORT))
            except ConnectionRefusedError:
                return b""
            sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")
            return b"".join(iter(lambda: sock.recv(1 << 16), b""))

    def _phase(self) -> Phase:
        return Phase(at=time.monotonic(), used=used(self.pid("agent")))

    def wait_in_force(self, timeout_s: float = 120.0) -> Phase:
        """Ask the agent as a runtime does (CNI STATUS, through the shim) until it says yes; gives what had passed by then."""
        shim = str(shim_path())
        deadline = time.monotonic() + timeout_s
        said = b""
        while time.monotonic() < deadline:
            code, said, _ = call(shim, self.files.cni_socket, "STATUS")
            if code == 0:
                return self._phase()
            if os.waitpid(self._running["agent"], os.WNOHANG)[0]:
                del self._running["agent"]
                raise RuntimeError(f"the agent ended: {self.words()}")
            time.sleep(_PAUSE_S)
        raise RuntimeError(f"the agent was not ready in {timeout_s:.0f} s: {said.decode()} {self.words()}")

    def words(self) -> str:
        """The last words of the agent."""
        found = [*self.paths.log.glob("*.out")]
        return " | ".join(p.read_text(errors="replace").strip()[-400:] for p in found)

    def pid(self, name: str) -> int:
        """``agent``, ``apiserver``, ``node-1-dns``."""
        return self._running[name]

    def end_agent(self, *, wipe: bool = True) -> None:
        """End the agent; ``wipe`` its table too, so that the next start is a first one."""
        if (pid := self._running.pop("agent", None)) is not None:
            rooms.kill(pid)
        if wipe:
            netns.run_in(self.room.netns, _wipe)

    def end(self) -> None:
        """End everything."""
        self.end_agent()
        if self._control is not None:
            self._control.close()
            self._control = None
        while self._running:
            _, pid = self._running.popitem()
            rooms.kill(pid)

    def _fork(self, child: str, netns_fd: int | None, *, name: str = "") -> None:
        log = self.paths.log / f"{name or child}.out"
        self._running[name or child] = rooms.fork(self._runs[child], netns_fd=netns_fd, log=log)


def _wipe() -> None:
    for family in ("ip", "ip6"):
        subprocess.run(["nft", "delete", "table", family, "netloom"], capture_output=True, check=False)


@contextlib.contextmanager
def built() -> Iterator[Rig]:
    """A rig that ends with the block."""
    with rooms.scratch() as root:
        rig = Rig(root)
        try:
            yield rig
        finally:
            rig.end()


def used(pid: int) -> Used:
    """Since its start, or since the fork."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    status = Path(f"/proc/{pid}/status").read_text()
    rss = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))
    ticks = os.sysconf("SC_CLK_TCK")
    return Used((int(fields[11]) + int(fields[12])) / ticks, int(rss) / 1024)


def call(program: str, socket_path: Path | str, command: str, **more: str) -> tuple[int, bytes, float]:
    """A CNI call as a runtime makes it, from exec to exit: exit code, what was printed, seconds."""
    config = {"cniVersion": "1.1.0", "name": "netloom", "type": "netloom-cni"}
    environment = {
        "CNI_COMMAND": command,
        "CNI_PATH": "/usr/lib/cni",
        "NETLOOM_CNI_SOCKET": str(socket_path),
        **more,
    }
    return run_plugin(program, environment, json.dumps(config).encode())


def run_plugin(program: str, environment: dict[str, str], config: bytes) -> tuple[int, bytes, float]:
    """Run a plugin from exec to exit: exit code, what it printed, seconds. posix_spawn costs the same for each."""
    stdin, stdout = os.memfd_create("stdin"), os.memfd_create("stdout")
    try:
        os.write(stdin, config)
        os.lseek(stdin, 0, os.SEEK_SET)
        actions = [(os.POSIX_SPAWN_DUP2, stdin, 0), (os.POSIX_SPAWN_DUP2, stdout, 1)]
        began = time.perf_counter()
        pid = os.posix_spawn(program, [program], environment, file_actions=actions)
        _, status = os.waitpid(pid, 0)
        took = time.perf_counter() - began
        os.lseek(stdout, 0, os.SEEK_SET)
        return os.waitstatus_to_exitcode(status), os.read(stdout, 1 << 20), took
    finally:
        os.close(stdin)
        os.close(stdout)
