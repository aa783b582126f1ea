"""Rules for webhook configurations and admission policies. Pure.

Comes in: a document with defaults. Goes out: FieldErrors. Not here: calling anybody: these kinds are kept, and nothing more.
Source: API reference of admissionregistration.k8s.io/v1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from netloom.local.apiserver import validate_names as names
from netloom.local.apiserver.fielderrors import duplicate, forbidden, invalid, items, mapping, required
from netloom.local.apiserver.validate_names import Errors

_OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
_FAILURES = ("Fail", "Ignore")
_MATCHES = ("Equivalent", "Exact")
_SCOPES = ("*", "Cluster", "Namespaced")
_REVIEWS = ("v1", "v1beta1")
_LONGEST_S = 30

Document = Mapping[str, Any]


def webhooks(document: Document) -> Errors:
    """A MutatingWebhookConfiguration or ValidatingWebhookConfiguration."""
    seen: set[object] = set()
    for number, item in enumerate(items(document.get("webhooks"))):
        hook, path = mapping(item), f"webhooks[{number}]"
        yield from names.named(f"{path}.name", hook.get("name"), _full_name)
        if hook.get("name") in seen:
            yield duplicate(f"{path}.name", hook["name"])
        seen.add(hook.get("name"))
        yield from _hook(path, hook)


def _full_name(text: str) -> str:
    if problem := names.subdomain_problem(text):
        return problem
    return "" if text.count(".") >= 2 else "should be a domain with at least three segments separated by dots"


def _hook(path: str, hook: Document) -> Errors:
    yield from names.one_of(f"{path}.failurePolicy", hook.get("failurePolicy"), _FAILURES)
    yield from names.one_of(f"{path}.matchPolicy", hook.get("matchPolicy"), _MATCHES)
    effects = ("None", "NoneOnDryRun")
    yield from names.one_of(f"{path}.sideEffects", hook.get("sideEffects"), effects, needed=True)
    policies = ("IfNeeded", "Never")
    yield from names.one_of(f"{path}.reinvocationPolicy", hook.get("reinvocationPolicy"), policies)
    seconds = hook.get("timeoutSeconds")
    if isinstance(seconds, int) and not 1 <= seconds <= _LONGEST_S:
        yield invalid(f"{path}.timeoutSeconds", seconds, "the timeout value must be between 1 and 30 seconds")
    versions = items(hook.get("admissionReviewVersions"))
    if not versions:
        yield required(f"{path}.admissionReviewVersions", f"must specify one of {', '.join(_REVIEWS)}")
    elif not set(_REVIEWS) & set(versions):
        why = f"must include at least one of {', '.join(_REVIEWS)}"
        yield invalid(f"{path}.admissionReviewVersions", versions, why)
    yield from _rules(f"{path}.rules", hook.get("rules"))
    yield from _selectors(path, hook)
    yield from _client(f"{path}.clientConfig", mapping(hook.get("clientConfig")))


def _selectors(path: str, found: Document) -> Errors:
    for field in ("namespaceSelector", "objectSelector"):
        yield from names.label_selector(f"{path}.{field}", found.get(field))


def _client(path: str, client: Document) -> Errors:
    url, service = client.get("url"), client.get("service")
    if (url is None) is (service is None):
        yield required(path, "exactly one of url or service is required")
    if url is not None and not str(url).startswith("https://"):
        yield invalid(f"{path}.url", url, "'https' is the only allowed URL scheme")
    if service is not None:
        for field in ("name", "namespace"):
            if not mapping(service).get(field):
                yield required(f"{path}.service.{field}", f"service {field} is required")
        yield from names.port(f"{path}.service.port", mapping(service).get("port"))


def _rules(path: str, rules: object) -> Errors:
    for number, item in enumerate(items(rules)):
        rule, here = mapping(item), f"{path}[{number}]"
        for field in ("apiGroups", "apiVersions", "operations", "resources"):
            found = items(rule.get(field))
            if not found:
                yield required(f"{here}.{field}")
            elif "*" in found and len(found) > 1 and field != "resources":
                yield invalid(f"{here}.{field}", found, "if '*' is present, must not specify others")
        for position, word in enumerate(items(rule.get("operations"))):
            yield from names.one_of(f"{here}.operations[{position}]", word, _OPERATIONS, needed=True)
        yield from names.one_of(f"{here}.scope", rule.get("scope"), _SCOPES)


def admission_policy(document: Document) -> Errors:
    """A ValidatingAdmissionPolicy."""
    spec = mapping(document.get("spec"))
    yield from names.one_of("spec.failurePolicy", spec.get("failurePolicy"), _FAILURES)
    if not spec.get("validations") and not spec.get("auditAnnotations"):
        why = "validations or auditAnnotations must contain at least one item"
        yield required("spec.validations", why)
    for number, item in enumerate(items(spec.get("validations"))):
        if not str(mapping(item).get("expression") or "").strip():
            yield required(f"spec.validations[{number}].expression", "expression is not specified")
    yield from _match_constraints(spec)


def mutating_admission_policy(document: Document) -> Errors:
    """A MutatingAdmissionPolicy."""
    spec = mapping(document.get("spec"))
    yield from names.one_of("spec.failurePolicy", spec.get("failurePolicy"), _FAILURES)
    policies = ("IfNeeded", "Never")
    yield from names.one_of("spec.reinvocationPolicy", spec.get("reinvocationPolicy"), policies, needed=True)
    if not spec.get("mutations"):
        yield required("spec.mutations", "mutations must contain at least one item")
    for number, item in enumerate(items(spec.get("mutations"))):
        path, words = f"spec.mutations[{number}]", ("ApplyConfiguration", "JSONPatch")
        yield from names.one_of(f"{path}.patchType", mapping(item).get("patchType"), words, needed=True)
    yield from _match_constraints(spec)


def mutating_admission_policy_binding(document: Document) -> Errors:
    """A MutatingAdmissionPolicyBinding."""
    spec = mapping(document.get("spec"))
    yield from names.named("spec.policyName", spec.get("policyName"), names.subdomain_problem)
    yield from _match_resources("spec.matchResources", mapping(spec.get("matchResources")))


def _match_constraints(spec: Document) -> Errors:
    if spec.get("matchConstraints") is None:
        yield required("spec.matchConstraints")
    else:
        constraints = mapping(spec["matchConstraints"])
        if not constraints.get("resourceRules"):
            yield required("spec.matchConstraints.resourceRules")
        yield from _match_resources("spec.matchConstraints", constraints)


def admission_policy_binding(document: Document) -> Errors:
    """A ValidatingAdmissionPolicyBinding."""
    spec = mapping(document.get("spec"))
    yield from names.named("spec.policyName", spec.get("policyName"), names.subdomain_problem)
    actions = items(spec.get("validationActions"))
    if not actions:
        yield required("spec.validationActions", "must contain at least one element")
    for number, action in enumerate(actions):
        words = ("Audit", "Deny", "Warn")
        yield from names.one_of(f"spec.validationActions[{number}]", action, words, needed=True)
    if {"Deny", "Warn"} <= set(actions):
        yield forbidden("spec.validationActions", "must not contain both Deny and Warn")
    yield from _match_resources("spec.matchResources", mapping(spec.get("matchResources")))


def _match_resources(path: str, found: Document) -> Errors:
    yield from names.one_of(f"{path}.matchPolicy", found.get("matchPolicy"), _MATCHES)
    yield from _selectors(path, found)
    for field in ("resourceRules", "excludeResourceRules"):
        yield from _rules(f"{path}.{field}", found.get(field))
