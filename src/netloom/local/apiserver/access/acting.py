"""Acting for somebody else: the headers ``Impersonate-*``.

Comes in: headers of a request, who asks, and what says whether they may. Goes out: whom the request is answered as. Source:
Kubernetes docs, "Authenticating: user impersonation".
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import unquote

from multidict import CIMultiDictProxy

from netloom.local.apiserver import status
from netloom.local.apiserver.access.attributes import Attributes
from netloom.local.apiserver.access.identity import (
    ANONYMOUS,
    UNAUTHENTICATED,
    Identity,
    account_groups,
    account_of,
    authenticated,
    extra_of,
)

_USER, _GROUP, _UID, _EXTRA = (
    "Impersonate-User",
    "Impersonate-Group",
    "Impersonate-Uid",
    "impersonate-extra-",
)
_AUTHENTICATION = "authentication.k8s.io"


def impersonated(
    headers: CIMultiDictProxy[str], identity: Identity, require: Callable[[Identity, Attributes], None]
) -> Identity:
    """Whom the request is to be answered as.

    Args:
        headers: of the request.
        identity: who asks.
        require: refuses where they may not.

    Raises:
        ApiError: 400, other headers without ``Impersonate-User``; 403.
    """
    user = headers.get(_USER, "")
    if not user and not _other(headers):
        return identity
    if not user:
        raise status.bad_request(f"{_GROUP}, {_UID} and Impersonate-Extra-* need {_USER}")
    groups = headers.getall(_GROUP, [])
    uid = headers.get(_UID, "")
    extra: dict[str, list[str]] = {}
    for name, value in headers.items():
        if name.lower().startswith(_EXTRA):
            extra.setdefault(unquote(name[len(_EXTRA) :]).lower(), []).append(value)
    account = account_of(user)
    if account is not None:
        require(
            identity,
            Attributes("impersonate", resource="serviceaccounts", namespace=account[0], name=account[1]),
        )
    else:
        require(identity, Attributes("impersonate", resource="users", name=user))
    for group in groups:
        require(identity, Attributes("impersonate", resource="groups", name=group))
    if uid:
        require(identity, Attributes("impersonate", _AUTHENTICATION, "v1", "uids", name=uid))
    for key, values in extra.items():
        for value in values:
            wanted = Attributes("impersonate", _AUTHENTICATION, "v1", "userextras", key, name=value)
            require(identity, wanted)
    if user == ANONYMOUS:
        return Identity(user, tuple(groups) or (UNAUTHENTICATED,), uid, extra_of(extra))
    if account is not None and not groups:
        groups = list(account_groups(account[0]))
    return authenticated(user, groups, uid=uid, extra=extra_of(extra))


def _other(headers: CIMultiDictProxy[str]) -> bool:
    return _GROUP in headers or _UID in headers or any(name.lower().startswith(_EXTRA) for name in headers)
