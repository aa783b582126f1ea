"""What is told of findings: once, when it has held, and again when it came back."""

import asyncio

import pytest

from netloom.controller.gateway_events import HOLDS_S, MOST_OF_ONE_OBJECT, GatewayEvents
from netloom.model.provenance import Finding, Source


class Recorder:
    def __init__(self):
        self.told = []

    def emit(self, resource, key, uid, *, reason, message, warning):
        self.told.append((resource.kind, str(key), uid, message))


class Ticks:
    now = 0.0

    def monotonic(self):
        return self.now


def finding(number=0, uid="u"):
    source = Source("HTTPRoute", "shop", "web", uid, 1, f"spec.rules[{number}]")
    return Finding(source, "Service shop/cart is not there", "make it")


def world(may_write=lambda: True):
    recorder, clock = Recorder(), Ticks()
    events = GatewayEvents(recorder, may_write=may_write, clock=clock)

    def later(seconds, *findings):
        events.take(findings)
        clock.now += seconds
        events.tell()
        return [message for *_, message in recorder.told]

    return later, recorder


def test_what_is_gone_within_a_moment_is_not_told():
    later, _ = world()
    assert later(HOLDS_S / 2, finding()) == []
    assert later(HOLDS_S) == []
    assert later(HOLDS_S / 2, finding()) == []


def test_it_is_told_once_and_again_when_it_came_back():
    later, recorder = world()
    once = ["spec.rules[0]: Service shop/cart is not there; make it"]
    assert later(HOLDS_S, finding()) == once
    assert later(HOLDS_S, finding()) == once
    later(HOLDS_S)
    assert later(HOLDS_S, finding()) == once * 2
    assert recorder.told[0][:3] == ("HTTPRoute", "shop/web", "u")


def test_of_one_object_only_some_are_told_and_of_an_unknown_one_none():
    later, _ = world()
    assert len(later(HOLDS_S, *map(finding, range(9)))) == MOST_OF_ONE_OBJECT
    later, _ = world()
    assert later(HOLDS_S, finding(uid="")) == []


def test_who_does_not_lead_tells_nothing():
    later, _ = world(may_write=lambda: False)
    assert later(HOLDS_S, finding()) == []


@pytest.mark.looptime
async def test_who_does_not_lead_does_not_look_each_second_and_who_leads_again_tells_what_was_left():
    asked, leads = [], False

    def may_write():
        asked.append(1)
        return leads

    recorder, clock = Recorder(), Ticks()
    clock.monotonic = asyncio.get_running_loop().time
    events = GatewayEvents(recorder, may_write=may_write, clock=clock)
    events.take([finding()])
    async with asyncio.TaskGroup() as tasks:
        telling = tasks.create_task(events.run())
        await asyncio.sleep(60)
        telling.cancel()
    assert len(asked) <= 2
    assert recorder.told == []
    leads = True
    async with asyncio.TaskGroup() as tasks:
        telling = tasks.create_task(events.run())
        await asyncio.sleep(2 * HOLDS_S)
        assert len(recorder.told) == 1
        events.take([finding(), finding(1)])
        await asyncio.sleep(2 * HOLDS_S)
        assert len(recorder.told) == 2
        telling.cancel()
