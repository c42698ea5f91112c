"""The command line's manners: fast help, one JSON object, sentences instead of tracebacks, the right exit status."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import click
import pytest

from nasc.cli import program, run
from nasc.cli._failures import explain
from nasc.cli._program import VERBS
from nasc.errors import RunError, UsageError


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "nasc", *arguments], capture_output=True, text=True, timeout=120)


def test_help_answers_in_half_a_second_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from nasc.cli import run; status = run(['--help'])\n"
        "heavy = {'torch', 'ray', 'plotly', 'pandas', 'sklearn', 'numpy'} & set(sys.modules)\n"
        "assert status == 0 and not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert call("--help").returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Processor time, so that a busy machine changes nothing.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example_and_the_json_option(verb: str) -> None:
    command = program.get_command(click.Context(program), verb)
    assert command is not None
    text = command.get_help(click.Context(command, info_name=f"nasc {verb}"))
    assert "Example" in text
    assert f"nasc {verb}" in text.partition("Example")[2]
    assert "--json" in text


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_answers_help_under_its_own_name(verb: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run([verb, "--help"]) == 0
    assert f"Usage: nasc {verb}" in capfd.readouterr().out


def test_an_unknown_verb_lists_the_known_and_exits_with_2() -> None:
    result = call("compres")
    assert result.returncode == 2
    assert "unknown command 'compres'; known: devices, profile" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["estimate"], 2, "Missing option '--model'"),
        (["compress", "-m", "a", "-d", "b", "--target-latency", "8"], 2, "the unit is missing"),
        (["compress", "-m", "a", "-d", "b", "--target-latency", "-140%"], 2, "between -100% and 0%"),
        (["compress", "-m", "a", "-d", "b", "--target-latency", "8ms", "--threads", "0"], 2, "--threads"),
        (["compress", "-m", "a", "-d", "b", "--target-latency", "8ms", "--method", "magic"], 2, "known: surrogate"),
        (["compress", "-m", "a", "-d", "nothing", "--target-latency", "8ms"], 2, "digits"),
        (["compress", "-m", "digits-cnn", "-d", "cifar10:nowhere", "--target-latency", "8ms"], 1, "nowhere"),
        (["compress", "-m", "digit-cnn", "-d", "digits", "--target-latency", "8ms"], 2, "digits-cnn"),
        (["compress", "-m", "a", "-d", "b", "--target-latency", "8ms", "--option", "strength"], 2, "NAME=VALUE"),
        (["inspect", "-m", "a", "--input-shape", "3x"], 2, "3x224x224"),
        (["export", "nowhere", "--format", "tar"], 2, "'litert', 'onnx', 'torch'"),
        (["export", "nowhere"], 1, "nowhere"),
        (["measure", "nowhere.tflite"], 1, "nowhere.tflite"),
        (["dashboard", "nowhere"], 1, "nowhere does not exist"),
        (["estimate", "-m", "digits-cnn", "--device", "toaster"], 2, "known: android, cpu"),
        (["tables", "check"], 2, "--model"),
        (["tables", "compare", "one.csv"], 2, "two tables"),
        (["tables", "compare", "one.csv", "two.csv"], 1, "one.yaml"),
        (["devices", "--frobnicate"], 2, "--frobnicate"),
    ],
)
def test_bad_input_is_one_sentence_and_in_json_one_object(
    arguments: list[str],
    status: int,
    words: str,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == status
    plain = capfd.readouterr()
    assert plain.out == ""
    assert words in plain.err
    assert "Traceback" not in plain.err
    assert run([*arguments, "--json"]) == status
    reply = json.loads(capfd.readouterr().out)
    assert set(reply) == {"error", "hint"}
    assert words in reply["error"] + reply["hint"]
    assert "\n" not in reply["error"]


def test_stdout_holds_the_json_object_alone_even_when_a_library_prints_there() -> None:
    code = (
        "import os, sys, click\n"
        "from nasc.cli import _program, run\n"
        "from nasc.cli._output import Reply, Verb\n"
        "@click.command(cls=Verb)\n"
        "def command():\n"
        "    print('from python'); os.write(1, b'from C'); return Reply({'x': 1.5, 'y': float('nan')}, 'text')\n"
        "_program.VERBS['noisy'] = ''\n"
        "sys.modules['nasc.cli.noisy'] = type(sys)('noisy'); sys.modules['nasc.cli.noisy'].command = command\n"
        "sys.exit(run(['noisy', '--json']))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0
    assert json.loads(result.stdout) == {"x": 1.5, "y": None}
    assert "from python" in result.stderr
    assert "from C" in result.stderr


def test_devices_lists_the_host_and_reads_as_json(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["devices", "--json"]) == 0
    found = json.loads(capfd.readouterr().out)["devices"]
    assert "cpu" in [device["name"] for device in found]


def test_ctrl_c_says_how_to_go_on() -> None:
    failure = explain(KeyboardInterrupt(), resume="nasc compress -m x")
    assert (failure.message, failure.hint, failure.status) == ("stopped", "resume with: nasc compress -m x", 130)


def test_every_exception_becomes_a_sentence_a_hint_and_a_status(nasc_home: Path) -> None:
    assert explain(RunError("a", "b")).status == 1
    assert explain(UsageError("a", "b")).status == 2
    missing = explain(ModuleNotFoundError("No module named 'timm'", name="timm"))
    assert (missing.status, missing.hint) == (1, "pip install 'nasc[zoo]'")
    full = explain(OSError(28, "No space left on device", "/somewhere/file"))
    assert full.message == "the system refused: No space left on device (/somewhere/file)"


def test_a_bug_is_told_in_one_sentence_with_its_traceback_in_a_file(nasc_home: Path) -> None:
    try:
        raise ValueError("odd\nsecond line")
    except ValueError as error:
        failure = explain(error)
    assert failure.message == "nasc met something it does not know: ValueError: odd"
    assert str(nasc_home / "last_traceback.txt") in failure.hint
    assert "Traceback" in (nasc_home / "last_traceback.txt").read_text()
