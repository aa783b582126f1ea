"""The fields of volumes and their mounts that a runner reads (core/v1 Volume, VolumeMount), typed. Pure; readers only."""

from __future__ import annotations

import msgspec

from netloom.local.runner.references import FieldRef, Quantity, ResourceFieldRef

DEFAULT_MODE = 0o644


class KeyToPath(msgspec.Struct, frozen=True):
    """core/v1 KeyToPath."""

    key: str
    path: str
    mode: int | None = None


class ConfigMapSource(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 ConfigMapVolumeSource and ConfigMapProjection."""

    name: str = ""
    items: tuple[KeyToPath, ...] = ()
    default_mode: int = DEFAULT_MODE
    optional: bool | None = None


class SecretSource(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 SecretVolumeSource."""

    secret_name: str = ""
    items: tuple[KeyToPath, ...] = ()
    default_mode: int = DEFAULT_MODE
    optional: bool | None = None


class SecretProjection(msgspec.Struct, frozen=True):
    """core/v1 SecretProjection."""

    name: str = ""
    items: tuple[KeyToPath, ...] = ()
    optional: bool | None = None


class DownwardFile(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 DownwardAPIVolumeFile."""

    path: str
    field_ref: FieldRef | None = None
    resource_field_ref: ResourceFieldRef | None = None
    mode: int | None = None


class DownwardSource(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 DownwardAPIVolumeSource and DownwardAPIProjection."""

    items: tuple[DownwardFile, ...] = ()
    default_mode: int = DEFAULT_MODE


class TokenSource(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 ServiceAccountTokenProjection."""

    path: str
    audience: str = ""
    expiration_seconds: int = 3600


class TrustBundleSource(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 ClusterTrustBundleProjection: known, and refused."""

    path: str = ""


class Projection(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 VolumeProjection."""

    config_map: ConfigMapSource | None = None
    secret: SecretProjection | None = None
    downward_api: DownwardSource | None = msgspec.field(name="downwardAPI", default=None)
    service_account_token: TokenSource | None = None
    cluster_trust_bundle: TrustBundleSource | None = None


class ProjectedSource(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 ProjectedVolumeSource."""

    sources: tuple[Projection, ...] = ()
    default_mode: int = DEFAULT_MODE


class EmptyDir(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 EmptyDirVolumeSource."""

    medium: str = ""
    size_limit: Quantity | None = None


class HostPath(msgspec.Struct, frozen=True):
    """core/v1 HostPathVolumeSource."""

    path: str
    type: str = ""


class Claim(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 PersistentVolumeClaimVolumeSource."""

    claim_name: str
    read_only: bool = False


class Ephemeral(msgspec.Struct, frozen=True):
    """core/v1 EphemeralVolumeSource: a claim named POD-VOLUME, made for the pod."""


class Volume(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 Volume. Without any of these sources it is one that this node does not have."""

    name: str
    empty_dir: EmptyDir | None = None
    host_path: HostPath | None = None
    config_map: ConfigMapSource | None = None
    secret: SecretSource | None = None
    downward_api: DownwardSource | None = msgspec.field(name="downwardAPI", default=None)
    projected: ProjectedSource | None = None
    persistent_volume_claim: Claim | None = None
    ephemeral: Ephemeral | None = None

    @property
    def projection(self) -> ProjectedSource | None:
        """Its files as a projected volume has them, where it is one of those that are made of values."""
        if self.projected is not None:
            return self.projected
        if self.config_map is not None:
            return ProjectedSource((Projection(config_map=self.config_map),), self.config_map.default_mode)
        if self.secret is not None:
            s = self.secret
            part = Projection(secret=SecretProjection(s.secret_name, s.items, s.optional))
            return ProjectedSource((part,), s.default_mode)
        if self.downward_api is not None:
            source = self.downward_api
            return ProjectedSource((Projection(downward_api=source),), source.default_mode)
        return None


class VolumeMount(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 VolumeMount."""

    name: str
    mount_path: str
    sub_path: str = ""
    sub_path_expr: str = ""
    read_only: bool = False
    mount_propagation: str = "None"


class VolumeDevice(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 VolumeDevice."""

    name: str
    device_path: str
