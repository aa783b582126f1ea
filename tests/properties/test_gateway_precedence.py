"""Who has a request, twice: by the plan, and by the specification's criteria applied to the documents one after the other."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from netloom.model.gateways.build import compute
from netloom.model.gateways.matching import Request, decide
from netloom.testing import gateway_objects as g

LISTENERS = ("", "*.example.org", "a.example.org", "*.b.example.org")
HOSTNAMES = (
    "a.example.org",
    "b.example.org",
    "x.b.example.org",
    "*.example.org",
    "*.b.example.org",
    "*.org",
    "example.net",
)
ASKED = (*(name.replace("*", "y.z") for name in HOSTNAMES), "example.org")
PATHS = ("/", "/a", "/a/", "/a/b", "/ab", "/b")
PATTERNS = ("/a.*", "/.", "/a/b")

matches = st.fixed_dictionaries(
    {
        "path": st.one_of(
            st.builds(
                lambda kind, value: {"type": kind, "value": value},
                st.sampled_from(("Exact", "PathPrefix", "PathPrefix")),
                st.sampled_from(PATHS),
            ),
            st.builds(lambda value: {"type": "RegularExpression", "value": value}, st.sampled_from(PATTERNS)),
        )
    },
    optional={
        "method": st.sampled_from(("GET", "POST")),
        "headers": st.lists(st.sampled_from(("x", "y")), max_size=2, unique=True).map(
            lambda names: [{"name": name, "value": "1"} for name in names]
        ),
        "queryParams": st.lists(st.sampled_from(("p", "q")), max_size=2, unique=True).map(
            lambda names: [{"name": name, "value": "1"} for name in names]
        ),
    },
)
documents = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.sampled_from(("shop/a", "shop/b", "shop-x/a", "web/a")),
            "created": st.sampled_from(("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z")),
            "hosts": st.lists(st.sampled_from(HOSTNAMES), max_size=2, unique=True),
            "rules": st.lists(st.lists(matches, max_size=2), min_size=1, max_size=2),
        }
    ),
    max_size=5,
    unique_by=lambda one: one["name"],
)
requests = st.builds(
    Request,
    host=st.sampled_from(ASKED),
    path=st.sampled_from((*PATHS, "/a/b/c", "/c")),
    method=st.sampled_from(("GET", "POST")),
    headers=st.lists(st.sampled_from(("x", "Y")), max_size=2, unique=True).map(
        lambda names: tuple((n, "1") for n in names)
    ),
    query=st.sampled_from(("", "p=1", "p=1&q=1", "q=2")),
)


def means(pattern, host):
    """A match for *.example.com would match both test.example.com and foo.test.example.com, but not example.com."""
    return not pattern or host == pattern or (pattern.startswith("*") and host.endswith(pattern[1:]))


def holds(match, request):
    path, value = match["path"]["type"], match["path"]["value"]
    given_headers = {name.lower() for name, _ in request.headers}
    given_params = dict(pair.split("=") for pair in request.query.split("&") if pair)
    is_path = {
        "Exact": lambda: request.path == value,
        "PathPrefix": lambda: (request.path.rstrip("/") + "/").startswith(value.rstrip("/") + "/"),
        "RegularExpression": lambda: re.fullmatch(value, request.path) is not None,
    }
    return (
        is_path[path]()
        and match.get("method", request.method) == request.method
        and all(one["name"] in given_headers for one in match.get("headers", ()))
        and all(given_params.get(one["name"]) == "1" for one in match.get("queryParams", ()))
    )


def by_the_book(listeners, routes, request):
    """Every match of every route at the listener, filtered and ranked as the specification words it; the winner's rule."""
    candidates = [name for name in listeners if means(name, request.host)]
    if not candidates:
        return None
    # Exact matches before wildcards, wildcards with more dots before others, before the empty hostname.
    listener = min(candidates, key=lambda name: (name.startswith("*"), not name, -name.count(".")))
    found = []
    for route in routes:
        # Hostnames of the route that do not match the listener's are ignored; so is what only one of the two means.
        said = [name for name in route["hosts"] or [""] if means(name, request.host)]
        for name in said:
            length = len(name)
            for index, rule in enumerate(route["rules"]):
                for place, match in enumerate(rule or [{"path": {"type": "PathPrefix", "value": "/"}}]):
                    if holds(match, request):
                        kind, value = match["path"]["type"], match["path"]["value"]
                        characters = len(value.rstrip("/") or "/") if kind == "PathPrefix" else len(value)
                        rank = (
                            0 if name.startswith("*") else -length,
                            -length,
                            ("Exact", "RegularExpression", "PathPrefix").index(kind),
                            -characters,
                            "method" not in match,
                            -len(match.get("headers", ())),
                            -len(match.get("queryParams", ())),
                            route["created"],
                            route["name"],
                            index,
                            place,
                        )
                        found.append((rank, f"HTTPRoute {route['name']} rule {index}"))
    return min(found)[1] if found and listener is not None else None


@given(
    st.lists(st.sampled_from(LISTENERS), min_size=1, max_size=4, unique=True),
    documents,
    st.lists(requests, min_size=1, max_size=8),
)
def test_the_plan_decides_as_the_specification_words_it(listeners, routes, asked):
    gateway = g.gateway(
        "infra/edge",
        *(g.listener(f"l{i}", **({"hostname": name} if name else {})) for i, name in enumerate(listeners)),
    )
    objects = [
        g.http_route(
            one["name"],
            *({"matches": rule, "backendRefs": [g.backend()]} for rule in one["rules"]),
            hosts=one["hosts"],
            created=one["created"],
        )
        for one in routes
    ]
    plan = compute(g.view_of(g.gateway_class(), gateway, *objects)).plan
    (door,) = plan.doors
    for request in asked:
        decision = decide(plan, door, request)
        expected = by_the_book(listeners, routes, request)
        assert (decision.rule.name if decision.rule else None) == expected
        assert decision.status == (404 if expected is None else 0)
