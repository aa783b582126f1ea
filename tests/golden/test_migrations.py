"""Ingresses of the retired controller, in the shapes that are known: what they become, what is lost, and where old and new differ.

Each ``migrate/<case>/`` holds ``in.yaml``; ``out.yaml`` and ``losses.txt`` are compared. Every case is proven: by the model, and through a real HAProxy.
"""

from pathlib import Path

import pytest
import yaml

from netloom.cli.ingress import _yaml
from netloom.kube.manifests import documents
from netloom.local.apiserver import defaults, schema
from netloom.local.apiserver.validate import validate
from netloom.model.gateways.migrate.annotations import KNOWN, PREFIX, Fate
from netloom.model.gateways.migrate.convert import migrate
from netloom.observe.migration.haproxy import program
from netloom.observe.migration.proof import differences, prove

HERE = Path(__file__).parent / "migrate"
CASES = sorted(path.parent.name for path in HERE.glob("*/in.yaml"))
NOW = 1_800_000_000.0


def read(case):
    return documents([str(HERE / case / "in.yaml")])


@pytest.mark.parametrize("case", CASES)
def test_what_is_made(case, golden):
    migration = migrate(read(case))
    golden(HERE / case / "out.yaml", _yaml(migration))
    golden(
        HERE / case / "losses.txt", "".join(f"{one.weight.value}: {one.words}\n" for one in migration.losses)
    )


@pytest.mark.parametrize("case", CASES)
def test_everything_that_is_made_is_taken_by_the_api_server(case):
    for document in migrate(read(case)).objects:
        gvk = schema.gvk_of(document)
        assert schema.unknown_fields(gvk, document) == []
        assert schema.type_errors(gvk, document) == []
        assert [e.text for e in validate(gvk, defaults.set_defaults(gvk, document), None)] == []


@pytest.mark.parametrize("case", CASES)
def test_old_and_new_answer_the_same(case, golden):
    found = prove(migrate(read(case)), read(case), now=NOW, class_name="netloom", with_engine=False)
    told = [
        f"{d.sample.words}\n  before: {d.before.words}\n  now:    {d.after.words}\n"
        for d in differences(found)
    ]
    golden(HERE / case / "differences.txt", "".join(told))
    assert found.is_proven, found.by_model.unlisted


@pytest.mark.parametrize("case", CASES)
def test_old_and_new_answer_the_same_through_haproxy(case):
    assert program(), "haproxy is not installed; tools/setup.sh says what is needed"
    found = prove(migrate(read(case)), read(case), now=NOW, class_name="netloom", with_engine=True)
    assert found.by_engine.asked >= 10
    assert found.is_proven, found.by_engine.unlisted


@pytest.mark.parametrize(
    ("annotation", "value", "wrong"),
    [
        ("rewrite-target", "/x/$2", "/orders/below/it"),
        ("permanent-redirect", "https://elsewhere.example", "https://new.example"),
        ("upstream-vhost", "other.example", "api.internal.example"),
        ("canary-weight", "70", "20 %"),
    ],
)
def test_a_proof_can_fail(annotation, value, wrong):
    """What was made of one thing does not prove another."""
    cases = {
        "rewrite-target": "rewrite",
        "permanent-redirect": "redirects",
        "upstream-vhost": "policies",
        "canary-weight": "canary",
    }
    given = read(cases[annotation])
    made = migrate(given)
    for document in given:
        annotations = document["metadata"].get("annotations", {})
        if PREFIX + annotation in annotations:
            annotations[PREFIX + annotation] = value
    found = prove(
        type(made)(migrate(given).ingresses, made.objects, made.losses),
        given,
        now=NOW,
        class_name="netloom",
        with_engine=False,
    )
    assert not found.is_proven


def test_annotations_that_are_not_known_are_told():
    (ingress,) = [one for one in read("plain") if one["kind"] == "Ingress"]
    ingress["metadata"]["annotations"] = {PREFIX + "turbo": "on", "other.example/x": "1"}
    told = [loss.words for loss in migrate([ingress]).losses]
    assert told == [f"Ingress shop/web: metadata.annotations[{PREFIX}turbo] (on): is not known here"]


@pytest.mark.parametrize("name", [name for name, known in KNOWN.items() if known.fate is Fate.NONE])
def test_what_has_no_counterpart_is_told_with_its_value(name):
    (ingress,) = [one for one in read("plain") if one["kind"] == "Ingress"]
    ingress["metadata"]["annotations"] = {PREFIX + name: "some-value"}
    made = migrate([ingress])
    assert not made.is_whole
    assert any(f"[{PREFIX}{name}] (some-value)" in loss.words for loss in made.losses)


def test_the_page_has_every_annotation_and_what_becomes_of_it():
    page = (Path(__file__).parents[2] / "docs" / "ingress.md").read_text()
    for name, known in KNOWN.items():
        assert f"| `{name}` | {known.fate.value} | {known.becomes} |" in page, name


def test_named_ports_need_the_service():
    given = [one for one in read("protocols") if one["kind"] != "Service"]
    made = migrate(given)
    assert any("is a name: give the Service's manifest, too" in loss.words for loss in made.losses)


def test_conflicts_are_settled_by_age():
    young, old = read("plain")[0], yaml.safe_load(yaml.safe_dump(read("plain")[0]))
    young["metadata"].update(name="young", creationTimestamp="2026-01-02T00:00:00Z")
    old["metadata"].update(name="old", creationTimestamp="2026-01-01T00:00:00Z")
    made = migrate([young, old])
    assert any("Ingress shop/old is older and has this host and path" in loss.words for loss in made.losses)
    assert not [one for one in made.objects if one["metadata"]["name"].startswith("young")]
