"""What it costs to ask whether a request may be answered: a decision from compiled roles, and the first one of a user. No cluster.

A store with the roles that every cluster has, and 500 users with a binding each.
"""

from __future__ import annotations

import timeit

from tests.bench import rooms
from tests.bench.report import Row

from netloom.local.apiserver import kinds
from netloom.local.apiserver.access import ours, policy
from netloom.local.apiserver.access.aggregation import settle
from netloom.local.apiserver.access.attributes import Attributes
from netloom.local.apiserver.access.authorizer import Authorizer
from netloom.local.apiserver.access.identity import authenticated
from netloom.local.apiserver.access.written import cluster_binding
from netloom.local.apiserver.store import Store

_TARGET_US = 20.0
_USER = authenticated("user-7", ())
_ASKED = {
    "allowed": Attributes("patch", "apps", "v1", "deployments", "", "shop", "web"),
    "refused": Attributes("delete", "", "v1", "nodes", "", "", "node-1"),
}


def run() -> list[Row]:
    """The rows."""
    users, times = rooms.either(500, 20), rooms.either(20_000, 100)
    authorizer = Authorizer(_store(users))
    rows = []
    for what, wanted in _ASKED.items():
        authorizer.allow(_USER, wanted)
        took = timeit.timeit(lambda wanted=wanted: authorizer.allow(_USER, wanted), number=times) / times
        rows.append(_row(f"{users} users: a request that is {what}", took, _TARGET_US))
    names = [authenticated(f"user-{number}", ()) for number in range(users)]
    began = timeit.timeit(lambda: [authorizer.allow(one, _ASKED["allowed"]) for one in names], number=1)
    rows.append(_row(f"{users} users: the first request of each", began / users, None))
    return rows


def _row(what: str, seconds: float, most: float | None) -> Row:
    return Row(bench="rights", what=what, ours=round(seconds * 1e6, 1), unit="µs", most=most)


def _store(users: int) -> Store:
    store = Store(":memory:")
    roles = policy.cluster_roles() + ours.cluster_roles()
    settle(roles)
    for role in roles:
        store.put(kinds.CLUSTER_ROLES, role)
    for binding in policy.cluster_bindings() + ours.cluster_bindings():
        store.put(kinds.CLUSTER_ROLE_BINDINGS, binding)
    for number in range(users):
        given = cluster_binding(f"binding-{number}", f"user:user-{number}", role_name="edit")
        store.put(kinds.CLUSTER_ROLE_BINDINGS, given)
    return store
