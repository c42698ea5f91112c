import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from nasc.devices.android.discovery import find_phones
from nasc.devices.remote import AdbProgram, LinkLost
from nasc.errors import DeviceError

Script = Callable[[str], str]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """A maker of programs that answer as adb does in a situation that cannot be brought about without hardware."""

    def make(text: str) -> str:
        path = tmp_path / "adb"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return str(path)

    return make


@pytest.mark.parametrize(
    "words",
    [
        "error: device '1A2B' not found",
        "adb: error: device offline",
        "error: closed",
        "error: no devices/emulators found",
    ],
)
def test_a_phone_that_went_away_is_a_lost_link(script: Script, words: str) -> None:
    with pytest.raises(LinkLost, match=words.split()[-1]):
        AdbProgram("1A2B", script(f'echo "{words}" >&2; exit 1')).shell("true", 5)


def test_a_phone_that_waits_for_its_owner_says_what_to_touch(script: Script) -> None:
    program = script("echo 'error: device unauthorized.' >&2; exit 1")
    with pytest.raises(DeviceError, match="1A2B: the phone has not authorised this computer") as caught:
        AdbProgram("1A2B", program).shell("true", 5)
    assert "Allow USB debugging" in caught.value.hint
    assert not isinstance(caught.value, LinkLost)


def test_a_program_that_hangs_is_a_lost_link(script: Script) -> None:
    with pytest.raises(LinkLost, match="no answer to adb exec-out within 0 s"):
        AdbProgram("1A2B", script("exec sleep 60")).shell("true", 0.2)


def test_a_missing_program_says_how_to_install_it() -> None:
    with pytest.raises(DeviceError, match="expected the program /no/adb") as caught:
        AdbProgram("1A2B", "/no/adb").shell("true", 5)
    assert "apt install adb" in caught.value.hint


def test_the_search_tells_usable_phones_from_those_with_a_problem(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = r"List of devices attached\n1A2B\tdevice\n3C4D\tunauthorized\n5E6F\toffline\n"
    program = script(f"printf '{lines}'")
    monkeypatch.setenv("PATH", f"{Path(program).parent}:{os.environ['PATH']}")
    monkeypatch.delenv("NASC_PHONES", raising=False)
    search = find_phones()
    assert search.addresses == ("1A2B",)
    assert [problem.message for problem in search.problems] == [
        "3C4D: the phone has not authorised this computer",
        "5E6F: the phone is offline",
    ]
