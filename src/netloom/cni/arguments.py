"""CNI_ARGS, read. Pure. In: ``NAME=value;NAME=value``. Out: :class:`Arguments`, or a :class:`CniError` that names CNI_ARGS.

Names that have a meaning here are those of the conventions (``IP``, ``MAC``, ``IgnoreUnknown``) and of Kubernetes' runtimes
(``K8S_POD_*``). Others are passed over where ``IgnoreUnknown`` is true and refused where it is not, as the reference plugins do:
a word that nobody knows is mostly one that is spelt wrong. Not here: what an address or a MAC may be (``capabilities``).
"""

from __future__ import annotations

import msgspec

from netloom.cni.codes import CniError, Code

_TRUE = frozenset({"1", "t", "T", "true", "True", "TRUE"})
_FALSE = frozenset({"0", "f", "F", "false", "False", "FALSE"})
_KNOWN = frozenset(
    {
        "IgnoreUnknown",
        "IP",
        "MAC",
        "K8S_POD_NAME",
        "K8S_POD_NAMESPACE",
        "K8S_POD_UID",
        "K8S_POD_INFRA_CONTAINER_ID",
    }
)


class Arguments(msgspec.Struct, frozen=True):
    """What CNI_ARGS says. Texts as they came; empty where there is nothing."""

    pod_name: str = ""
    pod_namespace: str = ""
    pod_uid: str = ""
    ips: tuple[str, ...] = ()
    mac: str = ""
    unknown: tuple[str, ...] = ()
    """Names that were passed over."""

    @property
    def pod(self) -> str:
        """The Kubernetes pod, as namespace/name; empty where the runtime names none (podman gives a name only)."""
        return f"{self.pod_namespace}/{self.pod_name}" if self.pod_namespace and self.pod_name else ""

    @property
    def note(self) -> str:
        """What people may call the container."""
        return self.pod or self.pod_name


def read(text: str, *, strict: bool) -> Arguments:
    """Read CNI_ARGS.

    Args:
        text: the variable.
        strict: False reads what can be read and refuses nothing: DEL must not fail because of what ADD refused.

    Raises:
        CniError: code 4.
    """
    values: dict[str, str] = {}
    for pair in text.split(";") if text else ():
        name, equals, value = pair.partition("=")
        if not pair.strip():
            continue  # a semicolon at the end
        if strict and (not equals or not name):
            raise _wrong(f"{pair[:80]!r} is no NAME=value", "separate pairs by ';'")
        values[name] = value
    unknown = tuple(sorted(values.keys() - _KNOWN))
    ignore = values.get("IgnoreUnknown", "0")
    if strict and ignore not in _TRUE | _FALSE:
        raise _wrong(f"IgnoreUnknown={ignore[:80]!r} is neither true nor false", "write 1 or 0")
    if strict and unknown and ignore not in _TRUE:
        raise _wrong(
            f"{', '.join(unknown)[:200]} is not known here",
            "leave it out, or add IgnoreUnknown=1 to pass it over",
        )
    return Arguments(
        pod_name=values.get("K8S_POD_NAME", ""),
        pod_namespace=values.get("K8S_POD_NAMESPACE", ""),
        pod_uid=values.get("K8S_POD_UID", ""),
        ips=tuple(ip.strip() for ip in values.get("IP", "").split(",") if ip.strip()),
        mac=values.get("MAC", ""),
        unknown=unknown,
    )


def _wrong(problem: str, hint: str) -> CniError:
    return CniError(Code.INVALID_ENVIRONMENT, f"CNI_ARGS: {problem}", hint)
