"""What this system must have before a cluster is started: asked at once, so that nothing is half-made.

In: the environment. Out: nothing, or Unsupported that names the package. Namespaces are tried when they are made.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from netloom.errors import NetloomError, Unsupported
from netloom.linux.genetlink import GenericNetlink
from netloom.linux.wireguard import FAMILY
from netloom.model.routes.ways import FabricKind

_PROGRAMS = (("nft", "nftables"), ("catatonit", "catatonit"), ("setsid", "util-linux"))
_TUN = "/dev/net/tun"
_SYSTEM_DIRECTORIES = ("/usr/local/sbin", "/usr/sbin", "/sbin")


def use_system_programs() -> None:
    """Let this process and its children find system programs, which an ordinary user's PATH leaves out."""
    path = os.environ.get("PATH", os.defpath).split(os.pathsep)
    os.environ["PATH"] = os.pathsep.join([*path, *(d for d in _SYSTEM_DIRECTORIES if d not in path)])


def check_system() -> None:
    """See that everything that is needed is there.

    Raises:
        Unsupported: something is missing; the hint says how to get it.
    """
    for program, package in _PROGRAMS:
        if shutil.which(program) is None:
            raise Unsupported(
                f"the program {program} is not there", f"install it: sudo apt-get install {package}"
            )
    shim_path()


def check_fabric(fabric: FabricKind) -> None:
    """See that what a fabric needs beyond that is there.

    Raises:
        Unsupported: something is missing; the hint says how to get it.
    """
    in_process = fabric is FabricKind.UDP or (fabric is FabricKind.WIREGUARD and not _kernel_has_wireguard())
    if fabric is FabricKind.WIREGUARD and in_process and shutil.which("wireguard-go") is None:
        raise Unsupported(
            "fabric wireguard: neither this kernel's WireGuard nor the program wireguard-go is there",
            "install it: sudo apt-get install wireguard-go; or choose another fabric",
        )
    if fabric is FabricKind.BGP and shutil.which("bird") is None:
        raise Unsupported(
            "fabric bgp: the program bird is not there",
            "install it: sudo apt-get install bird2; or choose another fabric",
        )
    if in_process and not os.access(_TUN, os.R_OK | os.W_OK):
        raise Unsupported(
            f"fabric {fabric.value}: {_TUN} is not there, or not for this user",
            "load the kernel's tun module and allow it (chmod 666), run as root, or choose another fabric",
        )


def _kernel_has_wireguard() -> bool:
    try:
        with GenericNetlink() as netlink:
            netlink.family(FAMILY)
    except NetloomError:
        return False
    return True


def shim_path() -> Path:
    """The compiled CNI client: of this checkout, or ``$NETLOOM_SHIM``.

    Raises:
        Unsupported: it has not been compiled.
    """
    checkout = Path(__file__).parents[3] / "build" / "netloom-cni"
    path = Path(os.environ.get("NETLOOM_SHIM") or checkout)
    if not path.is_file():
        raise Unsupported(
            f"the CNI client {path} is not there", "compile it: tools/setup.sh, or name it with NETLOOM_SHIM"
        )
    return path
