"""Server-side apply as its users know it: ownership, conflicts, removal, shared fields; and owners of ordinary writes."""

from __future__ import annotations

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netloom.local.apiserver import apply as ssa
from netloom.local.apiserver import fieldset, managers, schema
from netloom.local.apiserver.apply import ApplyConflict
from netloom.local.apiserver.patch import BadPatch

CONFIG_MAP = "v1/ConfigMap"
DEPLOYMENT = "apps/v1/Deployment"
MORNING, NOON, EVENING = (f"2026-01-01T{hour}:00:00Z" for hour in ("08", "12", "18"))
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def config_map(**data):
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "c", "namespace": "shop"},
        "data": data,
    }


def deployment(*containers, **spec):
    template = {"spec": {"containers": list(containers)}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {**spec, "template": template},
    }


def apply(live, applied, manager="alice", *, force=False, now=NOON, gvk=CONFIG_MAP, subresource=""):
    return ssa.apply(gvk, live, applied, manager, force, now, subresource)


def update(live, new, manager="editor", *, now=NOON, gvk=CONFIG_MAP, subresource=""):
    return ssa.track_update(gvk, live, new, manager, "Update", subresource, now)


def owners(document):
    """Manager and operation -> paths as text."""
    return {
        (who.name, who.operation): {fieldset.text(path) for path in owned.fields}
        for who, owned in managers.read(document).items()
    }


def changed(document, **data):
    return {**copy.deepcopy(document), "data": {**document["data"], **data}}


def test_an_applied_object_belongs_to_its_manager():
    result = apply(None, config_map(a="1"))
    assert result["data"] == {"a": "1"}
    assert result["metadata"]["managedFields"] == [
        {
            "manager": "alice", "operation": "Apply", "apiVersion": "v1", "time": NOON,
            "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {"f:a": {}}},
        }
    ]  # fmt: skip


