"""`netloom plan` and `netloom matrix` as typed: files in, text or JSON out, exit codes, and what is said of bad input."""

import io
import json
from xml.etree import ElementTree as ET

import pytest

from netloom.cli.main import main

POLICY = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress: [{from: [{podSelector: {matchLabels: {app: api}}}], ports: [{port: 5432}]}]
"""


def deployment(name, app=None):
    return (
        f"apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}, namespace: shop}}\n"
        f"spec: {{template: {{metadata: {{labels: {{app: {app or name}}}}}}}}}\n---\n"
    )


@pytest.fixture
def base(tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "apps.yaml").write_text(deployment("api") + deployment("db"))
    (tmp_path / "base" / "more.yml").write_text(
        "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: c}}\n"
    )
    return str(tmp_path / "base")


@pytest.fixture
def write(tmp_path):
    def _write(text, name="change.yaml"):
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return _write


def test_exit_codes_say_whether_anything_changes(base, write, capsys):
    change = write(POLICY)
    assert main(["plan", "--from", base, "-f", change]) == 2
    out = capsys.readouterr().out
    assert "+ NetworkPolicy shop/db" in out
    assert change in out
    assert "shop/db, nodes, internet -> shop/db: all traffic" in out
    assert "note: passed over: 1 ConfigMap" in out
    assert main(["plan", "--from", base, "--from", change, "-f", change]) == 0
    assert "Nobody gains or loses anything" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["-f"], 8),
        (["--fail-on", "gained", "-f"], 0),
        (["--fail-on", "lost", "-f"], 8),
        (["--fail-on", "gained", "--fail-on", "lost", "-f"], 8),
    ],
)
def test_fail_on_is_for_pipelines(base, write, capsys, words, code):
    change = write(POLICY)
    assert main(["plan", "--from", base, *words, change]) == (2 if words == ["-f"] else code)
    base_with = ["--from", base, "--from", change, "--delete", "netpol/shop/db"]
    assert main(["plan", *base_with, "--fail-on", "lost"]) == 0, "it is gained"
    assert main(["plan", *base_with, "--fail-on", "gained"]) == 8


def test_json_has_every_row_with_its_objects_and_fields(base, write, capsys):
    assert main(["plan", "--from", base, "-f", write(POLICY), "-o", "json"]) == 2
    report = json.loads(capsys.readouterr().out)
    assert report["gained"] == []
    row = next(row for row in report["lost"] if row["sender"] == "shop/api")
    assert row["receivers"] == [{"kind": "Deployment", "name": "db", "namespace": "shop", "pods": []}]
    assert {"protocol": "TCP", "first": 0, "last": 5431} in row["stretches"]
    assert row["after"][0]["sources"][0]["field"] == "spec.ingress[0].ports[0]"
    assert report["objects"] == [
        {
            "action": "created",
            "kind": "NetworkPolicy",
            "namespace": "shop",
            "name": "db",
            "file": report["objects"][0]["file"],
        }
    ]


def test_deletions_by_file_and_by_name(base, write, capsys):
    policy = write(POLICY, "policy.yaml")
    for what in (policy, "netpol/shop/db", "networkpolicies/shop/db", "NetworkPolicy/shop/db"):
        assert main(["plan", "--from", base, "--from", policy, "--delete", what]) == 2, what
    assert main(["plan", "--from", base, "--from", policy, "--delete", "netpol/db", "-n", "shop"]) == 2
    capsys.readouterr()
    assert main(["plan", "--from", base, "--delete", "netpol/shop/db"]) == 4
    assert "NetworkPolicy shop/db: is not there" in capsys.readouterr().err
    assert main(["plan", "--from", base, "--delete", "nonsense"]) == 2
    assert "--delete nonsense: is no file, and no object" in capsys.readouterr().err


def test_standard_input_is_read_once(base, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO(POLICY))
    assert main(["plan", "--from", base, "-f", "-"]) == 2
    assert "(standard input)" in capsys.readouterr().out
    assert main(["plan", "--from", "-", "-f", "-"]) == 2
    assert "once" in capsys.readouterr().err


BAD = {
    "no change": (None, "no change is given"),
    "no YAML": ("a: [1", "line 2, column 1"),
    "no object": ("- 1", "document 1: is no object"),
    "no kind": ("apiVersion: v1\nmetadata: {name: x}", "kind: is not set"),
    "no name": ("apiVersion: v1\nkind: Pod\nmetadata: {}", "Pod: metadata.name: is not set"),
    "old version": (
        "apiVersion: extensions/v1beta1\nkind: NetworkPolicy\nmetadata: {name: x}",
        "apiVersion: extensions/v1beta1 NetworkPolicy is not served",
    ),
    "wrong version": (
        "apiVersion: networking.k8s.io/v1beta1\nkind: NetworkPolicy\nmetadata: {name: x}",
        "apiVersion: networking.k8s.io/v1beta1 NetworkPolicy is not served",
    ),
    "wrong type": (
        "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {ports: [{port: http}]}",
        "Service default/x: spec.ports[0].port: expected `int`, got `str`",
    ),
    "wrong label": (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: x, labels: {a: 1}}",
        "Pod default/x: metadata.labels[...]: expected `str`, got `int`",
    ),
    "no port": (
        "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {ports: [{port: 70000}]}",
        "Service default/x: spec.ports[0].port: 70000 is no port",
    ),
    "except outside": (
        POLICY.replace(
            "podSelector: {matchLabels: {app: api}}", "ipBlock: {cidr: 10.0.0.0/8, except: [192.0.2.0/24]}"
        ),
        "NetworkPolicy shop/db: spec.ingress[0].from[0].ipBlock.except[0]: 192.0.2.0/24 is no part of 10.0.0.0/8",
    ),
    "unknown field": (
        POLICY.replace("ports:", "port:"),
        "spec.ingress[0].port: is a field that is not known",
    ),
    "end before": (POLICY.replace("port: 5432", "port: 5432, endPort: 80"), "endPort"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_with_file_object_and_field(base, write, capsys, case):
    text, message = BAD[case]
    path = write(text or "", "bad.yaml")
    code = main(["plan", "--from", base, *(["-f", path] if text else [])])
    said = capsys.readouterr()
    assert code == 2
    assert message in said.err
    assert "Traceback" not in said.err
    if text:
        assert path in said.err
    assert said.out == ""


def test_files_that_cannot_be_read(base, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "latin.yaml").write_bytes(b"a: \xff")
    for path, message in (
        (tmp_path / "empty", "no manifests in this directory"),
        (tmp_path / "nowhere", "no such file or directory"),
        (tmp_path / "latin.yaml", "not UTF-8"),
    ):
        assert main(["plan", "--from", base, "-f", str(path)]) == 2
        assert message in capsys.readouterr().err


def test_policies_of_others_are_not_passed_over_in_silence(base, write, capsys):
    other = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: x}\nspec: {}"
    assert main(["plan", "--from", base, "-f", write(other)]) == 0
    assert "CiliumNetworkPolicy is a policy that is not read" in capsys.readouterr().out


def test_kinds_that_only_share_a_name_are_passed_over(base, write, capsys):
    knative = (
        "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: x}\nspec: {ports: nonsense}"
    )
    assert main(["plan", "--from", base, "-f", write(knative)]) == 0
    assert "passed over: 1 Service" in capsys.readouterr().out


def test_a_rule_about_some_addresses_of_pods_that_nobody_has_yet_is_told(base, write, capsys):
    part = POLICY.replace("podSelector: {matchLabels: {app: api}}", "ipBlock: {cidr: 10.244.3.0/24}")
    main(["plan", "--from", base, "-f", write(part)])
    assert "10.244.3.0/24 is a part of the range of pods" in capsys.readouterr().out


def test_the_matrix_is_a_table(base, write, capsys):
    assert main(["matrix", "-f", base, "-f", write(POLICY)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["shop/api", "all", "5432/tcp"] in [line[:3] for line in lines]
    assert ["shop/db", "all", "-"] in [line[:3] for line in lines]
    assert main(["matrix", "-f", base, "-f", write(POLICY), "--port", "5432"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["shop/api", "yes", "yes"] in [line[:3] for line in lines]
    assert main(["matrix", "-f", base, "-f", write(POLICY), "--port", "5433/tcp"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["shop/api", "yes", "-"] in [line[:3] for line in lines]


def test_the_matrix_folds_other_namespaces_and_knows_those_without_workloads(base, write, capsys):
    lab = write(deployment("probe").replace("shop", "lab"), "lab.yaml")
    assert main(["matrix", "-f", base, "-f", lab, "-n", "shop", "-o", "json"]) == 0
    groups = json.loads(capsys.readouterr().out)["groups"]
    assert groups[:3] == ["shop/api", "shop/db", "lab/*"]
    assert set(groups[3:]) == {"nodes", "cluster DNS", "internet"}
    assert main(["matrix", "-f", base, "-n", "ghost"]) == 4
    assert "namespace ghost: no workload is in it" in capsys.readouterr().err
    assert main(["matrix", "-f", base, "--port", "http"]) == 2


EVIL = "<script>alert(1)</script>&\"'"


@pytest.mark.parametrize("form", ["html", "svg"])
def test_pages_are_whole_and_escape_what_others_wrote(write, capsys, form):
    path = write(deployment("a") + deployment("b").replace("name: b", f"name: {json.dumps(EVIL)}"))
    assert main(["matrix", "-f", path, "-o", form]) == 0
    page = capsys.readouterr().out
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in page
    if form == "svg":
        root = ET.fromstring(page)
        assert any(EVIL in (title.text or "") for title in root.iter("{http://www.w3.org/2000/svg}title"))


def test_a_hundred_workloads_are_shown_and_more_are_folded(write, capsys):
    many = "".join(deployment(f"w-{n}") for n in range(100))
    assert main(["matrix", "-f", write(many), "-o", "json"]) == 0
    assert "shop/w-99" in json.loads(capsys.readouterr().out)["groups"]
    assert main(["matrix", "-f", write(many)]) == 0
    assert "rows send, columns receive; # all" in capsys.readouterr().out
    assert main(["matrix", "-f", write(many + deployment("w-100")), "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["by_namespace"]
    assert "shop/*" in found["groups"]
