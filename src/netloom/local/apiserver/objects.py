"""Objects as the API treats them: read, create, update, apply. No HTTP here, and no waiting: each call is one step.

Comes in: checked documents (bodies.py) and options. Goes out: records, or an ApiError and no change. Not here: deletion
(deletion.py), the rules of each kind (defaults.py, validate.py, strategy.py, allocate.py), field ownership (apply.py).
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from typing import Any

import msgspec

from netloom.clock import Clock, rfc3339
from netloom.local.apiserver import (
    ages,
    apply,
    kinds,
    rules,
    service_updates,
    status,
    strategy,
)
from netloom.local.apiserver.admission.chain import Admission
from netloom.local.apiserver.allocate import ServiceAddresses
from netloom.local.apiserver.custom import versions
from netloom.local.apiserver.history import Record, record_of
from netloom.local.apiserver.kind import Kind
from netloom.local.apiserver.patch import BadPatch
from netloom.local.apiserver.queries import WriteOptions
from netloom.local.apiserver.status import Cause
from netloom.local.apiserver.store import Store

_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
"""No vowels and nothing that looks like another: generated names spell no words."""
_SUFFIX_LENGTH = 5
_GENERATE_ATTEMPTS = 8
_NAME_LIMIT = 63
_SERVER = WriteOptions(manager="kube-apiserver", validation="Ignore")
_DELETION_FINALIZERS = frozenset({"foregroundDeletion", "orphan"})


class Written(msgspec.Struct, frozen=True):
    """The object after a write, and what the client should be warned of."""

    record: Record
    warnings: tuple[str, ...] = ()
    created: bool = False


def random_suffix() -> str:
    """Five letters for ``metadata.generateName``."""
    return "".join(random.choices(_SUFFIX_LETTERS, k=_SUFFIX_LENGTH))  # noqa: S311 - a name, no secret


def random_uid() -> str:
    """A ``metadata.uid`` (RFC 4122, version 4)."""
    return str(uuid.uuid4())


class Objects:
    """All writes but deletions go through here."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        services: ServiceAddresses,
        admission: Admission | None = None,
        new_uid: Callable[[], str] = random_uid,
        new_suffix: Callable[[], str] = random_suffix,
    ) -> None:
        self.store = store
        self.clock = clock
        self._services = services
        self._admission = admission
        self._new_uid = new_uid
        self._new_suffix = new_suffix

    def now(self) -> str:
        """The time as objects carry it."""
        return rfc3339(self.clock.wall())

    def get(self, kind: Kind, namespace: str, name: str) -> Record:
        """The object of this name.

        Raises:
            ApiError: 404.
        """
        record = self.store.get(kind, namespace, name)
        if record is None:
            raise status.not_found(kind, name)
        return versions.seen_as(kind, record)

    def create(self, kind: Kind, namespace: str, document: dict[str, Any], options: WriteOptions) -> Written:
        """Store a new object.

        Raises:
            ApiError: 400, 403, 404 (its namespace), 409, 422.
            StorageError: it could not be written.
        """
        if document["metadata"].get("resourceVersion"):
            raise status.bad_request("resourceVersion should not be set on objects to be created")
        self._name(kind, namespace, document["metadata"])
        warnings = self._unknown_fields(kind, document, options)
        document["metadata"].pop("managedFields", None)
        return self._insert(kind, namespace, document, options, warnings, tracked=False)

    def _insert(
        self,
        kind: Kind,
        namespace: str,
        document: dict[str, Any],
        options: WriteOptions,
        warnings: tuple[str, ...],
        *,
        tracked: bool,
    ) -> Written:
        metadata = document["metadata"]
        name = metadata["name"]
        self._admit(kind, namespace, name)
        for field in ("selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"):
            metadata.pop(field, None)
        strategy.strip_for_create(kind, document)
        self._typed(kind, document)
        document = rules.complete(kind, document)
        if kind is kinds.INGRESSES:
            classes = (record.document() for record in self.store.scan(kinds.INGRESS_CLASSES))
            strategy.fill_ingress_class(document, classes)
        self._validate(kind, name, document, None)
        if self.store.get(kind, namespace, name) is not None:
            raise status.already_exists(kind, name)
        now = self.now()
        if not tracked:
            document = apply.track_update(
                kind.gvk, None, document, options.manager, "Update", "", now, node=rules.node_of(kind)
            )
        if self._admission is not None:
            self._admission.creating(kind, document, options.user, by_apply=tracked)
        document["metadata"]["uid"] = self._new_uid()
        document["metadata"]["creationTimestamp"] = now
        strategy.fill_for_create(kind, document)
        self._allocate(kind, name, document, None)
        if options.dry_run:
            return Written(record_of(kind, document, self.store.revision), warnings, created=True)
        written = Written(self._keep(kind, document), warnings, created=True)
        if kind is kinds.NAMESPACES:
            self._furnish(name)
        return written

    def _furnish(self, namespace: str) -> None:
        """What every namespace has, before anybody can use it; a controller sees to it that it stays."""
        for kind, body in self._admission.furniture if self._admission is not None else ():
            if self.store.get(kind, namespace, body["metadata"]["name"]) is None:
                document = {"apiVersion": kind.api_version, "kind": kind.kind, **body}
                document["metadata"] = dict(body["metadata"])
                self.create(kind, namespace, document, _SERVER)

    def update(
        self,
        live: Record,
        document: dict[str, Any],
        options: WriteOptions,
        *,
        subresource: str = "",
    ) -> Written:
        """Replace an object, or the part of it that the subresource is.

        Raises:
            ApiError: 400, 409 (someone else was faster), 422.
            StorageError: it could not be written.
        """
        kind = live.kind
        self._match(live, document["metadata"])
        warnings = self._unknown_fields(kind, document, options)
        old = live.document()
        new = strategy.restrict(kind, subresource, old, document)
        return self._replace(live, old, new, options, warnings, subresource=subresource)

    def apply(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        document: dict[str, Any],
        options: WriteOptions,
        *,
        subresource: str = "",
    ) -> Written:
        """Server-side apply: the fields of the document become this manager's, the rest stays.

        Raises:
            ApiError: 409 where other managers own a field and ``force`` is not set; else as update.
            StorageError: it could not be written.
        """
        document = rules.applied(kind, document)
        warnings = self._unknown_fields(kind, document, options)
        live = self.store.get(kind, namespace, name)
        live = live and versions.seen_as(kind, live)
        if live is None and subresource:
            raise status.not_found(kind, name)
        if live is not None:
            self._match(live, document["metadata"])
        elif document["metadata"].get("uid") or document["metadata"].get("resourceVersion"):
            raise status.conflict(kind, name, "the object to apply to does not exist")
        old = live.document() if live is not None else None
        try:
            merged = apply.apply(
                kind.gvk,
                old,
                document,
                options.manager,
                options.force,
                self.now(),
                subresource,
                node=rules.node_of(kind),
                has_status=kind.has_status or not rules.is_defined(kind),
            )
        except apply.ApplyConflict as conflict:
            raise status.apply_conflict(str(conflict), conflict.causes) from conflict
        except BadPatch as bad:
            raise status.ApiError(bad.code, "BadRequest", str(bad)) from bad
        if live is None or old is None:
            merged["metadata"]["name"] = name
            if namespace:
                merged["metadata"]["namespace"] = namespace
            return self._insert(kind, namespace, merged, options, warnings, tracked=True)
        new = strategy.restrict(kind, subresource, old, merged)
        return self._replace(live, old, new, options, warnings, subresource=subresource, tracked=True)

    def rewrite(self, live: Record, document: dict[str, Any]) -> Record:
        """Store a change that the server itself makes (owners, finalizers, deletion); removes what is finished.

        Raises:
            StorageError: it could not be written.
        """
        if strategy.is_finished(live.kind, document):
            return self._keep(live.kind, document, finished=True)
        return self._keep(live.kind, document)

    def _keep(self, kind: Kind, document: dict[str, Any], *, finished: bool = False) -> Record:
        """Write to the store, in the version that is kept; the record is in the version that was written."""
        kept, document = versions.to_store(kind, document)
        record = self.store.remove(kept, document) if finished else self.store.put(kept, document)
        return versions.seen_as(kind, record)

    def _replace(  # noqa: PLR0913 - both documents, and how the request was made
        self,
        live: Record,
        old: dict[str, Any],
        new: dict[str, Any],
        options: WriteOptions,
        warnings: tuple[str, ...],
        *,
        subresource: str,
        tracked: bool = False,
    ) -> Written:
        kind = live.kind
        self._typed(kind, new)
        if kind is kinds.SERVICES and not subresource:
            new = service_updates.settled(new, old)
        new = rules.complete(kind, new)
        self._check_metadata(live, old, new)
        self._validate(kind, live.name, new, old)
        if self._admission is not None:
            self._admission.updating(kind, new, old, options.user)
        if not tracked:
            new = apply.track_update(
                kind.gvk,
                old,
                new,
                options.manager,
                "Update",
                subresource,
                self.now(),
                node=rules.node_of(kind),
            )
        if not subresource:
            self._allocate(kind, live.name, new, old)
        new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
        if strategy.changes_generation(kind, new, old):
            new["metadata"]["generation"] = int(old["metadata"].get("generation", 0)) + 1
        finished = strategy.is_finished(kind, new)
        if not finished and _same(new, old):
            return Written(live, warnings)
        if options.dry_run:
            return Written(record_of(kind, new, live.revision), warnings)
        return Written(self._keep(kind, new, finished=finished), warnings)

    def _name(self, kind: Kind, namespace: str, metadata: dict[str, Any]) -> None:
        if namespace:
            metadata["namespace"] = namespace
        else:
            metadata.pop("namespace", None)
        if metadata.get("name"):
            return
        prefix = metadata.get("generateName", "")
        if not prefix:
            problem = "Required value: name or generateName is required"
            raise status.invalid_object(kind, "", [Cause("FieldValueRequired", problem, "metadata.name")])
        for _ in range(_GENERATE_ATTEMPTS):
            name = prefix[: _NAME_LIMIT - _SUFFIX_LENGTH] + self._new_suffix()
            if self.store.get(kind, namespace, name) is None:
                break
        metadata["name"] = name

    def _admit(self, kind: Kind, namespace: str, name: str) -> None:
        """New objects need a namespace that is there and stays (admission plugin NamespaceLifecycle)."""
        if rules.is_terminating(kind):
            raise status.method_not_allowed(
                "create not allowed while custom resource definition is terminating"
            )
        if not kind.namespaced:
            return
        record = self.store.get(kinds.NAMESPACES, "", namespace)
        if record is None:
            raise status.not_found(kinds.NAMESPACES, namespace)
        if record.deleting:
            cause = Cause(
                "NamespaceTerminating", f"namespace {namespace} is being terminated", "metadata.namespace"
            )
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            raise status.forbidden(kind, name, why, [cause])

    @staticmethod
    def _match(live: Record, metadata: dict[str, Any]) -> None:
        uid, version = metadata.get("uid"), metadata.get("resourceVersion")
        if uid and uid != live.uid:
            why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {live.uid}"
            raise status.conflict(live.kind, live.name, why)
        if version and version not in {"0", str(live.revision)}:
            raise status.modified(live.kind, live.name)

    @staticmethod
    def _unknown_fields(kind: Kind, document: dict[str, Any], options: WriteOptions) -> tuple[str, ...]:
        if options.validation == "Ignore":
            return ()
        unknown = tuple(f'unknown field "{path}"' for path in rules.unknown_fields(kind, document))
        if unknown and options.validation == "Strict":
            raise status.bad_request(
                f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: '
                f"strict decoding error: {', '.join(unknown)}"
            )
        return unknown

    @staticmethod
    def _typed(kind: Kind, document: dict[str, Any]) -> None:
        errors = rules.type_errors(kind, document)
        if errors:
            raise status.bad_request(
                f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: '
                + "; ".join(e.text for e in errors)
            )

    @staticmethod
    def _validate(kind: Kind, name: str, new: dict[str, Any], old: dict[str, Any] | None) -> None:
        errors = rules.errors(kind, new, old)
        if errors:
            raise status.invalid_object(kind, name, [e.cause for e in errors])

    @staticmethod
    def _check_metadata(live: Record, old: dict[str, Any], new: dict[str, Any]) -> None:
        before, after = old["metadata"], new["metadata"]
        causes: list[Cause] = []
        if not ages.is_same_moment(after.get("creationTimestamp"), before.get("creationTimestamp")):
            problem = f"Invalid value: {msgspec.json.encode(after.get('creationTimestamp')).decode()}: field is immutable"
            causes = [Cause("FieldValueInvalid", problem, "metadata.creationTimestamp")]
        after["creationTimestamp"] = before.get("creationTimestamp")
        added = (
            set(after.get("finalizers") or ()) - set(before.get("finalizers") or ()) - _DELETION_FINALIZERS
        )
        if live.deleting and added:
            why = "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers "
            causes.append(Cause("FieldValueForbidden", why + ", ".join(sorted(added)), "metadata.finalizers"))
        if causes:
            raise status.invalid_object(live.kind, live.name, causes)

    def _allocate(self, kind: Kind, name: str, new: dict[str, Any], old: dict[str, Any] | None) -> None:
        if kind is kinds.SERVICES:
            causes = self._services.complete(new, old)
            if causes:
                raise status.invalid_object(kind, name, causes)


def _same(new: dict[str, Any], old: dict[str, Any]) -> bool:
    """Nothing changed but the time at which someone wrote the same again."""
    if new == old:
        return True
    return _without_times(new) == _without_times(old)


def _without_times(document: dict[str, Any]) -> dict[str, Any]:
    metadata = dict(document["metadata"])
    metadata["managedFields"] = [
        {k: v for k, v in entry.items() if k != "time"} for entry in metadata.get("managedFields") or ()
    ]
    return {**document, "metadata": metadata}
