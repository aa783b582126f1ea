"""Our part of a status among the parts of others."""

import copy

from hypothesis import given
from hypothesis import strategies as st

from netloom.controller.status_parts import changes

EARLIER, NOW = "2026-01-01T00:00:00Z", "2026-02-02T00:00:00Z"
OURS = "netloom.io/gateway"


def condition(type_, status="True", since=EARLIER, **more):
    return {
        "type": type_,
        "status": status,
        "reason": type_,
        "message": "",
        "lastTransitionTime": since,
        **more,
    }


def said(type_, status="True", **more):
    return {"type": type_, "status": status, "reason": type_, "message": "", **more}


def parent(name, controller=OURS, *conditions):
    return {"parentRef": {"name": name}, "controllerName": controller, "conditions": list(conditions)}


def applied(live, wanted):
    """The status after what we write."""
    return {**live, **changes(live, wanted, now=NOW)}


def test_what_is_there_already_is_not_written():
    live = {"conditions": [condition("Accepted")]}
    assert changes(live, {"conditions": [said("Accepted")]}, now=NOW) == {}


def test_the_time_of_a_condition_moves_only_when_its_status_does():
    live = {"conditions": [condition("Accepted"), condition("Programmed")]}
    wanted = {"conditions": [said("Accepted", observedGeneration=2), said("Programmed", "False")]}
    accepted, programmed = applied(live, wanted)["conditions"]
    assert (accepted["lastTransitionTime"], accepted["observedGeneration"]) == (EARLIER, 2)
    assert (programmed["lastTransitionTime"], programmed["status"]) == (NOW, "False")


def test_conditions_of_others_stay_and_ours_that_are_not_said_any_more_go():
    live = {"conditions": [condition("example.org/Paid"), condition("ResolvedRefs"), condition("Accepted")]}
    after = applied(live, {"conditions": [said("Accepted")]})
    assert [c["type"] for c in after["conditions"]] == ["example.org/Paid", "Accepted"]


def test_entries_of_other_controllers_stay_in_their_places():
    others = [parent("a", "example.org/x", condition("Accepted")), parent("b", "example.org/y")]
    live = {"parents": [others[0], parent("web", OURS, condition("Accepted")), others[1]]}
    wanted = {"parents": [parent("web", OURS, said("Accepted")), parent("new", OURS, said("Accepted"))]}
    after = applied(live, wanted)["parents"]
    assert [p["parentRef"]["name"] for p in after] == ["a", "web", "new", "b"]
    assert after[0] == others[0]
    assert after[3] == others[1]
    assert [p["conditions"][0]["lastTransitionTime"] for p in after[1:3]] == [EARLIER, NOW]


def test_a_route_that_has_left_keeps_only_the_entries_of_others():
    other = parent("a", "example.org/x")
    live = {"parents": [parent("web", OURS, condition("Accepted")), other]}
    assert applied(live, {"parents": ()}) == {"parents": [other]}
    assert changes({"parents": [other]}, {"parents": ()}, now=NOW) == {}


def test_nothing_is_written_where_there_was_nothing_and_is_nothing():
    assert changes({}, {"parents": [], "addresses": []}, now=NOW) == {}


def test_listeners_are_ours_as_a_whole():
    live = {"listeners": [{"name": "old", "conditions": []}, {"name": "http", "attachedRoutes": 1,
            "conditions": [condition("Programmed")]}]}  # fmt: skip
    wanted = {"listeners": [{"name": "http", "attachedRoutes": 2, "conditions": [said("Programmed")]}]}
    (listener,) = applied(live, wanted)["listeners"]
    assert listener["attachedRoutes"] == 2
    assert listener["conditions"][0]["lastTransitionTime"] == EARLIER


conditions = st.lists(
    st.builds(
        said, st.sampled_from(("Accepted", "Programmed", "ResolvedRefs")), st.sampled_from(("True", "False"))
    ),
    unique_by=lambda c: c["type"],
)
refs = st.sampled_from(("a", "b", "c"))
entries = st.lists(
    st.builds(lambda name, cs: parent(name, OURS, *cs), refs, conditions),
    unique_by=lambda p: p["parentRef"]["name"],
)
foreign = st.lists(st.builds(lambda name: parent(name, "example.org/x", condition("Accepted")), refs))


@given(entries, entries, foreign, st.data())
def test_writing_once_is_enough_and_others_lose_nothing(before, after, others, data):
    live = {"parents": data.draw(st.permutations([*before, *others]))}
    kept = copy.deepcopy(live)
    written = applied(live, {"parents": after})
    assert live == kept
    assert changes(written, {"parents": after}, now="2026-03-03T00:00:00Z") == {}
    assert [p for p in written["parents"] if p["controllerName"] != OURS] == [
        p for p in live["parents"] if p["controllerName"] != OURS
    ]
