"""What is told of findings: once, when it has held, and again when it came back."""

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
