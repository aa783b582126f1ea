"""Writes the field numbers of the Kubernetes kinds that the API server reads as protobuf.

    python tools/make_protobuf_fields.py /usr/bin/kubectl

Comes in: a kubectl binary, which carries the descriptors of the API's messages as gzip members, and schema.json beside
the target. Goes out: src/netloom/local/apiserver/protobuf_fields.json: for each type of the schema, name by number. Types
of the fields are those of the schema. Only numbers and names are kept. Source: descriptor.proto, gogo.proto.

Notation of a name: ``replicas?`` is a pointer in Go, so a zero on the wire was meant; ``+core.VolumeSource`` is a message
whose fields belong to the object around it. Fields of the schema that the binary is too old for are told, and are then
skipped in requests as Kubernetes skips them: take the newest kubectl.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

ROOM = Path(__file__).parent.parent / "src/netloom/local/apiserver"
GZIP = b"\x1f\x8b\x08"
LARGEST = 1 << 20
PREFIXES = {
    ".k8s.io.apimachinery.pkg.apis.meta.v1.": "meta",
    **{
        f".k8s.io.api.{group}.v1.": group
        for group in (
            *(
                "core",
                "apps",
                "discovery",
                "networking",
                "coordination",
                "autoscaling",
                "policy",
                "batch",
                "rbac",
            ),
            *(
                "admissionregistration",
                "events",
                "storage",
                "scheduling",
                "node",
                "authentication",
                "authorization",
            ),
        )
    },
    ".k8s.io.api.autoscaling.v2.": "autoscaling2",
}
NULLABLE = 65001

Field = tuple[int, str, str, bool]


def varint(data: bytes, at: int) -> tuple[int, int]:
    """A number at an offset, and the offset behind it."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def entries(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field number and value of a message of numbers, texts and messages."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        value: int | bytes
        value, at = varint(data, at)
        if key & 7 == 2:
            at, value = at + value, data[at : at + value]
        yield key >> 3, value


def descriptors(binary: bytes) -> Iterator[bytes]:
    """The FileDescriptorProtos of Kubernetes' own packages in a Go binary."""
    for found in re.finditer(re.escape(GZIP), binary):
        try:
            data = zlib.decompressobj(31).decompress(binary[found.start() : found.start() + LARGEST], LARGEST)
        except zlib.error:
            continue
        if re.match(rb"\n.k8s\.io/[a-z0-9/]+/generated\.proto", data, re.DOTALL):
            yield data


def messages(data: bytes) -> Iterator[tuple[str, list[Field]]]:
    """Full name and fields of every message in a FileDescriptorProto."""
    parts = list(entries(data))
    package = dict(parts)[2].decode()  # type: ignore[union-attr] # a text
    for number, message in parts:
        if number == 4:
            described = list(entries(message))
            name = dict(described)[1].decode()
            yield f".{package}.{name}", [field(part) for number, part in described if number == 2]


def field(data: bytes) -> Field:
    """Number, name, type name where it is a message, and whether Go has a pointer for it."""
    parts = dict(entries(data))
    options = dict(entries(parts.get(8, b"")))
    repeated = parts[4] == 3
    pointer = not repeated and options.get(NULLABLE, 1) == 1
    return parts[3], parts[1].decode(), parts.get(6, b"").decode(), pointer


def key_of(full_name: str) -> str:
    """``.k8s.io.api.core.v1.Pod`` -> ``core.Pod``; empty where it is no type of ours."""
    package, _, name = full_name.rpartition(".")
    return f"{PREFIXES[package + '.']}.{name}" if package + "." in PREFIXES else ""


def table(schema: dict[str, dict[str, object]], found: dict[str, list[Field]]) -> dict[str, dict[str, str]]:
    """The numbers of every type of the schema, and of what is inlined into them."""
    made: dict[str, dict[str, str]] = {}
    for key in sorted(schema):
        if key not in found:
            continue
        members: dict[str, object] = schema[key]["fields"]  # type: ignore[assignment] # as FieldData has it
        made[key] = words(key, members, found, made)
    return made


def kept(
    made: dict[str, dict[str, str]], former: dict[str, dict[str, str]], schema: dict[str, dict[str, object]]
) -> dict[str, dict[str, str]]:
    """With what a newer binary told before: numbers never change."""
    stay = {key: numbers for key, numbers in former.items() if key in made or key in schema}
    return {key: {**made.get(key, {}), **stay.get(key, {})} for key in made.keys() | stay.keys()}


def words(
    key: str, members: dict[str, object], found: dict[str, list[Field]], made: dict[str, dict[str, str]]
) -> dict[str, str]:
    """The numbers of a type, as they are written; notes those of what is inlined."""
    numbers: dict[int, str] = {}
    for number, name, type_name, pointer in sorted(found[key]):
        inner = key_of(type_name)
        # some are written as the Go field is, Webhooks for webhooks
        own = name if name in members else name[0].lower() + name[1:]
        if own in members:
            numbers[number] = f"{own}?" if pointer else own
        elif inner in found and {n for _, n, _, _ in found[inner]} & members.keys():
            numbers[number] = f"+{inner}"
            made[inner] = words(inner, members, found, made)
    return {str(number): numbers[number] for number in sorted(numbers)}


def main() -> None:
    """Read the binary, write the data, tell what is missing."""
    binary = sys.argv[1]
    schema = json.loads((ROOM / "schema.json").read_bytes())["types"]
    found = {
        key: fields
        for data in descriptors(Path(binary).read_bytes())
        for name, fields in messages(data)
        if (key := key_of(name))
    }
    told = json.loads(subprocess.check_output([binary, "version", "--client", "-o", "json"]))
    version = told["clientVersion"]["gitVersion"].partition("-")[0]
    target = ROOM / "protobuf_fields.json"
    former = json.loads(target.read_bytes())
    made = kept(table(schema, found), former["types"], schema)
    version = max(version, former["source"].split()[1])
    rows = ",\n".join(f"{json.dumps(key)}: {json.dumps(made[key])}" for key in sorted(made))
    target.write_text(f'{{"source": "Kubernetes {version}", "types": {{\n{rows}\n}}}}\n')
    missing = {
        key: sorted(lost)
        for key, data in schema.items()
        if (lost := data["fields"].keys() - {"apiVersion", "kind"} - names(key, made))
    }
    print(f"{target}: {len(made)} types; fields of the schema without a number: {missing}")


def names(key: str, made: dict[str, dict[str, str]]) -> set[str]:
    """The fields that a type has numbers for."""
    every: set[str] = set()
    for word in made.get(key, {}).values():
        every |= names(word[1:], made) if word.startswith("+") else {word.rstrip("?")}
    return every


if __name__ == "__main__":
    main()