def test_list_items_and_fields_below_them_are_owned():
    result = apply(
        None,
        deployment({"name": "web", "image": "x", "ports": [{"containerPort": 80}], "args": ["a"]}),
        gvk=DEPLOYMENT,
    )
    (entry,) = result["metadata"]["managedFields"]
    containers = entry["fieldsV1"]["f:spec"]["f:template"]["f:spec"]["f:containers"]
    assert containers == {
        'k:{"name":"web"}': {
            ".": {}, "f:name": {}, "f:image": {}, "f:args": {},
            "f:ports": {'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}},
        }
    }  # fmt: skip


def test_applying_the_same_again_changes_nothing_not_even_a_time():
    first = apply(None, config_map(a="1"), now=MORNING)
    assert apply(first, config_map(a="1"), now=EVENING) is first


def test_a_field_no_longer_applied_goes():
    first = apply(None, config_map(a="1", b="2"), now=MORNING)
    second = apply(first, config_map(a="1"), now=NOON)
    assert second["data"] == {"a": "1"}
    assert second["metadata"]["managedFields"][0]["time"] == NOON


def test_a_field_of_another_manager_is_a_conflict_that_says_whose():
    first = apply(None, config_map(a="1"))
    with pytest.raises(ApplyConflict) as refused:
        apply(first, config_map(a="2"), "bob")
    assert refused.value.problem == 'Apply failed with 1 conflict: conflict with "alice": .data.a'
    (cause,) = refused.value.causes
    assert (cause.reason, cause.message, cause.field) == (
        "FieldManagerConflict",
        'conflict with "alice"',
        ".data.a",
    )


def test_several_conflicts_are_told_by_manager():
    first = apply(None, config_map(a="1"))
    second = update(first, changed(first, b="1", c="1"))
    with pytest.raises(ApplyConflict) as refused:
        apply(second, config_map(a="2", b="2", c="2"), "bob")
    assert refused.value.problem == (
        'Apply failed with 3 conflicts: conflicts with "alice":\n- .data.a\nconflicts with "editor" using v1:\n- .data.b\n- .data.c'
    )


def test_force_takes_fields_over():
    first = apply(None, config_map(a="1", b="1"))
    second = apply(first, config_map(a="2"), "bob", force=True)
    assert second["data"] == {"a": "2", "b": "1"}
    assert owners(second) == {("alice", "Apply"): {".data.b"}, ("bob", "Apply"): {".data.a"}}


def test_the_same_value_is_shared_and_stays_until_both_let_go():
    first = apply(None, config_map(a="1"))
    second = apply(first, config_map(a="1"), "bob")
    assert owners(second) == {("alice", "Apply"): {".data.a"}, ("bob", "Apply"): {".data.a"}}
    third = apply(second, config_map(), "alice")
    assert third["data"] == {"a": "1"}
    fourth = apply(third, config_map(), "bob")
    assert "a" not in fourth.get("data", {})


def test_fields_of_ordinary_writers_stay():
    first = apply(None, config_map(a="1"))
    second = update(first, changed(first, b="2"))
    third = apply(second, config_map(), "alice")
    assert third["data"] == {"b": "2"}


def test_an_ordinary_write_takes_fields_over_without_asking():
    first = apply(None, config_map(a="1", b="1"), now=MORNING)
    second = update(first, changed(first, a="2"), now=NOON)
    assert owners(second) == {("alice", "Apply"): {".data.b"}, ("editor", "Update"): {".data.a"}}
    times = {entry["manager"]: entry["time"] for entry in second["metadata"]["managedFields"]}
    assert times == {"alice": MORNING, "editor": NOON}


def test_a_removed_field_belongs_to_nobody():
    first = apply(None, config_map(a="1", b="1"))
    new = copy.deepcopy(first)
    del new["data"]["a"]
    assert owners(update(first, new)) == {("alice", "Apply"): {".data.b"}}


def test_a_write_that_changes_nothing_keeps_all_entries():
    first = apply(None, config_map(a="1"), now=MORNING)
    assert update(first, copy.deepcopy(first), now=NOON)["metadata"] == first["metadata"]
    bare = copy.deepcopy(first)
    del bare["metadata"]["managedFields"]
    assert update(first, bare, now=NOON)["metadata"] == first["metadata"]


def test_one_empty_entry_clears_all_managers():
    first = apply(None, config_map(a="1"))
    new = copy.deepcopy(first)
    new["metadata"]["managedFields"] = [{}]
    assert "managedFields" not in update(first, new)["metadata"]


def test_managed_fields_that_a_writer_sends_are_taken_as_kubectl_migrates_them():
    created = update(None, config_map(a="1"), "kubectl-client-side-apply", now=MORNING)
    migrated = copy.deepcopy(created)
    migrated["metadata"]["managedFields"][0] |= {"manager": "kubectl", "operation": "Apply"}
    result = update(created, migrated, "kubectl")
    assert owners(result) == {("kubectl", "Apply"): {".data", ".data.a"}}
    through_status = update(created, migrated, "kubectl", subresource="status")
    assert owners(through_status) == owners(created)


def test_a_created_object_belongs_to_its_creator_without_identity():
    created = update(None, {**config_map(a="1"), "metadata": {"name": "c", "uid": "u", "labels": {"x": "y"}}})
    assert owners(created) == {
        ("editor", "Update"): {".data", ".data.a", ".metadata.labels", ".metadata.labels.x"}
    }


def test_status_writers_have_entries_of_their_own():
    live = update(None, deployment({"name": "web", "image": "x"}, replicas=1), "kubectl", gvk=DEPLOYMENT)
    new = {**copy.deepcopy(live), "status": {"replicas": 1}}
    result = update(live, new, "kubectl", gvk=DEPLOYMENT, subresource="status")
    entries = {
        (e["manager"], e.get("subresource", "")): e["fieldsV1"] for e in result["metadata"]["managedFields"]
    }
    assert entries["kubectl", "status"] == {"f:status": {"f:replicas": {}}}
    assert "f:status" not in entries["kubectl", ""]


def test_status_is_applied_through_its_subresource_only():
    live = update(None, deployment({"name": "web", "image": "x"}, replicas=1), gvk=DEPLOYMENT)
    wanted = {**deployment({"name": "web", "image": "y"}), "status": {"replicas": 7}}
    through_main = apply(live, {**wanted, "spec": {"paused": True}}, gvk=DEPLOYMENT)
    assert "status" not in through_main
    through_status = apply(live, wanted, gvk=DEPLOYMENT, subresource="status")
    assert through_status["status"] == {"replicas": 7}
    assert through_status["spec"] == live["spec"]


def test_an_item_is_removed_whole_with_what_defaults_put_there():
    first = apply(None, deployment({"name": "a", "image": "x"}, {"name": "b", "image": "y"}), gvk=DEPLOYMENT)
    first["spec"]["template"]["spec"]["containers"][1]["imagePullPolicy"] = "Always"
    second = apply(first, deployment({"name": "a", "image": "x"}), gvk=DEPLOYMENT)
    assert second["spec"]["template"]["spec"]["containers"] == [{"name": "a", "image": "x"}]


def test_a_field_is_removed_whole_with_what_defaults_put_there():
    first = apply(
        None,
        deployment({"name": "a", "image": "x", "livenessProbe": {"tcpSocket": {"port": 1}}}),
        gvk=DEPLOYMENT,
    )
    first["spec"]["template"]["spec"]["containers"][0]["livenessProbe"]["periodSeconds"] = 10
    second = apply(first, deployment({"name": "a", "image": "x"}), gvk=DEPLOYMENT)
    assert second["spec"]["template"]["spec"]["containers"] == [{"name": "a", "image": "x"}]


def test_two_managers_share_a_list():
    first = apply(None, deployment({"name": "a", "image": "x"}), gvk=DEPLOYMENT)
    second = apply(first, deployment({"name": "side", "image": "y"}), "bob", gvk=DEPLOYMENT)
    names = [c["name"] for c in second["spec"]["template"]["spec"]["containers"]]
    assert names == ["a", "side"]
    third = apply(second, deployment({"name": "a", "image": "z"}), gvk=DEPLOYMENT)
    assert [c["image"] for c in third["spec"]["template"]["spec"]["containers"]] == ["z", "y"]
    fourth = apply(third, {**deployment(), "spec": {}}, "bob", gvk=DEPLOYMENT)
    assert [c["name"] for c in fourth["spec"]["template"]["spec"]["containers"]] == ["a"]


def test_the_applied_order_counts_and_others_keep_their_place():
    live = deployment({"name": "a"}, {"name": "x"}, {"name": "b"})
    containers = schema.root(DEPLOYMENT).fields["spec"].fields["template"].fields["spec"].fields["containers"]
    merged = fieldset.merge(
        containers,
        live["spec"]["template"]["spec"]["containers"],
        [{"name": "b"}, {"name": "new"}, {"name": "a"}],
    )
    assert [c["name"] for c in merged] == ["b", "x", "new", "a"]


def test_sets_are_owned_value_by_value():
    mine = {**config_map(), "metadata": {"name": "c", "finalizers": ["example.com/a"]}}
    yours = {**config_map(), "metadata": {"name": "c", "finalizers": ["example.com/b"]}}
    both = apply(apply(None, mine), yours, "bob")
    assert both["metadata"]["finalizers"] == ["example.com/a", "example.com/b"]
    assert owners(both)["bob", "Apply"] == {'.metadata.finalizers[="example.com/b"]', ".data"}
    assert apply(both, config_map())["metadata"]["finalizers"] == ["example.com/b"]


def test_atomic_values_have_one_owner():
    first = apply(None, deployment(selector={"matchLabels": {"a": "1"}}), gvk=DEPLOYMENT)
    with pytest.raises(ApplyConflict, match=r"\.spec\.selector$"):
        apply(first, deployment(selector={"matchLabels": {"b": "1"}}), "bob", gvk=DEPLOYMENT)


def test_an_object_without_managers_belongs_to_before_first_apply():
    live = config_map(a="1")
    with pytest.raises(ApplyConflict, match='conflict with "before-first-apply" using v1'):
        apply(live, config_map(a="2"))
    result = apply(live, config_map(a="1", b="2"))
    assert owners(result)["before-first-apply", "Update"] == {".data", ".data.a"}


def test_kubectl_takes_over_what_its_client_side_apply_set_and_only_that():
    wanted = config_map(a="1", b="1")
    annotated = copy.deepcopy(wanted)
    annotated["metadata"]["annotations"] = {LAST_APPLIED: json.dumps(wanted)}
    live = update(None, annotated, "kubectl-client-side-apply")
    result = apply(live, config_map(a="2", b="1"), "kubectl")
    assert result["data"] == {"a": "2", "b": "1"}
    assert json.loads(result["metadata"]["annotations"][LAST_APPLIED])["data"] == {"a": "2", "b": "1"}
    with pytest.raises(ApplyConflict):
        apply(live, config_map(a="2", b="1"), "somebody")
    edited = update(live, changed(live, a="edited"))
    with pytest.raises(ApplyConflict, match='"editor" using v1'):
        apply(edited, config_map(a="2", b="1"), "kubectl")


@pytest.mark.parametrize(
    ("applied", "told"),
    [
        (deployment({"name": "a", "imagee": "x"}), r'web; apps/v1, Kind=Deployment\): \.spec\.template\.spec\.containers\[name="a"\]\.imagee: field not declared in schema'),
        (deployment({"image": "x"}), r"\.spec\.template\.spec\.containers: an item lacks a key; each needs name"),
        (deployment({"name": "a"}, {"name": "a"}), r'duplicate entries for key \[name="a"\]'),
        ({**deployment(), "metadata": {"name": "web", "managedFields": [{"manager": "x"}]}}, "managedFields: must be nil"),
    ],
)  # fmt: skip
def test_what_cannot_be_applied(applied, told):
    with pytest.raises(BadPatch, match=told) as refused:
        apply(None, applied, gvk=DEPLOYMENT)
    assert refused.value.code == 400


def test_old_writers_are_thrown_together():
    document = update(None, config_map(a="0"), "writer-00", now="2026-01-01T00:00:00Z")
    for number in range(1, 14):
        document = update(
            document,
            changed(document, **{f"k{number}": "1"}),
            f"writer-{number:02}",
            now=f"2026-01-01T00:00:{number:02}Z",
        )
    entries = document["metadata"]["managedFields"]
    assert len(entries) == managers.MAX_UPDATERS
    assert entries[0]["manager"] == "ancient-changes"
    assert set().union(*owners(document).values()) == {
        ".data",
        ".data.a",
        *(f".data.k{n}" for n in range(1, 14)),
    }


def test_unreadable_managed_fields_count_as_none():
    assert managers.read({"metadata": {"managedFields": [{"operation": "Spam"}]}}) == {}
    assert managers.read({"metadata": {"managedFields": "spam"}}) == {}


PATHS = st.frozensets(
    st.lists(st.sampled_from(["f:a", "f:b", 'k:{"name":"x"}', 'v:"y"']), min_size=1, max_size=4).map(tuple),
    max_size=8,
)


@given(PATHS)
def test_sets_of_fields_survive_their_encoding(paths):
    assert fieldset.decode(json.loads(json.dumps(fieldset.encode(paths)))) == paths


DATA = st.dictionaries(st.sampled_from("abcd"), st.sampled_from("12"), max_size=4)
CONTAINERS = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from("abc"), "image": st.sampled_from("12")},
        optional={
            "args": st.lists(st.sampled_from("pq"), max_size=2),
            "ports": st.lists(st.fixed_dictionaries({"containerPort": st.integers(1, 3)}, optional={"name": st.sampled_from("xy")}), max_size=2, unique_by=lambda p: p["containerPort"]),
            "resources": st.fixed_dictionaries({}, optional={"limits": st.dictionaries(st.sampled_from(["cpu", "memory"]), st.sampled_from("12"))}),
        },
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda c: c["name"],
)  # fmt: skip


