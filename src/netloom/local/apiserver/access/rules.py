"""Rules of roles, compiled: may this verb be used on that resource, and does a set of rules hold another? Pure.

Comes in: ``rules`` of Roles and ClusterRoles. Goes out: Grants, which answer in a few dictionary lookups whatever the number of
rules. Source: rbac.authorization.k8s.io/v1 PolicyRule: verbs, groups and resources are words or ``*``, ``*/scale`` is that
subresource of every resource, a URL may end in ``*``; resourceNames limit a rule to objects of these names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import Any

import msgspec

from netloom.local.apiserver.access.attributes import Attributes

ALL = "*"


class Rule(msgspec.Struct, frozen=True, rename={"non_resource_urls": "nonResourceURLs", "api_groups": "apiGroups", "resource_names": "resourceNames"}):  # fmt: skip
    """One entry of ``rules``."""

    verbs: tuple[str, ...] = ()
    api_groups: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    resource_names: tuple[str, ...] = ()
    non_resource_urls: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """As it stands in a role; empty lists are left out, verbs never."""
        found = {
            "verbs": list(self.verbs),
            "apiGroups": list(self.api_groups),
            "resources": list(self.resources),
            "resourceNames": list(self.resource_names),
            "nonResourceURLs": list(self.non_resource_urls),
        }
        return {name: values for name, values in found.items() if values or name == "verbs"}


def rules_of(document: Mapping[str, Any]) -> tuple[Rule, ...]:
    """The rules of a stored role; what does not have their shape grants nothing."""
    found = []
    for entry in document.get("rules") or ():
        try:
            found.append(msgspec.convert(entry, Rule))
        except msgspec.ValidationError:
            continue
    return tuple(found)


class Grants:
    """What a set of rules allows. Rules are only ever added: roles allow and never forbid."""

    __slots__ = ("_by_name", "_everything", "_named", "_paths", "_prefixes")

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self._everything: set[tuple[str, str, str]] = set()
        self._named: dict[tuple[str, str, str], set[str]] = {}
        self._paths: set[tuple[str, str]] = set()
        self._prefixes: list[tuple[str, str]] = []
        self._by_name = False
        for rule in rules:
            self._add(rule)

    def _add(self, rule: Rule) -> None:
        keys = product(rule.verbs, rule.api_groups, rule.resources)
        if rule.resource_names:
            for key in keys:
                self._named.setdefault(key, set()).update(rule.resource_names)
        else:
            self._everything.update(keys)
        for verb, url in product(rule.verbs, rule.non_resource_urls):
            if url.endswith(ALL):
                self._prefixes.append((verb, url.removesuffix(ALL)))
            else:
                self._paths.add((verb, url))
        self._by_name = bool(self._named)

    def allow(self, wanted: Attributes) -> bool:
        """Some rule covers the request."""
        if wanted.path:
            return self._allow_path(wanted.verb, wanted.path)
        if not self._everything and not self._by_name:
            return False
        for key in _keys(wanted):
            if key in self._everything:
                return True
            if self._by_name and wanted.name and wanted.name in self._named.get(key, ()):
                return True
        return False

    def _allow_path(self, verb: str, path: str) -> bool:
        for word in (verb, ALL):
            if (word, path) in self._paths or any(
                word == allowed and path.startswith(start) for allowed, start in self._prefixes
            ):
                return True
        return False

    def covers(self, rule: Rule) -> bool:
        """Whoever has these grants already has all that the rule would give."""
        return not any(True for _ in self.missing(rule))

    def missing(self, rule: Rule) -> Iterator[Rule]:
        """The single permissions of the rule that are not held; what is written with ``*`` is held only by ``*``."""
        names = rule.resource_names or ("",)
        for verb, group, resource, name in product(rule.verbs, rule.api_groups, rule.resources, names):
            if not self._holds(verb, group, resource, name):
                yield Rule((verb,), (group,), (resource,), (name,) if name else ())
        for verb, url in product(rule.verbs, rule.non_resource_urls):
            if not self._holds_url(verb, url):
                yield Rule((verb,), non_resource_urls=(url,))

    def _holds(self, verb: str, group: str, resource: str, name: str) -> bool:
        for key in product(_or_all(verb), _or_all(group), _wider(resource)):
            if key in self._everything or (name and name in self._named.get(key, ())):
                return True
        return False

    def _holds_url(self, verb: str, url: str) -> bool:
        if url.endswith(ALL):
            wanted = url.removesuffix(ALL)
            return any(
                allowed in (verb, ALL) and wanted.startswith(start) for allowed, start in self._prefixes
            )
        return self._allow_path(verb, url)


def _or_all(word: str) -> tuple[str, ...]:
    return (ALL,) if word == ALL else (word, ALL)


def _wider(resource: str) -> tuple[str, ...]:
    """The resource as it is said, and the words that hold it."""
    if resource == ALL:
        return (ALL,)
    part = resource.partition("/")[2]
    return (resource, f"{ALL}/{part}", ALL) if part else (resource, ALL)


def _keys(wanted: Attributes) -> Iterator[tuple[str, str, str]]:
    resources = _wider(wanted.kind_of_thing)
    for verb in (wanted.verb, ALL):
        for group in (wanted.group, ALL):
            for resource in resources:
                yield verb, group, resource
