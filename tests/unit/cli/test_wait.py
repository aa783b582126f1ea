import pytest

from netloom.agent.acks_lease import Lack, Wanted
from netloom.agent.acks_wait import Report
from netloom.cli.main import main
from netloom.cli.wait import duration_s, text_of
from netloom.errors import UsageError


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("500ms", 0.5), ("2m", 120), ("1.5h", 5400)])
def test_durations(text, seconds):
    assert duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "s", "-1s", "1d", "1m30s"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(UsageError, match="duration"):
        duration_s(text)


@pytest.mark.parametrize("words", [["cart"], ["deployment/cart"], ["service/"], ["pod/a/b"]])
def test_what_cannot_be_waited_for_is_refused(words, capsys):
    assert main(["wait", *words]) == 2
    assert "service/NAME" in capsys.readouterr().err


def test_everywhere_and_a_node_exclude_each_other(capsys):
    assert main(["wait", "service/cart", "--everywhere", "--node", "node-1"]) == 2
    assert "--node" in capsys.readouterr().err


def test_the_report_names_who_lacks_what_and_who_was_not_waited_for():
    want = Wanted("Service shop/cart", "services", "9")
    late = Report(
        "Service shop/cart",
        in_force=False,
        waited_s=1.0,
        nodes=("node-1", "node-2"),
        not_ready=("node-3",),
        wanted=(want,),
        lacking=(Lack("node-2", want, "8"),),
    )
    text = text_of(late)
    assert "node-2 has not Service shop/cart at 9 in force" in text
    assert "node-3 is not Ready" in text
    assert "node-1" not in text
    done = Report("Service shop/cart", in_force=True, waited_s=0.01, nodes=("node-1",), wanted=(want,))
    assert text_of(done) == "Service shop/cart is in force on node-1 (0.010 s)"
    none = Report("Pod shop/web", in_force=False, waited_s=1.0, nodes=("node-1",))
    assert "no address" in text_of(none)


def test_versions_that_cannot_be_compared_are_said_so():
    def report(version):
        want = Wanted("Service shop/cart", "services", version)
        return Report("Service shop/cart", in_force=False, waited_s=1.0, wanted=(want,))

    assert "no numbers" in text_of(report("a7"))
    assert "no numbers" not in text_of(report("7"))
