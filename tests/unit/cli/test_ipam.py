"""`netloom ipam`: what it says of agents' answers, and how it ends."""

import json

import pytest

from netloom.cli import ipam
from netloom.cli.ipam import Answer
from netloom.cli.main import main
from netloom.observe.addresses import AddressReport, NodeAddresses, PoolReport, RangeReport


def address(text, pod, *, container="c1", block="", since="2026-01-01T00:00:00Z", pool="p"):
    return AddressReport(text, pod, container, "eth0" if container else "", since, "10.2.0.0/29", pool, block)


ONE = NodeAddresses(
    node="node-1",
    ranges=(
        RangeReport("10.1.0.0/24", "", 3, 1, 0, 250),
        RangeReport("10.2.0.0/29", "p", 1, 0, 1, 6, is_leaving=True),
        RangeReport("fd00::/64", "", 0, 0, 0, (1 << 63) - 1),
    ),
    pools=(PoolReport("p", ("10.2.0.0/24",), False, {"node-1": 2}), PoolReport("q", (), True, {})),
    addresses=(
        address("10.2.0.1", "shop/a"),
        address("10.2.0.2", "shop/b", container=""),
        address("10.2.0.3", "", container="", block="10.2.0.3-32"),
        address("10.2.0.4", "", container="deadbeef", pool=""),
    ),
)
TWO = NodeAddresses(
    node="node-2",
    ranges=(),
    pools=(),
    addresses=(address("10.2.0.3", "shop/c"), address("10.2.0.9", "shop/b", container="")),
)
ANSWERS = (Answer("node-1", ONE), Answer("node-2", TWO))


def said(subject):
    return [ipam.sentence(found) for found in ipam.find(subject, ANSWERS)]


def test_pools_and_ranges_are_shown():
    text = ipam.text_of([*ANSWERS, Answer("node-3", problem="nobody answers")])
    lines = text.splitlines()
    assert lines[1].split() == ["p", "10.2.0.0/24", "in", "use", "node-1", "2"]
    assert lines[2].split() == ["q", "none", "disabled", "none"]
    assert "node-1  10.2.0.0/29  p (leaving)  1     6     0            1" in text
    assert "many" in text
    assert lines[-1] == "node-3: nobody answers"


def test_who_has_an_address_comes_before_who_had_it():
    assert said("10.2.0.3") == [
        "10.2.0.3  pod shop/c on node-2 (eth0) since 2026-01-01T00:00:00Z; IPPool p, block 10.2.0.0/29"
    ]
    assert said("10.2.0.4")[0].startswith("10.2.0.4  container deadbeef on node-1")


def test_what_is_free_says_who_had_it_last():
    (line,) = said("10.2.0.2")
    assert "free since 2026-01-01T00:00:00Z; pod shop/b on node-1 had it last" in line


def test_a_pod_is_found_by_its_name_in_any_spelling():
    assert len(said("shop/a")) == 1
    assert len(said("shop/b")) == 2
    assert said("a") == []
    assert said("192.0.2.1") == []


@pytest.fixture
def answering(monkeypatch):
    def answers(*found):
        async def ask_all(_):
            return found

        monkeypatch.setattr(ipam, "_ask_all", ask_all)
        monkeypatch.setattr(ipam, "sockets_of", lambda _: {})

    return answers


def test_exit_codes(answering, capsys):
    answering(*ANSWERS)
    assert main(["ipam"]) == 0
    assert main(["ipam", "shop/a", "-o", "json"]) == 0
    (found,) = json.loads(capsys.readouterr().out.partition("\n[")[2].join(["[", ""]))
    assert found["address"]["pod"] == "shop/a"
    assert main(["ipam", "shop/nobody"]) == 4
    assert "shop/nobody: no node gave it an address" in capsys.readouterr().err
    answering(ANSWERS[0], Answer("node-2", problem="agent socket: no answer"))
    assert main(["ipam"]) == 6
    assert main(["ipam", "shop/nobody"]) == 6, "the node that is silent may know"
    assert main(["ipam", "shop/a"]) == 0