@given(CONTAINERS)
def test_what_is_applied_is_there_and_applying_again_changes_nothing(containers):
    wanted = deployment(*containers)
    once = apply(None, wanted, gvk=DEPLOYMENT, now=MORNING)
    assert once["spec"] == wanted["spec"]
    assert apply(once, wanted, gvk=DEPLOYMENT, now=EVENING) is once


@given(CONTAINERS, CONTAINERS)
def test_a_single_manager_gets_what_it_applied_last(first, second):
    live = apply(None, deployment(*first), gvk=DEPLOYMENT)
    before = copy.deepcopy(live)
    result = apply(live, deployment(*second), gvk=DEPLOYMENT)
    assert live == before
    left = result["spec"].get("template", {}).get("spec", {}).get("containers", [])
    assert [c["name"] for c in left] == [c["name"] for c in second]
    for is_, wanted in zip(left, second, strict=True):
        assert {n: v for n, v in is_.items() if v not in ([], {})} == {
            n: v for n, v in wanted.items() if v not in ([], {})
        }


@given(DATA, DATA, DATA)
def test_forced_values_win_and_others_stay_until_their_owners_let_go(mine, yours, mine_later):
    live = apply(apply(None, config_map(**mine)), config_map(**yours), "bob", force=True)
    assert live["data"] == mine | yours
    result = apply(live, config_map(**mine_later), force=True)
    assert result.get("data", {}) == yours | mine_later


@given(DATA, st.lists(DATA, max_size=4))
def test_every_field_written_has_an_owner(first, writes):
    document = update(None, config_map(**first))
    for number, data in enumerate(writes):
        new = {**document, "data": data}
        document = update(document, new, f"writer-{number}")
    owned = set().union(*owners(document).values())
    assert {f".data.{name}" for name in document["data"]} <= owned
    assert owned - {".data"} <= {f".data.{name}" for name in document["data"]}
