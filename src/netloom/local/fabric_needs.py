"""Whether this machine can build a fabric: tried before any node is started, so that nobody waits for what cannot be.

Comes in: the kind, and being inside the cluster's own network namespace. Goes out: nothing, or Unsupported that says what is
missing. Not here: how a fabric is built (``fabric``).
"""

from __future__ import annotations

import errno
import shutil

from netloom.errors import KernelError, Unsupported
from netloom.fabric.wireguard.driver import PROGRAM, KernelDriver
from netloom.linux.tun import open_tun
from netloom.model.routes.ways import FabricKind

_PROBE = "nl-probe"


def check_fabric(kind: FabricKind, *, wireguard_program: str = PROGRAM) -> None:
    """Make what the fabric needs and take it away again.

    Args:
        kind: of the fabric.
        wireguard_program: what encrypts where the kernel cannot.

    Raises:
        Unsupported: something is missing; the hint says how to get it, or which fabric does without.
    """
    if kind is FabricKind.WIREGUARD and not _kernel_encrypts():
        if shutil.which(wireguard_program) is None:
            raise Unsupported(
                f"--fabric {kind.value}: neither the kernel's wireguard nor {wireguard_program} is here",
                f"sudo apt-get install {wireguard_program}, or load the kernel's wireguard module",
            )
        _check_tun(kind)
    if kind is FabricKind.UDP:
        _check_tun(kind)


def _kernel_encrypts() -> bool:
    driver = KernelDriver(_PROBE)
    try:
        driver.bring_up()
    except Unsupported:
        return False
    driver.take_down()
    return True


def _check_tun(kind: FabricKind) -> None:
    try:
        open_tun(_PROBE).close()
    except KernelError as error:
        way = "sudo chmod 666 /dev/net/tun" if error.errno == errno.EACCES else "sudo modprobe tun"
        raise Unsupported(
            f"--fabric {kind.value}: no TUN device can be made here: {error.problem}",
            f"{way}, or choose --fabric vxlan",
        ) from error
