"""Expectation, model and packets: what holds, what does not, what proves nothing, and what contradicts the model."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from netloom.errors import NotFound, UsageError
from netloom.observe.check import junit, words
from netloom.observe.check.expectations import read_expectations
from netloom.observe.check.prober import End
from netloom.observe.check.verdicts import Status
from netloom.testing.check_world import ONLY_API, shop


def expect(*sentences):
    lines = "\n".join(f"- {sentence}" for sentence in sentences)
    return read_expectations(f"namespace: shop\nexpectations:\n{lines}", "shop.expect")


async def statuses(check, *sentences, **more):
    report = await check(shop(ONLY_API), expect(*sentences), **more)
    return {result.text: result.status for result in report.results}


async def test_what_is_expected_holds(check):
    assert await statuses(
        check, "api can reach svc/db", "web cannot reach shop/db:5432", "everybody else cannot reach shop/db"
    ) == {
        "api -> svc/db": Status.HOLDS,
        "web -> shop/db:5432": Status.HOLDS,
        "ops/probe -> shop/db": Status.HOLDS,
    }


async def test_what_is_not_as_expected_is_untrue(check):
    assert await statuses(check, "web can reach shop/db:5432", "api cannot reach shop/db:5432") == {
        "web -> shop/db:5432": Status.UNTRUE,
        "api -> shop/db:5432": Status.UNTRUE,
    }


async def test_a_deny_where_nothing_listens_could_not_fail(check):
    assert await statuses(check, "web cannot reach pod/shop/db:9999") == {
        "web -> pod/shop/db:9999": Status.EMPTY
    }
    assert await statuses(check, "web cannot reach pod/shop/db:9999", listening=(9999,)) == {
        "web -> pod/shop/db:9999": Status.HOLDS
    }


async def test_a_deny_that_no_policy_makes_could_not_fail(check):
    report = await check(shop(), expect("web cannot reach 10.96.0.77:80"))
    (result,) = report.results
    assert result.status is Status.EMPTY
    assert "no Service has the address" in result.why


async def test_an_allow_that_nobody_answers_is_untrue(check):
    assert await statuses(check, "api can reach pod/ops/probe:9999") == {
        "api -> pod/ops/probe:9999": Status.UNTRUE
    }


@pytest.mark.parametrize(
    ("sentence", "truth"),
    [("web cannot reach shop/db:5432", shop()), ("api can reach shop/db:5432", shop("podSelector: {}"))],
)
async def test_packets_that_do_otherwise_contradict_the_model(check, sentence, truth):
    report = await check(shop(ONLY_API), expect(sentence), truth=truth)
    assert [result.status for result in report.results] == [Status.CONTRADICTS]
    assert not report.is_good(strict=False)


async def test_where_nobody_can_send_the_model_answers(check):
    report = await check(
        shop(ONLY_API),
        expect("192.0.2.7 cannot reach pod/shop/db:5432", "node/node-2 can reach pod/shop/db:5432"),
    )
    assert [result.status for result in report.results] == [Status.EMPTY, Status.UNASKED]
    assert report.is_good(strict=False)
    assert not report.is_good(strict=True)


async def test_all_pairs_by_default(check):
    report = await check(shop(ONLY_API))
    by_text = {result.text: result for result in report.results}
    assert by_text["shop/web -> shop/db:5432/tcp"].expected == "deny"
    assert by_text["shop/api -> shop/db:5432/tcp"].expected == "allow"
    assert by_text["ops/probe -> svc/shop/db:5432/tcp"].expected == "deny"
    assert "shop/db -> svc/shop/db:5432/tcp" not in by_text  # it would reach nobody but itself
    assert not report.failures
    assert report.of == len(report.results) == 15


async def test_a_pod_in_which_nothing_runs_is_not_asked(check):
    ends = {("shop/web", "10.96.0.20", 5432): End.UNASKED}
    assert await statuses(check, "web cannot reach shop/db:5432", ends=ends) == {
        "web -> shop/db:5432": Status.UNASKED
    }


async def test_ends_that_are_not_there_are_named_with_their_place(check):
    with pytest.raises(NotFound, match=r"shop\.expect: expectation 2: .*no .* shop/wbe"):
        await check(shop(), expect("web can reach svc/db", "wbe can reach svc/db"))
    with pytest.raises(UsageError, match=r"expectation 1: .*selects no running pod"):
        await check(shop(), expect("{from: {pods: role=nobody}, to: svc/db, expect: deny}"))
    with pytest.raises(UsageError, match=r"expectation 1: .*which port"):
        await check(shop(), expect("web can reach node/node-1"))


async def test_selections_by_labels(check):
    report = await check(
        shop(ONLY_API),
        expect(
            "{from: {namespaces: team=ops, pods: role=api}, to: {namespace: shop, pods: role=db, port: postgres}, expect: deny}"
        ),
    )
    assert [(result.text, result.status) for result in report.results] == [
        ("ops/probe -> shop/db:postgres", Status.HOLDS)
    ]


async def test_parts_that_nobody_would_miss(check):
    both = "podSelector: {matchLabels: {role: db}}\ningress: [{from: [{podSelector: {matchLabels: {role: api}}}, {podSelector: {matchLabels: {role: web}}}]}]"
    report = await check(
        shop(both), expect("api can reach shop/db:5432", "ops/probe cannot reach shop/db:5432"), mutate=True
    )
    assert {str(one.source).partition(": ")[2]: one.is_noticed for one in report.mutations} == {
        "": True,
        "spec.ingress[0]": True,
        "spec.ingress[0].from[0]": True,
        "spec.ingress[0].from[1]": False,
    }
    assert report.is_good(strict=False)
    assert not report.is_good(strict=True)
    assert "spec.ingress[0].from[1]" in words.render(report, verbose=False)


async def test_one_of_two_policies_that_say_the_same_is_not_missed(check):
    report = await check(
        shop(ONLY_API, ONLY_API),
        expect("api can reach shop/db:5432", "web cannot reach shop/db:5432"),
        mutate=True,
    )
    assert not any(one.is_noticed for one in report.mutations)


async def test_the_report_as_junit(check):
    view = shop(ONLY_API)
    told = expect("api can reach svc/db", "web can reach svc/db", "web cannot reach pod/shop/db:9999")
    report = await check(view, told, mutate=True)
    for strict in (False, True):
        root = ET.fromstring(junit.render(report, strict=strict))
        first, policies = root.findall("testsuite")
        assert first.get("name") == "shop.expect"
        assert (first.get("tests"), first.get("failures"), first.get("skipped")) == (
            ("3", "2", "0") if strict else ("3", "1", "1")
        )
        assert next(case.get("name") for case in first) == "expectation 1: api can reach svc/db"
        assert policies.get("tests") == "2"
