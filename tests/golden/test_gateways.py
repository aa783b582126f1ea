"""What HAProxy is told for small plans: read the diff when it changes. HAProxy itself takes each (``haproxy -c``)."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

import pytest

from netloom.gateway.haproxy import config, told
from netloom.gateway.haproxy.told import Settings
from netloom.model.gateways.plan import (
    Cors,
    Door,
    Endpoint,
    HeaderChange,
    Host,
    Listener,
    Match,
    PathChange,
    PathKind,
    Plan,
    Pool,
    PoolProtocol,
    Redirect,
    Rewrite,
    Rule,
    Share,
    Stream,
    Transport,
    ValueMatch,
)  # fmt: skip
from netloom.model.provenance import Source
from netloom.units import ObjectKey

HERE = Path(__file__).parent / "gateways"
SOURCE = Source("HTTPRoute", "shop", "web", field="spec.rules[0]")
EDGE = ObjectKey("shop", "edge")
TO_WEB = (Share("shop/web/80", 1, SOURCE),)


def pool(name: str, protocol: PoolProtocol = PoolProtocol.HTTP) -> Pool:
    ends = (Endpoint(ip_address("192.0.2.1"), 8080), Endpoint(ip_address("2001:db8::1"), 8080))
    return Pool(f"shop/{name}/80", ObjectKey("shop", name), 80, protocol, ends, SOURCE)


def web(*rules: Rule, host: str = "shop.example") -> Door:
    return Door(
        EDGE, SOURCE, 80, Transport.HTTP, (Listener("web", SOURCE, hosts=(Host(host, rules),)),), 30080
    )


def rule(match: Match | None = None, **also: object) -> Rule:
    return Rule("HTTPRoute shop/web rule 0", SOURCE, match or Match(), **{"shares": TO_WEB, **also})  # type: ignore[arg-type]


CASES = {
    "plain": web(rule(Match(path="/cart")), rule(Match(PathKind.EXACT, "/health"))),
    "conditions": web(
        rule(Match(path="/cart", headers=(ValueMatch("x-beta", "1"),)), shares=(Share("shop/cart/80", 1, SOURCE),)),
        rule(Match(method="POST", queries=(ValueMatch("dry run", "y"),)), fault=403),
        rule(),
        host="*.shop.example",
    ),
    "weights": web(rule(shares=(*TO_WEB, Share("shop/cart/80", 3, SOURCE)))),
    "filters": web(
        rule(Match(path="/old"), shares=(), redirect=Redirect(301, "https", path=PathChange("/new", "/old"))),
        rule(
            rewrite=Rewrite("inside.example", PathChange("/app", "/")), cors=Cors(("https://*.example",), ("GET",)),
            request=HeaderChange(set=(("x-from", "100% here"),)),
        ),
    ),
    "passed-on": Door(EDGE, SOURCE, 443, Transport.TLS, (
        Listener("tls", SOURCE, "*.example", streams=(Stream("a.example", (Share("shop/tcp/80", 1, SOURCE),), "TLSRoute shop/a", SOURCE),), is_stream=True),
    ), 30443),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_plan_is_told(name: str, golden: Callable[[Path, str], None], tmp_path: Path):
    pools = (pool("web"), pool("cart"), pool("tcp", PoolProtocol.TCP))
    made = config.told(Plan((CASES[name],), {one.key: one for one in pools}), Settings(threads=1))
    slots = told.fresh_slots(made, 0)
    maps = "".join(f"\n# {file}\n{told.map_text(of)}" for file, of in sorted(made.maps.items()))
    golden(HERE / f"{name}.cfg", told.text(made, slots) + maps)
    for file, text in {
        told.CONFIG: told.text(made, slots), **made.files, **{f: told.map_text(of) for f, of in made.maps.items()},
    }.items():  # fmt: skip
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(text)
    _check(tmp_path)


def _check(directory: Path) -> None:
    with socket.socket() as door, socket.socket(socket.AF_UNIX) as runtime:
        door.bind(("127.0.0.1", 0))
        runtime.bind(str(directory / "s"))
        passed = (door.fileno(), runtime.fileno())
        env = {
            **os.environ,
            "D30080x0": str(passed[0]),
            "D30443x0": str(passed[0]),
            "CLI": str(passed[1]),
            "INNER": "nothing",
        }
        command = ["haproxy", "-c", "-f", told.CONFIG]
        done = subprocess.run(
            command, cwd=directory, pass_fds=passed, env=env, capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    assert "[WARNING]" not in done.stderr
