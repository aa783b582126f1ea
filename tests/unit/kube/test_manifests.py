import pytest

from netloom.errors import UsageError
from netloom.kube.manifests import load

SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: cart, namespace: shop}\n"
NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"


def test_a_directory_is_read_in_order_of_names_and_namespaces_come_first(tmp_path):
    (tmp_path / "b.yaml").write_text(NAMESPACE)
    (tmp_path / "a.yml").write_text(SERVICE + "---\n# nothing\n---\n" + SERVICE.replace("cart", "web"))
    (tmp_path / "notes.txt").write_text("not a manifest")
    found = load([str(tmp_path)])
    assert [m.body["metadata"]["name"] for m in found] == ["shop", "cart", "web"]
    assert found[2].subject == f"Service shop/web ({tmp_path}/a.yml, document 3)"


def test_a_list_is_its_items(tmp_path):
    path = tmp_path / "list.json"
    path.write_text(
        '{"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}]}'
    )
    assert [m.resource.kind for m in load([str(path)])] == ["Pod"]


def test_dates_stay_text(tmp_path):
    path = tmp_path / "pod.yaml"
    path.write_text(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p, annotations: {at: 2026-01-02T03:04:05Z}}\n"
    )
    assert load([str(path)])[0].body["metadata"]["annotations"]["at"] == "2026-01-02T03:04:05Z"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [1, 2\nb: 3\n", "line 2"),
        ("- 1\n", "document 1: is no object"),
        ("kind: Pod\nmetadata: {name: p}\n", "document 1: apiVersion: is not set"),
        (NAMESPACE + "---\napiVersion: v1\nkind: Pod\n", "document 2: metadata.name: is not set"),
        ("apiVersion: v1\nkind: Servise\nmetadata: {name: s}\n", "unknown kind v1 Servise"),
        (
            "apiVersion: example.org/v1\nkind: Thing\nmetadata: {name: s}\n",
            "unknown kind example.org/v1 Thing",
        ),
    ],
)
def test_what_is_no_manifest_is_named_with_its_file_and_place(tmp_path, text, says):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        load([str(path)])
    assert str(path) in caught.value.problem
    assert says in caught.value.problem
    assert caught.value.hint


def test_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="UTF-8"):
        load([str(path)])


def test_a_path_that_is_not_there_and_an_empty_directory_are_refused(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        load([str(tmp_path / "none.yaml")])
    with pytest.raises(UsageError, match="no manifests"):
        load([str(tmp_path)])
