"""Compile the CNI shim. In: the C file. Out: ``build/netloom-cni``, a static binary that runs on any Linux of its architecture.

``build/netloom-ipam`` is the same under the name by which other plugins ask for addresses of pools. Does nothing where the binary is newer than its source. Run it as ``python tools/build_shim.py`` from anywhere.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src/netloom/cni/shim/netloom-cni.c"
TARGET = ROOT / "build/netloom-cni"
IPAM = TARGET.with_name("netloom-ipam")
FLAGS = [
    "-std=gnu11",
    "-Os",
    "-static",
    "-s",
    "-Wall",
    "-Wextra",
    "-Wconversion",
    "-Wno-sign-conversion",
    "-Werror",
]


def main() -> int:
    """Compile if needed; the exit code is the compiler's."""
    if TARGET.exists() and TARGET.stat().st_mtime >= SOURCE.stat().st_mtime:
        return _link()
    TARGET.parent.mkdir(exist_ok=True)
    # Compiled beside the target and renamed: a runtime may be executing the old one.
    fresh = TARGET.with_suffix(".new")
    compiler = os.environ.get("CC", "gcc")
    try:
        done = subprocess.run([compiler, *FLAGS, "-o", str(fresh), str(SOURCE)], check=False)
    except FileNotFoundError:
        sys.stderr.write(f"{compiler}: not found; install the packages gcc and libc6-dev\n")
        return 1
    if done.returncode == 0:
        fresh.replace(TARGET)
        return _link()
    return done.returncode


def _link() -> int:
    """The second name; a link, so that it is never another build."""
    if not IPAM.is_symlink():
        IPAM.unlink(missing_ok=True)
        IPAM.symlink_to(TARGET.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
