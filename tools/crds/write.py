"""Writes the CustomResourceDefinitions of the gateways' kinds, and what the API server of `netloom up` reads of them.

    uv run python tools/crds/write.py

Goes out: deploy/crds/gateway/*.yaml, deploy/crds/trafficpolicies.yaml, src/netloom/local/apiserver/definitions.json. Both say the same,
for both are written from the same tables; a test holds them to that.
"""

from __future__ import annotations

import json
from pathlib import Path

import gateways
import routes
import traffic
import yaml
from words import GATEWAY_GROUP, Schema

ROOT = Path(__file__).parents[2]
DEFINITIONS = ROOT / "src/netloom/local/apiserver/definitions.json"
CRDS = ROOT / "deploy/crds"
_COLUMNS = gateways.COLUMNS | routes.COLUMNS | traffic.COLUMNS


class Definition:
    """A kind as it is defined: names, versions, schema."""

    def __init__(self, kind: str, plural: str, schema: Schema, *versions: str, short: str = "", cluster: bool = False) -> None:  # fmt: skip
        self.kind, self.plural, self.schema, self.versions, self.short = kind, plural, schema, versions, short
        self.group = "netloom.io" if kind == "TrafficPolicy" else GATEWAY_GROUP
        self.scope = "Cluster" if cluster else "Namespaced"
        self.columns = _COLUMNS[kind]

    def file(self) -> Path:
        """Where its YAML is."""
        return CRDS / f"{self.plural}.yaml"

    def document(self) -> Schema:
        """The CustomResourceDefinition."""
        names: Schema = {
            "kind": self.kind,
            "listKind": f"{self.kind}List",
            "plural": self.plural,
            "singular": self.kind.lower(),
        }
        if self.short:
            names["shortNames"] = [self.short]
        if self.group == GATEWAY_GROUP:
            names["categories"] = ["gateway-api"]
        metadata: Schema = {"name": f"{self.plural}.{self.group}"}
        if self.group == GATEWAY_GROUP:
            metadata["annotations"] = {"api-approved.kubernetes.io": "unapproved, written anew for netloom"}
        versions = [
            {
                "name": version,
                "served": True,
                "storage": version == self.versions[0],
                "additionalPrinterColumns": self.columns,
                **({"subresources": {"status": {}}} if "status" in self.schema["properties"] else {}),
                "schema": {"openAPIV3Schema": self.schema},
            }
            for version in self.versions
        ]
        return {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": metadata,
            "spec": {"group": self.group, "scope": self.scope, "names": names, "versions": versions},
        }


ALL = (
    Definition("GatewayClass", "gatewayclasses", gateways.gateway_class(), "v1", short="gc", cluster=True),
    Definition("Gateway", "gateways", gateways.gateway(), "v1", short="gtw"),
    Definition("ListenerSet", "listenersets", gateways.listener_set(), "v1", short="lset"),
    Definition("HTTPRoute", "httproutes", routes.http_route(), "v1"),
    Definition("GRPCRoute", "grpcroutes", routes.grpc_route(), "v1"),
    Definition("TLSRoute", "tlsroutes", routes.tls_route(), "v1"),
    Definition("TCPRoute", "tcproutes", routes.tcp_route(), "v1alpha2"),
    Definition("UDPRoute", "udproutes", routes.udp_route(), "v1alpha2"),
    Definition("ReferenceGrant", "referencegrants", gateways.reference_grant(), "v1beta1", "v1", short="refgrant"),
    Definition("BackendTLSPolicy", "backendtlspolicies", gateways.backend_tls_policy(), "v1", short="btlspolicy"),
    Definition("TrafficPolicy", "trafficpolicies", traffic.traffic_policy(), "v1alpha1", short="tp"),
)  # fmt: skip


class _Plain(yaml.SafeDumper):
    """Without anchors: each file can be read from top to bottom."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def rendered(definition: Definition) -> str:
    """The file's text."""
    text = yaml.dump(definition.document(), Dumper=_Plain, sort_keys=False, width=160, allow_unicode=True)
    return f"# Written by tools/crds/write.py; `netloom up` serves this kind itself.\n{text}"


def definitions() -> str:
    """definitions.json: schema and columns by apiVersion and kind."""
    lines = []
    for one in ALL:
        said = {"schema": one.schema, "columns": one.columns}
        lines.append(f"{json.dumps(f'{one.group}/{one.versions[0]}/{one.kind}')}: {json.dumps(said)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main() -> None:
    """Writes all files."""
    for one in ALL:
        one.file().write_text(rendered(one))
    DEFINITIONS.write_text(definitions())


if __name__ == "__main__":
    main()
