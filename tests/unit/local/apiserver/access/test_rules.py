"""Rules of roles: what they allow, by their words one by one, is what their compiled form allows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netloom.local.apiserver import validate_roles
from netloom.local.apiserver.access import ours, policy
from netloom.local.apiserver.access.aggregation import settle
from netloom.local.apiserver.access.attributes import Attributes, of_request
from netloom.local.apiserver.access.rules import Grants, Rule, rules_of
from netloom.local.apiserver.access.written import rule

WORDS = st.sampled_from(["get", "list", "*"])
GROUPS = st.sampled_from(["", "apps", "*"])
RESOURCES = st.sampled_from(["pods", "pods/log", "deployments", "*/log", "*"])
NAMES = st.sampled_from(["a", "b"])
URLS = st.sampled_from(["/api", "/api/*", "/healthz", "*"])


def lists(of):
    return st.lists(of, max_size=3, unique=True).map(tuple)


RULES = st.builds(Rule, verbs=lists(WORDS), api_groups=lists(GROUPS), resources=lists(RESOURCES),
                  resource_names=lists(NAMES), non_resource_urls=lists(URLS))  # fmt: skip
ASKED = st.builds(
    Attributes,
    verb=st.sampled_from(["get", "list", "delete"]),
    group=st.sampled_from(["", "apps", "batch"]),
    resource=st.sampled_from(["pods", "deployments"]),
    subresource=st.sampled_from(["", "log"]),
    name=st.sampled_from(["", "a", "c"]),
) | st.builds(
    Attributes,
    verb=st.sampled_from(["get", "post"]),
    path=st.sampled_from(["/api", "/api/v1", "/healthz", "/x"]),
)


def one_allows(rule: Rule, wanted: Attributes) -> bool:
    """The documentation's own words."""
    if wanted.verb not in rule.verbs and "*" not in rule.verbs:
        return False
    if wanted.path:
        return any(
            url == wanted.path or (url.endswith("*") and wanted.path.startswith(url[:-1]))
            for url in rule.non_resource_urls
        )
    words = {wanted.kind_of_thing, "*"} | ({f"*/{wanted.subresource}"} if wanted.subresource else set())
    return (
        bool({wanted.group, "*"} & set(rule.api_groups))
        and bool(words & set(rule.resources))
        and (not rule.resource_names or wanted.name in rule.resource_names)
    )


@given(st.lists(RULES, max_size=4), ASKED)
def test_compiled_rules_allow_what_their_words_allow(rules, wanted) -> None:
    assert Grants(rules).allow(wanted) == any(one_allows(r, wanted) for r in rules)


@given(st.lists(RULES, max_size=3), RULES, ASKED)
def test_who_holds_a_rule_may_do_all_that_it_allows(held, given_, wanted) -> None:
    grants = Grants(held)
    if grants.covers(given_) and one_allows(given_, wanted):
        assert grants.allow(wanted)


@given(st.lists(RULES, max_size=3), RULES)
def test_what_is_missing_is_all_that_is_missing(held, given_) -> None:
    assert Grants([*held, *Grants(held).missing(given_)]).covers(given_)


def test_a_rule_written_as_a_line_is_the_document_that_people_write() -> None:
    assert rule("get list @apps,batch: jobs jobs/status =a").document() == {
        "verbs": ["get", "list"],
        "apiGroups": ["apps", "batch"],
        "resources": ["jobs", "jobs/status"],
        "resourceNames": ["a"],
    }
    assert rule("get @/: /version /api/*").document() == {
        "verbs": ["get"],
        "nonResourceURLs": ["/version", "/api/*"],
    }
    assert rule("create: pods").document() == {"verbs": ["create"], "apiGroups": [""], "resources": ["pods"]}


