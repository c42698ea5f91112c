import time
from pathlib import Path
from typing import Any

import pytest

from nasc.devices.remote import Link, LinkLost
from nasc.errors import DeviceError


def test_a_command_answers_with_its_status_and_all_it_said(link: Link) -> None:
    reply = link.run("echo out; echo err >&2; exit 7")
    assert (reply.status, reply.output) == (7, "out\nerr\n")


def test_an_exit_inside_a_command_does_not_hide_its_status(link: Link) -> None:
    assert link.run("false").status == 1
    assert link.run("true").status == 0


def test_an_answer_without_a_status_counts_as_a_lost_link(here: Any) -> None:
    here.shell = lambda command, timeout_s: ""  # what the adb program gives, with status 0, when the link dies
    with pytest.raises(LinkLost, match="the answer ended early"):
        Link(here, patience_s=0).run("echo hello")


def test_a_link_that_worked_is_tried_again_on_a_new_connection(link: Link, here: Any) -> None:
    link.run("true")
    here.breaks += ["shell", "shell"]
    assert link.run("echo back").output == "back\n"
    assert link.breaks == 2
    assert here.calls.count("close") == 2


def test_the_first_contact_is_tried_only_once(link: Link, here: Any) -> None:
    here.breaks.append("shell")
    with pytest.raises(LinkLost, match="broken for the test"):
        link.run("true")
    assert here.calls == ["shell", "close"]


def test_patience_ends(here: Any) -> None:
    link = Link(here, patience_s=0.3)
    link.run("true")
    here.breaks += ["shell"] * 1000
    start = time.monotonic()
    with pytest.raises(DeviceError, match="waited 0 s for it to come back") as caught:
        link.run("true")
    assert time.monotonic() - start < 5
    assert "what was measured so far is kept" in caught.value.hint


def test_other_errors_are_not_tried_again(link: Link, here: Any) -> None:
    def refuse(command: str, timeout_s: float) -> str:
        here.calls.append("shell")
        raise DeviceError("not authorised", "authorise")

    here.shell = refuse
    with pytest.raises(DeviceError, match="not authorised"):
        link.run("true")
    assert here.calls == ["shell"]


def test_a_pulled_file_is_whole_or_pulled_again(link: Link, here: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 1000)
    link.run("true")
    whole, sent = here.pull, iter([b"x" * 500])
    here.pull = lambda path, timeout_s: next(sent, None) or whole(path, timeout_s)
    assert link.pull(str(tmp_path / "file")) == b"x" * 1000
    assert link.breaks == 1


def test_a_missing_file_is_said_to_be_missing(link: Link, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"expected a file .*nothing"):
        link.pull(str(tmp_path / "nothing"))


def test_a_command_that_must_succeed_fails_with_its_last_words(link: Link) -> None:
    with pytest.raises(DeviceError, match="making room failed with status 3: no room at all"):
        link.check("echo first; echo no room at all; exit 3", "making room")
