"""The definitions that we ship, loaded like anybody's: they are in order, and say of documents what we say ourselves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from tests.unit.local.apiserver import test_gateway_kinds as ours

from netloom.local.apiserver import defaults, rules, schema, validate
from netloom.local.apiserver.custom import served

ROOT = Path(__file__).parents[4]
FILES = sorted((ROOT / "deploy/crds").glob("*.yaml"))
GVK = "apiextensions.k8s.io/v1/CustomResourceDefinition"


def definition(path):
    return json.loads(json.dumps(yaml.safe_load(path.read_text())))


def elsewhere(document, group="gateways.example.com"):
    """The same definition under a group of its own."""
    spec = document["spec"]
    spec["group"] = group
    document["metadata"]["name"] = f"{spec['names']['plural']}.{group}"
    return document


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_definitions_are_in_order_here_and_under_another_group(path):
    for document in (definition(path), elsewhere(definition(path))):
        assert schema.unknown_fields(GVK, document) == []
        assert schema.type_errors(GVK, document) == []
        found = defaults.set_defaults(GVK, document)
        assert [error.text for error in validate.validate(GVK, found, None)] == []


def cases():
    for test, kind in (
        (ours.test_gateway_api_is_refused_with_the_field, ""),
        (ours.test_traffic_policies_are_refused_with_the_field, "TrafficPolicy"),
    ):
        for case in test.pytestmark[0].args[1]:
            yield (kind, *case[:1]) if kind else case[:2]


@pytest.fixture(scope="module")
def defined():
    return {kind.kind: kind for path in FILES for kind in served.kinds_of(definition(path))}


@pytest.mark.parametrize(("kind", "spec"), list(cases()))
def test_rules_in_cel_say_what_the_functions_of_the_server_say(defined, kind, spec):
    kind = defined[kind]
    sent = ours.document(kind.gvk, spec)
    if not kind.namespaced:
        del sent["metadata"]["namespace"]
    own = validate.validate(kind.gvk, defaults.set_defaults(kind.gvk, json.loads(json.dumps(sent))), None)
    theirs = rules.errors(kind, rules.complete(kind, sent), None)
    # a rule in CEL that looks into what is not there has no value, and says so
    told = {error.text for error in theirs if "evaluating rule:" not in error.text}
    assert told == {error.text for error in own}
