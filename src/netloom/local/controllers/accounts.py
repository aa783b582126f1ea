"""Service accounts and what they need: `default` and the ConfigMap `kube-root-ca.crt` in every namespace, tokens in Secrets that ask for one.

In: Namespaces, ServiceAccounts, ConfigMaps, Secrets. Out: what is missing is made, what was changed is put right; a Secret of type
``kubernetes.io/service-account-token`` gets token, authority and namespace, and goes with its account. Tokens of pods are not made
here: a node asks for them (apiserver/access/token_requests.py). Source: Kubernetes docs, "Managing Service Accounts".
"""

from __future__ import annotations

import base64
import contextlib
from typing import Any

import msgspec

from netloom.errors import AlreadyExists, NotFound
from netloom.kube.resources import CONFIG_MAPS, NAMESPACES, SECRETS, SERVICE_ACCOUNTS, Resource
from netloom.kube.status import Conflict, Denied
from netloom.local.apiserver.access.accounts import TOKEN_SECRET
from netloom.local.apiserver.access.identity import account_user
from netloom.local.apiserver.access.tokens import LEGACY_ISSUER, Keys
from netloom.local.controllers.informers import Informers
from netloom.local.controllers.objects import Loaded, Namespace
from netloom.local.controllers.workqueue import WorkQueue
from netloom.units import ObjectKey

DEFAULT = "default"
ROOT_CA = "kube-root-ca.crt"
NAME, UID = "kubernetes.io/service-account.name", "kubernetes.io/service-account.uid"
_CLAIM = "kubernetes.io/serviceaccount/"


class ServiceAccount(Loaded, frozen=True):
    """core/v1 ServiceAccount."""


class ConfigMap(Loaded, frozen=True):
    """core/v1 ConfigMap."""

    data: dict[str, str] = msgspec.field(default_factory=dict)


class Secret(Loaded, frozen=True):
    """core/v1 Secret; values are base64."""

    type: str = ""
    data: dict[str, str] = msgspec.field(default_factory=dict)


class FurnishLoop:
    """Keeps the account and the ConfigMap that every namespace has; one turn is :meth:`sync`."""

    def __init__(self, informers: Informers, *, ca_pem: bytes) -> None:
        self._client = informers.client
        self._data = {"ca.crt": ca_pem.decode("ascii")} if ca_pem else {}
        self._namespaces = informers.of(NAMESPACES, Namespace)
        self._accounts = informers.of(SERVICE_ACCOUNTS, ServiceAccount)
        self._config_maps = informers.of(CONFIG_MAPS, ConfigMap, field_selector=f"metadata.name={ROOT_CA}")
        self.queue: WorkQueue[ObjectKey] = WorkQueue("furnish", self.sync)
        self._namespaces.on_change(lambda _, new: self.queue.mark(new.key) if new is not None else None)
        self._accounts.on_change(lambda old, new: self._changed(old or new, DEFAULT))
        self._config_maps.on_change(lambda old, new: self._changed(old or new, ROOT_CA))

    async def sync(self, key: ObjectKey) -> float | None:
        """One turn for one namespace."""
        namespace = self._namespaces.get(key)
        if namespace is None or namespace.is_terminating:
            return None
        if self._accounts.get(ObjectKey(key.name, DEFAULT)) is None:
            await self._create(SERVICE_ACCOUNTS, _named(DEFAULT, key.name))
        if not self._data:
            return None
        place = ObjectKey(key.name, ROOT_CA)
        there = self._config_maps.get(place)
        if there is None:
            await self._create(CONFIG_MAPS, _named(ROOT_CA, key.name) | {"data": self._data})
        elif there.data != self._data:
            with contextlib.suppress(NotFound):
                dropped = dict.fromkeys(there.data)
                await self._client.patch(CONFIG_MAPS, place, {"data": dropped | self._data})
        return None

    async def _create(self, resource: Resource, body: dict[str, Any]) -> None:
        # Denied: the namespace is going
        with contextlib.suppress(AlreadyExists, NotFound, Denied):
            await self._client.create(
                resource, body | {"apiVersion": resource.api_version, "kind": resource.kind}
            )

    def _changed(self, one: ServiceAccount | ConfigMap | None, name: str) -> None:
        if one is not None and one.metadata.name == name:
            self.queue.mark(ObjectKey("", one.metadata.namespace))


class TokensLoop:
    """Fills Secrets that ask for the token of an account; one turn is :meth:`sync`."""

    def __init__(self, informers: Informers, *, keys: Keys, ca_pem: bytes) -> None:
        self._client = informers.client
        self._keys = keys
        self._ca = base64.b64encode(ca_pem).decode()
        self._accounts = informers.of(SERVICE_ACCOUNTS, ServiceAccount)
        self._secrets = informers.of(SECRETS, Secret, field_selector=f"type={TOKEN_SECRET}")
        self._by_account = self._secrets.index(_account_of)
        self.queue: WorkQueue[ObjectKey] = WorkQueue("tokens", self.sync)
        self._secrets.on_change(self._secret_changed)
        self._accounts.on_change(self._account_changed)

    async def sync(self, key: ObjectKey) -> float | None:
        """One turn for one Secret."""
        secret = self._secrets.get(key)
        if secret is None or secret.type != TOKEN_SECRET or secret.is_terminating:
            return None
        name = secret.metadata.annotations.get(NAME, "")
        account = self._accounts.get(ObjectKey(key.namespace, name))
        said = secret.metadata.annotations.get(UID, "")
        if account is None or (said and said != account.uid):
            with contextlib.suppress(NotFound, Conflict):
                await self._client.delete(SECRETS, key, preconditions_uid=secret.uid)
            return None
        wanted = {"ca.crt": self._ca, "namespace": base64.b64encode(key.namespace.encode()).decode()}
        missing = {k: v for k, v in wanted.items() if secret.data.get(k) != v}
        if not secret.data.get("token"):
            missing["token"] = base64.b64encode(self._token(key, account).encode()).decode()
        if missing or said != account.uid:
            body = {"metadata": {"annotations": {UID: account.uid}}, "data": missing}
            with contextlib.suppress(NotFound):
                await self._client.patch(SECRETS, key, body)
        return None

    def _token(self, key: ObjectKey, account: ServiceAccount) -> str:
        return self._keys.sign(
            {
                "iss": LEGACY_ISSUER,
                "sub": account_user(key.namespace, account.metadata.name),
                f"{_CLAIM}namespace": key.namespace,
                f"{_CLAIM}secret.name": key.name,
                f"{_CLAIM}service-account.name": account.metadata.name,
                f"{_CLAIM}service-account.uid": account.uid,
            }
        )

    def _secret_changed(self, _: Secret | None, new: Secret | None) -> None:
        if new is not None and new.type == TOKEN_SECRET:
            self.queue.mark(new.key)

    def _account_changed(self, old: ServiceAccount | None, new: ServiceAccount | None) -> None:
        one = new or old
        if one is not None:
            for key in self._by_account.get(one.key, ()):
                self.queue.mark(key)


def _account_of(secret: Secret) -> tuple[ObjectKey, ...]:
    if secret.type != TOKEN_SECRET:
        return ()
    return (ObjectKey(secret.metadata.namespace, secret.metadata.annotations.get(NAME, "")),)


def _named(name: str, namespace: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": namespace}}
