"""Commands bring what runs to what is told; where they cannot, a new process is asked for."""

from __future__ import annotations

import shlex
from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from netloom.gateway.haproxy import config, difference, told
from netloom.gateway.haproxy.difference import Running
from netloom.gateway.haproxy.kept import Kept
from netloom.gateway.haproxy.routes import BUCKETS, buckets
from netloom.gateway.haproxy.told import Settings
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
)  # fmt: skip
from netloom.model.provenance import Source
from netloom.units import ObjectKey

SOURCE = Source("HTTPRoute", "shop", "web")
SETTINGS = Settings(spares=2)
NAMES = ("a", "b", "c", "d", "e")

endpoints = st.sets(st.integers(1, 12), max_size=7).map(
    lambda found: tuple(Endpoint(ip_address(f"192.0.2.{n}"), 80) for n in sorted(found))
)
rules = st.dictionaries(
    st.sampled_from(("/", "/x", "/y")), st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 3)), min_size=1, max_size=2)
)  # fmt: skip


def _plan(hosts: dict[str, dict[str, list[tuple[str, int]]]], pools: dict[str, tuple[Endpoint, ...]]) -> Plan:
    made = []
    for name, paths in hosts.items():
        found = []
        for path, shares in sorted(paths.items(), reverse=True):
            of = tuple(Share(f"shop/{to}/80", weight, SOURCE) for to, weight in shares)
            found.append(Rule(f"route {path}", SOURCE, Match(path=path), of))
        made.append(Host(name, tuple(found)))
    listener = Listener("http", SOURCE, hosts=tuple(made))
    door = Door(ObjectKey("shop", "edge"), SOURCE, 80, Transport.HTTP, (listener,), 30080)
    return Plan((door,), {f"shop/{name}/80": _pool(name, of) for name, of in pools.items()})


def _pool(name: str, of: tuple[Endpoint, ...]) -> Pool:
    return Pool(f"shop/{name}/80", ObjectKey("shop", name), 80, PoolProtocol.HTTP, of, SOURCE)


plans = st.builds(
    _plan,
    st.dictionaries(st.sampled_from(("one.example", "*.example", "")), rules, max_size=3),
    st.fixed_dictionaries(dict.fromkeys(NAMES, endpoints)),
)


class Memory:
    """What a HAProxy holds, by the commands that it got."""

    def __init__(self, running: Running) -> None:
        self.maps = {file: dict(of) for file, of in difference.renamed_maps(running, running.told).items()}
        self.servers = {
            f"{lane}/s{n}": told.place(one) if one is not None else None
            for lane, filled in running.slots.items()
            for n, one in enumerate(filled)
        }
        self._addresses: dict[str, str] = {}

    def do(self, command: str) -> None:
        match shlex.split(command):
            case ["add", "map", file, key, value]:
                assert key not in self.maps[file]
                self.maps[file][key] = value
            case ["set", "map", file, key, value]:
                assert key in self.maps[file]
                self.maps[file][key] = value
            case ["del", "map", file, key]:
                del self.maps[file][key]
            case ["set", "server", name, "addr", address, "port", port]:
                self._addresses[name] = f"{address}:{port}"
                if self.servers[name] is not None:
                    self.servers[name] = f"{address}:{port}"
            case ["set", "server", name, "state", "ready"]:
                self.servers[name] = self._addresses[name]
            case ["set", "server", name, "state", "maint"]:
                self.servers[name] = None
            case other:
                raise AssertionError(other)


@given(st.lists(plans, min_size=2, max_size=5))
def test_commands_lead_to_what_is_told(history: list[Plan]):
    kept = Kept()
    running = difference.started(config.told(history[0], SETTINGS), SETTINGS.spares)
    memory = Memory(running)
    for plan in history[1:]:
        wanted = config.told(plan, SETTINGS, frozenset(), kept)
        assert wanted == config.told(plan, SETTINGS), "what is kept from before changes nothing"
        change = difference.change(running, wanted)
        if change is None:
            running = difference.started(wanted, SETTINGS.spares)
            memory = Memory(running)
            continue
        for command in change.commands:
            memory.do(command)
        running = change.running
        assert memory.maps == difference.renamed_maps(running, wanted)
        for name, lane in wanted.lanes.items():
            known = running.known(name)
            now = {
                place for server, place in memory.servers.items() if server.startswith(f"{known}/") and place
            }
            assert now == {told.place(one) for one in wanted.pools.get(lane.pool, ())}
        again = difference.change(running, wanted)
        assert again is not None
        assert again.commands == ()


@given(endpoints, endpoints, st.integers(0, 8))
def test_who_stays_keeps_its_slot(before: tuple[Endpoint, ...], after: tuple[Endpoint, ...], free: int):
    slots = (*before, *(None,) * max(free, len(after) - len(before)))
    filled = difference.refilled(slots, after)
    assert {one for one in filled if one is not None} == set(after)
    assert all(filled[n] == one for n, one in enumerate(slots) if one in after and one is not None)


@given(st.lists(st.integers(1, 1_000_000), min_size=1, max_size=8))
def test_buckets_are_in_the_ratio_of_weights(weights: list[int]):
    found = buckets(weights)
    assert all(count >= 1 for count in found)
    assert sum(found) <= BUCKETS + len(weights)
    for count, weight in zip(found, weights, strict=True):
        assert abs(count / sum(found) - weight / sum(weights)) <= len(weights) / 900
