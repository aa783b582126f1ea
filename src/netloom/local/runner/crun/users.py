"""Who a container's program runs as (passwd(5), group(5) of its image). In: spec, image, its files; out: numbers.

What the pod says goes before what the image says; ``runAsNonRoot`` is checked here, in a kubelet's words.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

import msgspec

from netloom.local.images.tree import Tree
from netloom.local.runner.running import ContainerSpec, Refused

_MOST = 1 << 20
_LARGEST = (1 << 31) - 1


class User(msgspec.Struct, frozen=True):
    """Who runs."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/"


class _Entry(msgspec.Struct, frozen=True):
    name: str
    uid: int
    gid: int
    home: str


def user_of(spec: ContainerSpec, image_user: str, root: int) -> User:
    """The user of a container.

    Args:
        spec: of the container.
        image_user: ``USER`` of its image: name or number, with a group after a colon.
        root: descriptor of the image's root directory.

    Raises:
        Refused: CreateContainerConfigError where ``runAsNonRoot`` is violated, CreateContainerError where there is no such user.
    """
    security = spec.security
    name, _, group = image_user.partition(":")
    _check_non_root(spec, name)
    tree = Tree(root)
    entries = list(_passwd(tree))
    if security.run_as_user is not None:
        found = _by_number(entries, security.run_as_user)
        group = ""
    elif not name:
        found = _by_number(entries, 0)
    elif _is_number(name):
        found = _by_number(entries, _number(name))
    else:
        matching = next((e for e in entries if e.name == name), None)
        if matching is None:
            raise Refused(
                "CreateContainerError", f"unable to find user {name}: no matching entries in passwd file"
            )
        found = matching
    groups = list(_groups(tree))
    gid = found.gid
    if security.run_as_group is not None:
        gid = security.run_as_group
    elif group:
        gid = _gid(group, groups)
    member_of = [number for _, number, members in groups if found.name and found.name in members]
    extra = dict.fromkeys((*member_of, *security.supplemental_groups))
    return User(found.uid, gid, tuple(extra), found.home or "/")


def _check_non_root(spec: ContainerSpec, image_user: str) -> None:
    security = spec.security
    if not security.run_as_non_root:
        return
    where = f'(pod: "{spec.pod_name}_{spec.namespace}({spec.pod_uid})", container: {spec.name})'
    problem = ""
    if security.run_as_user is not None:
        if security.run_as_user == 0:
            problem = "container's runAsUser breaks non-root policy"
    elif not image_user or _is_number(image_user):
        if not image_user or int(image_user[:20]) == 0:
            problem = "container has runAsNonRoot and image will run as root"
    else:
        problem = f"container has runAsNonRoot and image has non-numeric user ({image_user}), cannot verify user is non-root"
    if problem:
        raise Refused("CreateContainerConfigError", f"{problem} {where}")


def _by_number(entries: list[_Entry], uid: int) -> _Entry:
    home = "/root" if uid == 0 and not entries else "/"
    return next((e for e in entries if e.uid == uid), _Entry("", uid, 0, home))


def _gid(text: str, groups: list[tuple[str, int, tuple[str, ...]]]) -> int:
    if _is_number(text):
        return _number(text)
    found = next((number for name, number, _ in groups if name == text), None)
    if found is None:
        raise Refused(
            "CreateContainerError", f"unable to find group {text}: no matching entries in group file"
        )
    return found


def _passwd(tree: Tree) -> Iterator[_Entry]:
    for fields in _records(tree, "/etc/passwd", 6):
        if _is_number(fields[2]) and _is_number(fields[3]):
            yield _Entry(fields[0], _number(fields[2]), _number(fields[3]), fields[5])


def _groups(tree: Tree) -> Iterator[tuple[str, int, tuple[str, ...]]]:
    for fields in _records(tree, "/etc/group", 3):
        if _is_number(fields[2]):
            yield fields[0], _number(fields[2]), tuple(fields[3].split(",")) if len(fields) > 3 else ()


def _records(tree: Tree, path: str, least: int) -> Iterator[list[str]]:
    try:
        fd = tree.open_file(path)
    except OSError:
        return  # an image need not have one
    with os.fdopen(fd, "rb") as file:
        text = file.read(_MOST) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
    for line in text.decode("utf-8", "replace").splitlines():
        fields = line.strip().split(":")
        if len(fields) >= least:
            yield fields


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _number(text: str) -> int:
    number = int(text[:20])
    if number > _LARGEST:
        raise Refused("CreateContainerError", f"{text[:20]} is no user or group: at most {_LARGEST}")
    return number
