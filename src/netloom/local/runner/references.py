"""How a pod refers to values that are kept elsewhere: keys of ConfigMaps and Secrets, its own fields, its resources (core/v1). Pure.

Not here: what they come to (``env``, ``volumes.payload``, ``downward``).
"""

from __future__ import annotations

import msgspec

Quantity = str | int | float


class KeyRef(msgspec.Struct, frozen=True):
    """core/v1 ConfigMapKeySelector and SecretKeySelector."""

    key: str = ""
    name: str = ""
    optional: bool | None = None


class NameRef(msgspec.Struct, frozen=True):
    """core/v1 ConfigMapEnvSource and SecretEnvSource."""

    name: str = ""
    optional: bool | None = None


class FieldRef(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 ObjectFieldSelector."""

    field_path: str = ""


class ResourceFieldRef(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 ResourceFieldSelector; a ``divisor`` of 0 means 1."""

    resource: str = ""
    container_name: str = ""
    divisor: Quantity = "0"
