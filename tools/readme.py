"""Put the real output of the README's commands into the README: what it shows has been seen.

Run in a checkout that is set up: .venv/bin/python tools/readme.py
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
NETLOOM = ".venv/bin/netloom"


def shown(*commands: str, environment: dict[str, str]) -> str:
    """Each command and what it printed, as a terminal shows it."""
    parts = []
    for command in commands:
        done = subprocess.run(
            ["bash", "-c", command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        output = done.stdout if done.returncode in (0, 8) else done.stdout + done.stderr
        parts.append(f"$ {command}\n{output.rstrip()}")
        if done.returncode not in (0, 8):
            sys.exit(f"{command}: exit code {done.returncode}\n{output}")
    return "\n\n".join(parts)


def replaced(text: str, mark: str, output: str) -> str:
    """The text with the block between two marks replaced."""
    block = f"<!-- {mark} -->\n```\n{output}\n```\n<!-- /{mark} -->"
    return re.sub(rf"<!-- {mark} -->.*?<!-- /{mark} -->", lambda _: block, text, flags=re.DOTALL)


def main() -> None:
    """Run the demo in a home of its own and write down what is seen."""
    readme = ROOT / "README.md"
    text = readme.read_text()
    with tempfile.TemporaryDirectory(prefix="netloom-") as home:
        tools = f"{ROOT / '.cache' / 'bin'}:{os.environ['PATH']}"
        environment = {**os.environ, "NETLOOM_HOME": home, "PATH": tools}
        try:
            demo = shown("make demo", environment=environment)
            environment["KUBECONFIG"] = f"{home}/clusters/demo/kubeconfig"
            kubectl = shown(
                "kubectl -n shop get pods,services",
                "kubectl -n shop exec deploy/web -- curl -s http://cart",
                "kubectl -n shop scale deployment cart --replicas 0 && kubectl -n shop wait --for=delete pod -l app=cart"
                " && kubectl -n shop exec deploy/web -- curl -sS http://cart 2>&1; kubectl -n shop scale deployment cart --replicas 2",
                environment=environment,
            )
            shown("kubectl -n shop rollout status deployment/cart", environment=environment)
            why = shown(
                f"{NETLOOM} why --name demo shop/web shop/cart:80",
                f"{NETLOOM} why --name demo shop/web shop/cart:81",
                environment=environment,
            )
            shown("kubectl apply -f examples/gateway", environment=environment)
            shown("kubectl -n shop rollout status deployment/cart-next", environment=environment)
            outside = shown(
                "kubectl -n shop wait gateway/edge --for=condition=Programmed",
                "kubectl -n shop get gateway,httproute",
                f"{NETLOOM} client --name demo -- curl -sk --resolve shop.example:443:172.30.0.224 https://shop.example/catalog/7",
                f"{NETLOOM} why --name demo internet https://shop.example/catalog/7",
                environment=environment,
            )
        finally:
            subprocess.run(
                [NETLOOM, "down", "--all"], cwd=ROOT, env=environment, capture_output=True, check=False
            )
    for mark, output in (("demo", demo), ("kubectl", kubectl), ("why", why), ("outside", outside)):
        text = replaced(text, mark, output.replace(home, "~/.local/state/netloom"))
    readme.write_text(text)


if __name__ == "__main__":
    main()
