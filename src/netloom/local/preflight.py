"""What this system must have before a cluster is started: asked at once, so that nothing is half-made.

In: the environment. Out: nothing, or Unsupported that names the package. Namespaces are tried when they are made.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from netloom.errors import Unsupported

_PROGRAMS = (("nft", "nftables"), ("catatonit", "catatonit"), ("setsid", "util-linux"))
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
