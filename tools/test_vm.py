"""Runs the tests of tests/vm inside a small virtual machine: Debian's kernel, this machine's file system read-only, no other hardware.

    .venv/bin/python tools/test_vm.py [pytest arguments]

One boot for all of them. qemu emulates the processor (KVM is not asked for: few build machines have it), so everything takes some
ten times as long as outside. The exit code is pytest's; 0 with the reason where this machine cannot run a VM at all; 124 where
the time was up. ``tools/setup.sh test`` fetches qemu and the kernel.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KERNEL = ROOT / ".cache/vm/kernel"
TIMEOUT_S = 900
MODULES = "wireguard vxlan geneve ip_vs ip_vs_rr macvlan dummy tun veth bridge nf_tables nft_chain_nat nft_masq nft_ct"
NO_RESULT = 1
# Only what these tests need: each module that is imported costs ten times as long as outside.
PYTEST = [
    "-p",
    "no:cacheprovider",
    "-p",
    "pytest_asyncio.plugin",
    "-p",
    "pytest_timeout",
    "--confcutdir=tests/vm",
    "--timeout=600",
]

# The 9p root is read-only; what tests write goes to memory. The kernel asks for modules by the program named in
# /proc/sys/kernel/modprobe, and finds them where they were unpacked.
INSIDE = """
set -u
printf '#!/bin/sh\\nexec {modprobe} -d {kernel} "$@"\\n' > /run/modprobe
chmod +x /run/modprobe
echo /run/modprobe > /proc/sys/kernel/modprobe
for module in {modules}; do /run/modprobe -q "$module" || echo "vm: no module $module"; done
mkdir -p /run/work
cd {root}
export PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 HOME=/run/work TMPDIR=/run/work PYTHONDONTWRITEBYTECODE=1 NETLOOM_VM=1 PATH={path}
{pytest} > {results}/output 2>&1
echo $? > {results}/code
"""


def reason_against() -> str:
    """Why this machine cannot; empty where it can."""
    if platform.machine() != "x86_64":
        return f"the VM's kernel is for x86_64, and this is {platform.machine()}"
    missing = [p for p in ("qemu-system-x86_64", "busybox", "modprobe") if shutil.which(p) is None]
    if missing:
        return f"no {', '.join(missing)} here; tools/setup.sh test installs them where it can"
    if not list(KERNEL.glob("boot/vmlinuz-*")):
        return "no kernel for it; tools/setup.sh test fetches one where it can"
    if not (ROOT / ".venv/bin/virtme-run").exists():
        return "no virtme-ng in .venv; tools/setup.sh test installs it"
    return ""


def command(results: Path, arguments: list[str]) -> list[str]:
    """What boots the VM and runs pytest in it."""
    pytest = [str(ROOT / ".venv/bin/pytest"), "-q", "-m", "vm", "--durations=5", *PYTEST, *arguments]
    if not any("tests/vm" in argument for argument in arguments):
        pytest.append("tests/vm")
    script = results / "inside.sh"
    script.write_text(
        INSIDE.format(
            modprobe=shutil.which("modprobe"),
            kernel=KERNEL,
            modules=MODULES,
            root=ROOT,
            path=os.environ["PATH"],
            pytest=shlex.join(pytest),
            results=results,
        )
    )
    image = next(iter(sorted(KERNEL.glob("boot/vmlinuz-*"))))
    return [
        str(ROOT / ".venv/bin/virtme-run"),
        *("--kimg", str(image), "--mods", "auto", "--root", "/", "--force-9p", "--rwdir", str(results)),
        *(
            "--memory",
            "1G",
            "--cpus",
            str(min(os.cpu_count() or 1, 2)),
            "--disable-kvm",
            "--show-boot-console",
        ),
        *("--script-sh", f"bash {script}"),
    ]


def boot(results: Path, arguments: list[str]) -> int:
    """Run it to its end, or until the time is up; pytest's exit code."""
    with (results / "console").open("wb") as console:
        machine = subprocess.Popen(
            command(results, arguments),
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            machine.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            print(f"vm: not done after {TIMEOUT_S} s", file=sys.stderr)
        finally:
            if machine.poll() is None:
                os.killpg(machine.pid, signal.SIGKILL)
                machine.wait()
    output = results / "output"
    if output.exists():
        sys.stdout.write(output.read_text(errors="replace"))
    code = results / "code"
    if code.exists() and code.read_text().strip().isdigit():
        return int(code.read_text())
    print("vm: it ended without a result; the end of its console:", file=sys.stderr)
    sys.stderr.write((results / "console").read_text(errors="replace")[-2000:] + "\n")
    return 124 if machine.returncode == -signal.SIGKILL else NO_RESULT


def main(arguments: list[str]) -> int:
    """The exit code."""
    reason = reason_against()
    if reason:
        print(f"vm: tests of other kernels are not run: {reason}")
        return 0
    # below the home of the cache: a VM covers /tmp and /run with its own
    with tempfile.TemporaryDirectory(dir=ROOT / ".cache/vm") as directory:
        return boot(Path(directory), arguments)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main(sys.argv[1:]))
