import subprocess
import sys

import pytest

from netloom.cli.main import main
from netloom.cli.verbs import VERBS


def test_help_names_every_verb_and_the_exit_codes(capsys):
    assert main([]) == 0
    text = capsys.readouterr().out
    for verb in VERBS:
        assert verb.word in text
    assert "exit codes" in text


@pytest.mark.parametrize("verb", [v.word for v in VERBS])
def test_every_verb_has_help(verb, capsys):
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    assert ended.value.code == 0
    assert f"netloom {verb}" in capsys.readouterr().out


def test_help_loads_nothing_heavy():
    code = "import sys; from netloom.cli.main import main; main([]); print(sorted({'asyncio', 'aiohttp', 'yaml', 'cryptography'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "[]"


def test_a_wrong_option_is_one_clear_line_and_exit_code_2(capsys):
    assert main(["up", "--bogus"]) == 2
    error = capsys.readouterr().err
    assert "--bogus" in error
    assert "--help" in error
    assert "Traceback" not in error


def test_an_unknown_verb_is_refused(capsys):
    assert main(["upp"]) == 2
    assert "upp" in capsys.readouterr().err


def test_a_cluster_that_is_not_there_is_named_and_exit_code_4(capsys, monkeypatch):
    monkeypatch.setenv("NETLOOM_HOME", "/run/netloom-none")  # short: sockets would live below it
    for words in (
        ["down", "--name", "ghost"],
        ["status", "--name", "ghost"],
        ["kubeconfig", "--name", "ghost"],
    ):
        assert main(words) == 4, words
        assert "ghost" in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_every_verb_and_its_options(shell, capsys):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for verb in VERBS:
        assert verb.word in script
    assert "pod-cidr" in script


def test_the_bash_completion_is_bash(capsys):
    main(["completion", "bash"])
    script = (
        capsys.readouterr().out
        + '\nCOMP_WORDS=(netloom st); COMP_CWORD=1; _netloom; echo "${COMPREPLY[@]}"\n'
    )
    out = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout
    assert out.split() == ["status"]
