"""ADD and DEL of a pod, from exec to exit, as a container runtime does them: our shim and agent beside Debian's plugins.

The reference is ``bridge`` (with ``ipMasq`` and ``host-local``), then ``portmap``: one plugin after the other, each told the
result of the one before; DEL the other way round. Ours does what they do together: masquerade and Services are the node's, in
force before. Beside it, too: ``bridge`` alone, without masquerade, which makes less. Each in a namespace of its own, with a fresh
pod namespace for each ADD, in turns.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from tests.bench import population, rig, rooms
from tests.bench.report import Row, median, quantile

from netloom.linux import netns
from netloom.linux.rtnl import Rtnl
from netloom.local.preflight import shim_path

PLUGINS = Path("/usr/lib/cni")
PODS = rooms.either(60, 5)
CROWD, WORKERS = rooms.either(100, 16), 8
MOST, MOST_OF_BARE = 0.3, 1.0
WARM_UP = 3
_BESIDE = {"reference": "bridge+host-local+portmap, masquerade", "bare": "bare bridge+host-local"}


class Runtime(Protocol):
    """One side of the comparison."""

    node: int

    def add(self, container: str, pod: int) -> float:
        """Attach; seconds."""

    def delete(self, container: str, pod: int) -> float:
        """Detach; seconds."""


class Ours:
    """The compiled shim, which asks the node's agent."""

    def __init__(self, socket_path: Path, node: int) -> None:
        self.node = node
        self._shim = str(shim_path())
        self._socket = socket_path

    def add(self, container: str, pod: int) -> float:
        """Attach; seconds."""
        return self._call("ADD", container, pod)

    def delete(self, container: str, pod: int) -> float:
        """Detach; seconds."""
        return self._call("DEL", container, pod)

    def _call(self, verb: str, container: str, pod: int) -> float:
        code, said, took = rig.call(self._shim, self._socket, verb, **_pod(container, pod))
        if code != 0:
            raise RuntimeError(f"{verb} {container}: {said.decode()}")
        return took


