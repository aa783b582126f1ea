"""Expectations as written: sentences, mappings, selections; and what is said of those that cannot be read."""

from __future__ import annotations

import pytest

from netloom.errors import UsageError
from netloom.observe.check.expectations import Everybody, Expected, Named, Selected, read_expectations


def read(text):
    return read_expectations(text, "shop.expect")


def one(text):
    (found,) = read(f"- {text}")
    return found


def test_sentences():
    found = one("web can reach cart:80")
    assert (found.senders, found.receivers, found.expected) == (
        (Named("web"),),
        (Named("cart:80"),),
        Expected.ALLOW,
    )
    found = one("web,  deploy/api cannot   reach svc/db:5432, [2001:db8::9]:53/udp")
    assert found.senders == (Named("web"), Named("deploy/api"))
    assert found.receivers == (Named("svc/db:5432"), Named("[2001:db8::9]:53/udp"))
    assert found.expected is Expected.DENY
    assert found.text == "web, deploy/api cannot reach svc/db:5432, [2001:db8::9]:53/udp"


def test_everybody_and_everybody_else():
    assert one("everybody can reach web:80").senders == (Everybody(),)
    assert one("everybody else cannot reach db:5432").senders == (Everybody(other=True),)
    assert one("{from: [web, everybody else], to: db:5432, expect: deny}").senders == (
        Named("web"),
        Everybody(other=True),
    )


def test_a_file_says_the_namespace_and_an_entry_may_say_another():
    first, second = read(
        "namespace: shop\nexpectations:\n- web can reach cart:80\n- {from: a, to: b:1, expect: allow, namespace: ops}\n"
    )
    assert (first.namespace, second.namespace) == ("shop", "ops")
    assert (first.number, second.number) == (1, 2)
    assert one("a can reach b:1").namespace == "default"


def test_selections_of_pods():
    found = one(
        "{from: {namespaces: team=ops, pods: 'app in (a, b)'}, to: {namespace: shop, pods: app=db, port: 5432}, expect: deny}"
    )
    (sender,), (receiver,) = found.senders, found.receivers
    assert isinstance(sender, Selected)
    assert sender.namespaces.matches({"team": "ops"})
    assert not sender.namespaces.matches({"team": "shop"})
    assert sender.pods.matches({"app": "b"})
    assert (receiver.namespace, receiver.port) == ("shop", "5432")
    assert "team=ops" in found.text


BAD = {
    "web reaches cart:80": "cannot be read",
    "{from: web, to: cart:80}": "expect: is not set",
    "{from: web, to: cart:80, expect: maybe}": "no verdict",
    "{from: web, to: cart:80, expect: allow, port: 7}": "port: is not known",
    "{from: web, to: everybody, expect: allow}": "everybody cannot be the receiver",
    "{from: [], to: cart:80, expect: allow}": "from: is empty",
    "{from: {}, to: cart:80, expect: allow}": "selects nothing",
    "{from: {pods: 'a in (b'}, to: cart:80, expect: allow}": "no selector",
    "{from: {pods: a=b, port: 7}, to: cart:80, expect: allow}": "a sender has none",
    "{from: a, to: {pods: a=b}, expect: allow}": "port: is not set",
    "{from: {namespace: a, namespaces: b=c}, to: c:1, expect: allow}": "both namespace and namespaces",
    "{from: {name: a}, to: c:1, expect: allow}": "name: is not known",
    "[a, b]": "neither a sentence nor a mapping",
    "7": "neither a sentence nor a mapping",
    "{from: true, to: c:1, expect: allow}": "no text",
}


@pytest.mark.parametrize("text", BAD)
def test_what_cannot_be_read_is_named_with_its_place(text):
    with pytest.raises(UsageError) as error:
        read(f"- web can reach cart:80\n- {text}")
    assert "shop.expect: expectation 2" in str(error.value)
    assert BAD[text] in str(error.value)
    assert error.value.hint


@pytest.mark.parametrize(
    "text", ["", "[]", "namespace: shop", "a: [", "expectations: {a: b}", "x: 1", "\t- a", "{" * 5000]
)
def test_files_that_are_none(text):
    with pytest.raises(UsageError, match=r"shop\.expect"):
        read(text)
