from __future__ import annotations

import ipaddress

import pytest

from netloom.program.diff import difference
from netloom.program.nft import (
    AddChain,
    AddContainer,
    AddElements,
    AddRule,
    AddTable,
    Chain,
    Container,
    DeleteChain,
    DeleteElements,
    DeleteTable,
    Field,
    FlushChain,
    Hook,
    Transaction,
    Verdict,
)
from netloom.units import Family

A = ipaddress.ip_address("192.0.2.1").packed
MAP = Container("endpoints", (Field.SLOT, Field.ADDRESS, Field.PORT), data=(Field.ADDRESS, Field.PORT))
VERDICTS = Container("services", (Field.PROTOCOL, Field.PORT), verdicts=True)
SET = Container("peers", (Field.ADDRESS,))


def render(*ops, family=Family.V4):
    return Transaction(family, "t", ops).render()


def test_every_operation_in_nft_words():
    text = render(
        AddTable(),
        DeleteTable(),
        AddContainer(MAP),
        AddContainer(VERDICTS),
        AddContainer(SET),
        AddChain(Chain("one")),
        AddChain(Chain("base", Hook("nat", "output", -100))),
        FlushChain("one"),
        AddRule("one", "drop", "why"),
        AddRule("one", "accept"),
        AddElements(MAP, (((1, A, 80), (A, 8080)), ((2, A, 80), (A, 8081)))),
        DeleteElements(VERDICTS, ((17, 53),)),
        DeleteChain("one"),
    )
    assert text == (
        "add table ip t\n"
        "delete table ip t\n"
        "add map ip t endpoints { typeof numgen random mod 65536 . ip daddr . th dport : ip daddr . th dport; }\n"
        "add map ip t services { typeof meta l4proto . th dport : verdict; }\n"
        "add set ip t peers { typeof ip daddr; }\n"
        "add chain ip t one\n"
        "add chain ip t base { type nat hook output priority -100; policy accept; }\n"
        "flush chain ip t one\n"
        'add rule ip t one drop comment "why"\n'
        "add rule ip t one accept\n"
        "add element ip t endpoints {\n  1 . 192.0.2.1 . 80 : 192.0.2.1 . 8080,\n"
        "  2 . 192.0.2.1 . 80 : 192.0.2.1 . 8081\n}\n"
        "delete element ip t services {\n  udp . 53\n}\n"
        "delete chain ip t one\n"
    )


def test_the_family_changes_words_and_addresses_only():
    address = ipaddress.ip_address("2001:db8::1").packed
    text = render(AddContainer(SET), AddElements(SET, (((address,), None),)), family=Family.V6)
    assert text == (
        "add set ip6 t peers { typeof ip6 daddr; }\nadd element ip6 t peers {\n  2001:db8::1\n}\n"
    )


def test_protocols_without_a_word_are_numbers():
    assert "200 . 1 : goto one" in render(AddElements(VERDICTS, (((200, 1), Verdict("goto", "one")),)))


def test_empty_element_operations_are_no_text():
    assert render(AddElements(SET, ()), DeleteElements(SET, ())) == ""


def test_what_counts_as_an_operation():
    elements = Transaction(
        Family.V4, "t", (AddElements(SET, (((A,), None),)), DeleteElements(VERDICTS, ((6, 1), (6, 2))))
    )
    assert (elements.count, elements.only_elements) == (3, True)
    chains = Transaction(Family.V4, "t", (AddChain(Chain("one")), AddRule("one", "drop")))
    assert (chains.count, chains.only_elements) == (2, False)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Chain("no space"),
        lambda: Chain(""),
        lambda: Chain("1st"),
        lambda: Transaction(Family.V4, "t; flush ruleset", ()),
        lambda: Container("c", ()),
        lambda: Container("c", (Field.PORT,), data=(Field.PORT,), verdicts=True),
        lambda: Container("c", (Field.PORT, Field.SLOT)),
        lambda: AddRule("one", "drop; flush ruleset"),
        lambda: AddRule("one", "drop\ndrop"),
        lambda: AddRule("one", "drop", 'say "no"'),
        lambda: AddElements(SET, (((A, 80), None),)),
        lambda: AddElements(SET, (((A,), Verdict("drop")),)),
        lambda: AddElements(VERDICTS, (((6, 80), None),)),
        lambda: AddElements(MAP, (((0, A, 80), (A,)),)),
        lambda: AddElements(MAP, (((0, A, 80), None),)),
        lambda: DeleteElements(SET, ((),)),
    ],
)
def test_what_is_no_program_is_refused_when_it_is_made(make):
    with pytest.raises(ValueError, match=r"."):
        make()


def test_difference_takes_a_changed_value_out_before_it_puts_it_in():
    change = difference({"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 9, "d": 4})
    assert change.remove == ("b", "d")
    assert change.add == (("b", 2), ("c", 3))
    assert not change.is_empty
    assert difference({"a": 1}, {"a": 1}).is_empty