class Reference:
    """Debian's plugins, in a node of their own; ``bare``: without masquerade and portmap, which makes less than ours does."""

    def __init__(self, node: int, data: Path, *, bare: bool = False) -> None:
        self.node = node
        self._is_bare = bare
        ipam = {
            "type": "host-local",
            "dataDir": str(data),
            "ranges": [[{"subnet": "10.88.0.0/16"}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        }
        common = {"cniVersion": "1.0.0", "name": "reference"}
        self._bridge = {
            **common,
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": True,
            "ipMasq": not bare,
            "ipam": ipam,
        }
        self._portmap = {**common, "type": "portmap", "capabilities": {"portMappings": True}}
        self._results: dict[str, Any] = {}

    def add(self, container: str, pod: int) -> float:
        """Attach; seconds of both plugins."""
        said, first = self._run("bridge", "ADD", container, pod, self._bridge)
        if self._is_bare:
            self._results[container] = json.loads(said)
            return first
        portmap = {**self._portmap, "prevResult": json.loads(said)}
        said, second = self._run("portmap", "ADD", container, pod, portmap)
        self._results[container] = json.loads(said)
        return first + second

    def delete(self, container: str, pod: int) -> float:
        """Detach; seconds of both plugins."""
        previous = {"prevResult": self._results.pop(container)}
        if self._is_bare:
            return self._run("bridge", "DEL", container, pod, self._bridge | previous)[1]
        _, first = self._run("portmap", "DEL", container, pod, self._portmap | previous)
        _, second = self._run("bridge", "DEL", container, pod, self._bridge | previous)
        return first + second

    @staticmethod
    def _run(plugin: str, verb: str, container: str, pod: int, config: dict[str, Any]) -> tuple[bytes, float]:
        environment = {
            "PATH": os.environ["PATH"],
            "CNI_COMMAND": verb,
            "CNI_PATH": str(PLUGINS),
            "XTABLES_LOCKFILE": "/run/xtables.lock",
            **_pod(container, pod),
        }
        code, said, took = rig.run_plugin(str(PLUGINS / plugin), environment, json.dumps(config).encode())
        if code != 0:
            raise RuntimeError(f"{plugin} {verb}: {said.decode()}")
        return said, took


def _pod(container: str, pod: int) -> dict[str, str]:
    return {
        "CNI_CONTAINERID": container,
        "CNI_NETNS": f"/proc/{os.getpid()}/fd/{pod}",
        "CNI_IFNAME": "eth0",
        "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE={population.NAMESPACE};K8S_POD_NAME={container}",
    }


def _names() -> list[str]:
    """The pods that our agent is asked for: it must know them, for a pod gets its network after its policies."""
    return [f"ours-{i}" for i in range(max(PODS, WARM_UP))] + [f"crowd-ours-{i}" for i in range(CROWD)]


def run() -> list[Row]:
    """The rows of this benchmark."""
    if not (PLUGINS / "bridge").exists():
        raise RuntimeError(
            f"no {PLUGINS / 'bridge'}: install containernetworking-plugins (tools/setup.sh test)"
        )
    with rig.built() as node, rooms.scratch() as data, contextlib.ExitStack() as stack:
        node.hold(10, _names())
        node.start_agent()
        node.wait_in_force()
        sides: dict[str, Runtime] = {"ours": Ours(node.files.cni_socket, node.node.netns)}
        for name in _BESIDE:
            other = netns.new_netns()
            stack.callback(os.close, other)
            with Rtnl(other) as rtnl:
                rtnl.set_up("lo")
            sides[name] = Reference(other, data / name, bare=name == "bare")
        _one_by_one(sides, WARM_UP)  # bridge, chains and caches are made by the first
        adds, deletes = _one_by_one(sides, PODS)
        crowds = {name: [_crowd(side, name)] for name, side in sides.items()}
        for name, side in sides.items():
            crowds[name].append(_crowd(side, name))
    rows: list[Row] = []
    for beside, most in (("reference", MOST), ("bare", MOST_OF_BARE)):
        for what, times in (("ADD", adds), ("DEL", deletes)):
            for share, label in ((0.5, "p50"), (0.99, "p99")):
                ours, theirs = (quantile(times[side], share) * 1e3 for side in ("ours", beside))
                target = most if share == 0.5 else None
                rows.append(_row(f"{what}, {label}", ours, theirs, "ms", beside, target))
        ours, theirs = (median(crowds[side]) for side in ("ours", beside))
        target = MOST if beside == "reference" else None
        rows.append(_row(f"{CROWD} ADDs by {WORKERS} workers", ours, theirs, "s", beside, target))
    return rows


def _row(what: str, ours: float, theirs: float, unit: str, beside: str, target: float | None) -> Row:
    return Row(
        bench="cni",
        what=what,
        ours=ours,
        unit=unit,
        beside=theirs,
        beside_what=_BESIDE[beside],
        ratio=ours / theirs,
        most=target,
        on_ratio=True,
    )


@contextlib.contextmanager
def _pods(count: int) -> Iterator[list[int]]:
    fds = [netns.new_netns() for _ in range(count)]
    try:
        yield fds
    finally:
        for fd in fds:
            os.close(fd)


def _one_by_one(
    sides: dict[str, Runtime], count: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """ADD each pod on both sides in turns, then DEL each."""
    adds: dict[str, list[float]] = {name: [] for name in sides}
    deletes: dict[str, list[float]] = {name: [] for name in sides}
    with contextlib.ExitStack() as stack:
        pods = {name: stack.enter_context(_pods(count)) for name in sides}
        for i in range(count):
            for name, side in sides.items():
                add = functools.partial(side.add, f"{name}-{i}", pods[name][i])
                adds[name].append(_inside(side, add))
        rooms.say(f"cni: {count} pods attached on each side")
        for i in range(count):
            for name, side in sides.items():
                delete = functools.partial(side.delete, f"{name}-{i}", pods[name][i])
                deletes[name].append(_inside(side, delete))
    return adds, deletes


def _inside(side: Runtime, work: Callable[[], float]) -> float:
    """In the side's own node: a program that a thread starts lives where the thread is."""
    return netns.run_in(side.node, work)


def _crowd(side: Runtime, name: str) -> float:
    """Seconds that many ADDs at once take."""
    with _pods(CROWD) as pods:
        numbers = itertools.count()
        failures: list[BaseException] = []

        def work() -> float:
            try:
                while (i := next(numbers)) < CROWD:
                    side.add(f"crowd-{name}-{i}", pods[i])
            except BaseException as error:  # noqa: BLE001 - raised by whoever waits
                failures.append(error)
            return 0.0

        threads = [threading.Thread(target=_inside, args=(side, work)) for _ in range(WORKERS)]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.monotonic() - began
        for i in range(CROWD):
            if not failures:
                _inside(side, functools.partial(side.delete, f"crowd-{name}-{i}", pods[i]))
        if failures:
            raise failures[0]
    rooms.say(f"cni: {CROWD} ADDs at once, {name}: {took:.2f} s")
    return took
