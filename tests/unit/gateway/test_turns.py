"""A node's turns: what is in force is what was applied; what cannot be applied is tried again and told of, and nothing else stops."""

import pytest

from netloom.api.gateway import Gateway, HTTPRoute
from netloom.api.meta import ObjectMeta
from netloom.errors import Unavailable
from netloom.gateway.applied import Applied
from netloom.gateway.pending import Pending, meaning
from netloom.gateway.turns import Turns
from netloom.model.gateways import build
from netloom.model.gateways.plan import Door, Plan, Transport
from netloom.model.provenance import Finding, Source
from netloom.units import ObjectKey

WEB = ObjectKey("shop", "web")
SOURCE = Source("Gateway", "shop", "web", "u", 1, "spec.listeners[0]")


class Ticks:
    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        self.now += 0.001
        return self.now

    wall = monotonic


class ScriptedEngine:
    """Takes plans, or refuses them."""

    def __init__(self):
        self.plans, self.refuse, self.findings = [], "", ()

    async def apply(self, plan):
        if self.refuse:
            raise Unavailable(self.refuse, "install it")
        self.plans.append(plan)
        return Applied(commands=1, findings=self.findings)


class ScriptedGateways:
    """One door for each Gateway, by its name's order."""

    def __init__(self, view):
        self.known = dict(view.gateways)
        self._build()

    def update(self, changes):
        if changes.gateways:
            for key, value in changes.gateways.items():
                self.known = {k: v for k, v in self.known.items() if k != key} | (
                    {} if value is None else {key: value}
                )
            self._build()
        return self.built

    def _build(self):
        doors = tuple(
            Door(key, SOURCE, 80 + i, Transport.HTTP, (), 30080 + i)
            for i, key in enumerate(sorted(self.known))
        )
        self.built = build.Built(Plan(doors=doors))


@pytest.fixture
def world(monkeypatch):
    monkeypatch.setattr("netloom.gateway.turns.Gateways", ScriptedGateways)
    clock, engine, told = Ticks(), ScriptedEngine(), []
    pending = Pending(clock=clock)
    turns = Turns(
        node="node-1",
        pending=pending,
        engine=engine,
        on_turn=lambda _: told.append(turns.told),
        clock=clock,
    )
    return pending, engine, turns, told


def gateway(name="web", version="1", **more):
    return Gateway(
        metadata=ObjectMeta(name=name, namespace="shop", uid=name, resource_version=version), **more
    )


async def test_no_engine_is_asked_before_there_is_a_door(world):
    pending, engine, turns, told = world
    pending.seen("gateways", "5")
    await turns.turn()
    assert engine.plans == []
    assert told[-1].versions == {"gateways": "5"}


async def test_what_is_in_force_is_told_after_the_engine_has_it(world):
    pending, engine, turns, told = world
    pending.mark("gateways", WEB, gateway())
    pending.seen("gateways", "7")
    await turns.turn()
    assert told[-1].doors == {30080}
    assert told[-1].versions == {"gateways": "7"}
    pending.mark("gateways", WEB, None)
    pending.seen("gateways", "9")
    await turns.turn()
    assert engine.plans[-1].doors == ()
    assert (told[-1].doors, told[-1].versions) == (frozenset(), {"gateways": "9"})


async def test_a_plan_that_is_refused_is_tried_again_and_the_last_one_counts_meanwhile(world):
    pending, engine, turns, told = world
    pending.mark("gateways", WEB, gateway())
    pending.seen("gateways", "7")
    await turns.turn()
    engine.refuse = "cannot execute haproxy"
    pending.mark("gateways", ObjectKey("shop", "other"), gateway("other"))
    pending.seen("gateways", "8")
    await turns.turn()
    assert told[-1].versions == {"gateways": "7"}
    assert told[-1].doors == {30080}
    assert told[-1].problems[0].problem == "cannot execute haproxy; install it"
    assert turns.report().state == "failing"
    engine.refuse = ""
    await turns.turn()
    assert told[-1].versions == {"gateways": "8"}
    assert told[-1].problems == ()
    assert len(engine.plans[-1].doors) == 2


async def test_a_door_that_could_not_be_opened_is_not_told_as_open(world):
    pending, engine, turns, told = world
    engine.findings = (Finding(SOURCE, "port 30080 is taken"),)
    pending.mark("gateways", WEB, gateway())
    await turns.turn()
    assert told[-1].doors == frozenset()
    assert told[-1].problems[0].name == "web"


async def test_status_and_resource_version_are_no_change(world):
    pending, engine, turns, _ = world
    pending.mark("gateways", WEB, gateway(version="1"))
    await turns.turn()
    assert not pending.mark("gateways", WEB, gateway(version="2", status={"conditions": []}))
    pending.seen("gateways", "2")
    await turns.turn()
    assert len(engine.plans) == 1
    assert turns.told.versions == {"gateways": "2"}
    assert pending.mark("gateways", WEB, gateway(version="3", spec={"listeners": []}))


def test_meaning_keeps_what_the_model_reads():
    route = HTTPRoute(
        metadata=ObjectMeta(name="r", generation=3, labels={"a": "b"}, resource_version="9"),
        spec={"x": 1},
        status={},
    )
    bare = meaning(route)
    assert (bare.metadata.generation, bare.metadata.labels, bare.spec) == (3, {"a": "b"}, {"x": 1})
    assert (bare.metadata.resource_version, bare.status) == ("", None)