def test_bootstrap_roles_add_up() -> None:
    roles = policy.cluster_roles()
    settle(roles)
    grants = {r["metadata"]["name"]: Grants(rules_of(r)) for r in roles}
    secrets = Attributes("get", resource="secrets", namespace="shop", name="key")
    bind = Attributes("create", "rbac.authorization.k8s.io", "v1", "rolebindings", "", "shop")
    assert [n for n in ("view", "edit", "admin", "cluster-admin") if grants[n].allow(secrets)] == [
        "edit", "admin", "cluster-admin",
    ]  # fmt: skip
    assert [n for n in ("view", "edit", "admin", "cluster-admin") if grants[n].allow(bind)] == [
        "admin",
        "cluster-admin",
    ]
    for wider, narrower in (("admin", "edit"), ("edit", "view")):
        document = next(r for r in roles if r["metadata"]["name"] == narrower)
        assert all(grants[wider].covers(one) for one in rules_of(document))


@pytest.mark.parametrize(
    ("method", "path", "query", "expected"),
    [
        ("GET", "/api/v1/namespaces/shop/pods", {}, Attributes("list", "", "v1", "pods", "", "shop")),
        ("GET", "/api/v1/pods", {"watch": "1"}, Attributes("watch", "", "v1", "pods")),
        ("DELETE", "/api/v1/namespaces/shop/pods", {}, Attributes("deletecollection", "", "v1", "pods", "", "shop")),
        ("POST", "/api/v1/namespaces/shop/pods/a/eviction", {}, Attributes("create", "", "v1", "pods", "eviction", "shop", "a")),
        ("GET", "/api/v1/namespaces/shop", {}, Attributes("get", "", "v1", "namespaces", "", "shop", "shop")),
        ("PUT", "/api/v1/namespaces/shop/finalize", {}, Attributes("update", "", "v1", "namespaces", "finalize", "shop", "shop")),
        ("PATCH", "/apis/apps/v1/namespaces/shop/deployments/web/scale", {}, Attributes("patch", "apps", "v1", "deployments", "scale", "shop", "web")),
        ("GET", "/api/v1/nodes/node-1/proxy/metrics/x", {}, Attributes("get", "", "v1", "nodes", "proxy", "", "node-1")),
        ("GET", "/apis/apps/v1", {}, Attributes("get", path="/apis/apps/v1")),
        ("POST", "/version", {}, Attributes("post", path="/version")),
    ],
)  # fmt: skip
def test_what_a_request_wants(method, path, query, expected) -> None:
    assert of_request(method, path, path.strip("/").split("/"), query) == expected


def test_a_list_of_one_name_is_about_that_object() -> None:
    query = {"fieldSelector": "metadata.name=key"}
    found = of_request("GET", "", ["api", "v1", "namespaces", "shop", "secrets"], query)
    assert (found.verb, found.name) == ("list", "key")
    assert Grants([rule("list: secrets =key")]).allow(found)


def test_an_agent_writes_of_nodes_and_pods_what_it_uses_only() -> None:
    agents = next(r for r in ours.cluster_roles() if r["metadata"]["name"] == "netloom:agents")
    grants = Grants(rules_of(agents))
    things = [("nodes", ""), ("nodes", "status"), ("pods", ""), ("pods", "status")]
    may = [
        (verb, resource, part)
        for verb in ("create", "delete", "patch", "update")
        for resource, part in things
        if grants.allow(Attributes(verb, resource=resource, subresource=part, name="x"))
    ]
    assert may == [("patch", "nodes", ""), ("patch", "pods", "status")]


def words(count: int) -> list[str]:
    return [f"w{number}" for number in range(count)]


@pytest.mark.parametrize(
    ("rules", "fields"),
    [
        ([{"verbs": words(400), "apiGroups": words(400), "resources": words(400)}], ["rules[0]", "rules"]),
        ([{"verbs": words(101), "nonResourceURLs": words(100)}], ["rules[0]"]),
        (
            [{"verbs": ["get"], "apiGroups": words(11), "resources": words(10), "resourceNames": words(100)}],
            ["rules[0]"],
        ),
        ([{"verbs": words(100), "apiGroups": [""], "resources": words(100)}] * 10, []),
        ([{"verbs": words(100), "apiGroups": [""], "resources": words(100)}] * 11, ["rules"]),
    ],
)
def test_words_of_rules_do_not_multiply_without_end(rules, fields) -> None:
    assert [error.field for error in validate_roles.cluster_role({"rules": rules})] == fields
