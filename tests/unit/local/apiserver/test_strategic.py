"""Strategic merge patch: lists merged by key, directives, order; and that patching twice is patching once."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netloom.local.apiserver.patch import BadPatch
from netloom.local.apiserver.strategic import strategic_merge

POD = "v1/Pod"
SERVICE = "v1/Service"
DEPLOYMENT = "apps/v1/Deployment"


def pod(*containers, **spec):
    return {"spec": {"containers": list(containers), **spec}}


def names(document, field="containers"):
    return [item["name"] for item in document["spec"][field]]


def test_items_of_a_keyed_list_are_merged_one_by_one():
    live = pod({"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"})
    result = strategic_merge(POD, live, {"spec": {"containers": [{"name": "b", "image": "b:2"}]}})
    assert result == pod({"name": "a", "image": "a:1"}, {"name": "b", "image": "b:2"})
    assert live == pod({"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"})


def test_lists_below_keyed_lists_are_merged_too():
    live = pod({"name": "a", "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}]})
    patch = {"spec": {"containers": [{"name": "a", "env": [{"name": "Y", "value": "3"}]}]}}
    env = strategic_merge(POD, live, patch)["spec"]["containers"][0]["env"]
    assert env == [{"name": "X", "value": "1"}, {"name": "Y", "value": "3"}]


def test_atomic_lists_and_unknown_fields_are_replaced():
    live = {"spec": {"containers": [{"name": "a", "args": ["x", "y"]}], "odd": [{"name": "1"}]}}
    patch = {"spec": {"containers": [{"name": "a", "args": ["z"]}], "odd": [{"name": "2"}]}}
    result = strategic_merge(POD, live, patch)
    assert result == {"spec": {"containers": [{"name": "a", "args": ["z"]}], "odd": [{"name": "2"}]}}


def test_null_removes_and_a_null_for_nothing_is_nothing():
    live = {"metadata": {"labels": {"a": "1", "b": "2"}}}
    result = strategic_merge(POD, live, {"metadata": {"labels": {"a": None}, "annotations": {"c": None}}})
    assert result == {"metadata": {"labels": {"b": "2"}, "annotations": {}}}


def test_new_items_come_where_the_patch_puts_them():
    live = pod({"name": "a"}, {"name": "b"})
    assert names(strategic_merge(POD, live, pod({"name": "c"}))) == ["c", "a", "b"]
    patch = {
        "spec": {
            "$setElementOrder/containers": [{"name": "a"}, {"name": "c"}, {"name": "b"}],
            "containers": [{"name": "c"}],
        }
    }
    assert names(strategic_merge(POD, live, patch)) == ["a", "c", "b"]


def test_order_alone_reorders_what_it_names():
    live = pod({"name": "a"}, {"name": "b"}, {"name": "c"})
    patch = {"spec": {"$setElementOrder/containers": [{"name": "c"}, {"name": "a"}]}}
    # b stood before c, and still does
    assert names(strategic_merge(POD, live, patch)) == ["b", "c", "a"]


def test_delete_directive_removes_items():
    live = pod({"name": "a"}, {"name": "b"})
    assert names(strategic_merge(POD, live, pod({"$patch": "delete", "name": "a"}))) == ["b"]
    assert names(strategic_merge(POD, live, pod({"$patch": "delete", "name": "x"}))) == ["a", "b"]


def test_replace_directive_replaces_lists_and_maps():
    live = pod({"name": "a"}, {"name": "b"}, nodeSelector={"x": "1"})
    result = strategic_merge(POD, live, {"spec": {"containers": [{"name": "c"}, {"$patch": "replace"}]}})
    assert names(result) == ["c"]
    result = strategic_merge(POD, live, {"spec": {"$patch": "replace", "containers": [{"name": "c"}]}})
    assert result == {"spec": {"containers": [{"name": "c"}]}}


def test_delete_directive_empties_a_map():
    live = {"metadata": {"labels": {"a": "1"}, "name": "x"}}
    assert strategic_merge(POD, live, {"metadata": {"labels": {"$patch": "delete"}}}) == {
        "metadata": {"labels": {}, "name": "x"}
    }


def test_sets_of_scalars_are_joined_and_taken_from():
    live = {"metadata": {"finalizers": ["a", "b"]}}
    assert strategic_merge(POD, live, {"metadata": {"finalizers": ["c", "b"]}})["metadata"]["finalizers"] == [
        "c",
        "a",
        "b",
    ]
    patch = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a", "x"]}}
    assert strategic_merge(POD, live, patch)["metadata"]["finalizers"] == ["b"]
    patch = {
        "metadata": {
            "$setElementOrder/finalizers": ["c", "b"],
            "$deleteFromPrimitiveList/finalizers": ["a"],
            "finalizers": ["c"],
        }
    }
    assert strategic_merge(POD, live, patch)["metadata"]["finalizers"] == ["c", "b"]


def test_ports_are_keyed_by_number():
    live = {"spec": {"ports": [{"port": 80, "name": "http"}, {"port": 443, "name": "https"}]}}
    result = strategic_merge(SERVICE, live, {"spec": {"ports": [{"port": 443, "nodePort": 30443}]}})
    assert result["spec"]["ports"] == [
        {"port": 80, "name": "http"},
        {"port": 443, "name": "https", "nodePort": 30443},
    ]


def test_retained_keys_take_the_others_away():
    live = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    result = strategic_merge(
        DEPLOYMENT, live, {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    )
    assert result["spec"]["strategy"] == {"type": "Recreate"}
    with pytest.raises(BadPatch, match="rollingUpdate: set by the patch and not retained") as refused:
        strategic_merge(
            DEPLOYMENT, live, {"spec": {"strategy": {"$retainKeys": ["type"], "rollingUpdate": {}}}}
        )
    assert refused.value.code == 400


def test_volumes_change_their_source():
    live = {"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}
    patch = {
        "spec": {"volumes": [{"$retainKeys": ["name", "secret"], "name": "v", "secret": {"secretName": "s"}}]}
    }
    assert strategic_merge(POD, live, patch)["spec"]["volumes"] == [
        {"name": "v", "secret": {"secretName": "s"}}
    ]


def test_a_live_value_of_another_type_gives_way():
    assert strategic_merge(POD, {"spec": "odd"}, pod({"name": "a"})) == pod({"name": "a"})
    assert strategic_merge(POD, {"spec": {"containers": "odd"}}, pod({"name": "a"})) == pod({"name": "a"})


@pytest.mark.parametrize(
    ("patch", "code", "told"),
    [
        ([], 400, "must be an object"),
        ({"spec": {"$patch": "spam"}}, 400, r"spec\.\$patch: unknown directive 'spam'"),
        (pod({"image": "x"}), 422, r"spec\.containers\[0\]: does not contain declared merge key: name"),
        (pod("text"), 422, r"spec\.containers\[0\]: must be an object with 'name'"),
        (
            {"metadata": {"finalizers": [{}]}},
            422,
            r"metadata\.finalizers: the items of this list are scalars",
        ),
        ({"spec": {"$retainKeys": "type"}}, 400, "must be a list"),
        ({"metadata": {"$deleteFromPrimitiveList/finalizers": "a"}}, 400, "must be a list"),
        (
            {"spec": {"$setElementOrder/containers": [{"image": "x"}], "containers": [{"name": "a"}]}},
            422,
            "merge key: name",
        ),
    ],
)
def test_bad_patches_are_refused(patch, code, told):
    with pytest.raises(BadPatch, match=told) as refused:
        strategic_merge(POD, pod({"name": "a"}), patch)
    assert refused.value.code == code


CONTAINERS = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from("abcd")},
        optional={
            "image": st.sampled_from(["x", "y"]) | st.none(),
            "args": st.lists(st.sampled_from("pq"), max_size=2),
            "env": st.lists(
                st.fixed_dictionaries({"name": st.sampled_from("AB"), "value": st.sampled_from("12")}),
                max_size=2,
                unique_by=lambda e: e["name"],
            ),
        },
    ),
    max_size=4,
    unique_by=lambda c: c["name"],
)
SPECS = st.fixed_dictionaries(
    {},
    optional={
        "containers": CONTAINERS,
        "hostname": st.sampled_from("hi") | st.none(),
        "nodeSelector": st.dictionaries(st.sampled_from("kl"), st.sampled_from("12")),
    },
)


@given(SPECS, SPECS)
def test_patching_twice_is_patching_once(live, patch):
    document, before = {"spec": live}, copy.deepcopy(live)
    once = strategic_merge(POD, document, {"spec": patch})
    assert strategic_merge(POD, once, {"spec": patch}) == once
    assert live == before


@given(SPECS, SPECS)
def test_every_item_is_kept_and_every_patched_value_is_there(live, patch):
    result = strategic_merge(POD, {"spec": live}, {"spec": patch})["spec"]
    merged = {c["name"]: c for c in result.get("containers", [])}
    assert merged.keys() == {c["name"] for c in (*live.get("containers", []), *patch.get("containers", []))}
    for container in patch.get("containers", []):
        for field in ("image", "args"):
            if container.get(field) is not None:
                assert merged[container["name"]][field] == container[field]
