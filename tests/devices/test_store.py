import hashlib
from pathlib import Path
from typing import Any

import pytest

from nasc.devices.remote import Link
from nasc.devices.remote.link import DiskFull
from nasc.devices.remote.store import Store


@pytest.fixture
def store(link: Link, here: Any) -> Store:
    return Store(link, str(here.folder / "nasc"))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model"
    path.write_bytes(bytes(range(256)) * 40)
    return path


def test_a_file_is_sent_once(store: Store, model: Path, here: Any) -> None:
    assert store.ensure({"models/a": model}) == 1
    assert store.ensure({"models/a": model}) == 0
    assert (here.folder / "nasc/models/a").read_bytes() == model.read_bytes()
    assert here.calls.count("push") == 1


def test_a_file_that_was_changed_on_the_device_is_sent_again(store: Store, model: Path, here: Any) -> None:
    store.ensure({"models/a": model})
    (here.folder / "nasc/models/a").write_bytes(b"bit rot")
    assert store.ensure({"models/a": model}) == 1
    assert (here.folder / "nasc/models/a").read_bytes() == model.read_bytes()


def test_a_push_that_broke_leaves_no_torn_file(store: Store, model: Path, here: Any) -> None:
    store.link.run("true")
    here.breaks.append("torn push")
    assert store.ensure({"models/a": model}) == 1
    found = {path.name: path.read_bytes() for path in (here.folder / "nasc/models").iterdir()}
    assert found == {"a": model.read_bytes()}


def test_what_arrives_changed_is_not_kept(store: Store, model: Path, here: Any) -> None:
    push = here.push

    def corrupt(files: Any, timeout_s: float) -> None:
        push(files, timeout_s)
        for _, remote in files:
            Path(remote).write_bytes(b"other bytes")

    here.push = corrupt
    with pytest.raises(Exception, match="models/a arrived changed 3 times"):
        store.ensure({"models/a": model})
    assert list((here.folder / "nasc/models").iterdir()) == []


def test_programs_stay_executable_and_data_does_not_become_so(store: Store, model: Path, here: Any) -> None:
    program = model.with_name("program")
    program.write_text("#!/bin/sh\necho it runs\n")
    program.chmod(0o755)
    store.ensure({"bundle/program": program, "bundle/data": model})
    assert store.link.run(f"{here.folder}/nasc/bundle/program").output == "it runs\n"
    assert not (here.folder / "nasc/bundle/data").stat().st_mode & 0o111


def test_a_full_disk_loses_the_models_of_earlier_sessions_first(store: Store, model: Path, here: Any) -> None:
    store.ensure({"models/old": model, "bundle/program": model})
    push, room = here.push, [False]

    def full_until_pruned(files: Any, timeout_s: float) -> None:
        if (here.folder / "nasc/models/old").exists():
            raise DiskFull("here: the device's disk is full", "free space")
        room[0] = True
        push(files, timeout_s)

    here.push = full_until_pruned
    fresh = model.with_name("fresh")
    fresh.write_bytes(b"fresh")
    store.ensure({"models/new": fresh})
    assert room[0]
    assert (here.folder / "nasc/bundle/program").exists()
    assert hashlib.sha256((here.folder / "nasc/models/new").read_bytes()).digest() == hashlib.sha256(b"fresh").digest()


def test_a_disk_that_stays_full_is_said_with_what_was_needed(store: Store, model: Path, here: Any) -> None:
    def full(files: Any, timeout_s: float) -> None:
        raise DiskFull("here: the device's disk is full", "free space")

    here.push = full
    with pytest.raises(DiskFull, match=r"expected room for 10,240 bytes in .*nasc; [\d,]+ are free") as caught:
        store.ensure({"models/a": model})
    assert "what was measured so far is kept" in caught.value.hint


def test_an_answer_that_was_lost_does_not_lose_the_file(store: Store, model: Path, here: Any) -> None:
    store.link.run("true")
    shell, broken = here.shell, []

    def lose_the_answer(command: str, timeout_s: float) -> str:
        answer = shell(command, timeout_s)
        if "case" in command and not broken:
            broken.append(command)
            here.breaks.append("answer of shell")
            here._answer("shell", "")
        return str(answer)

    here.shell = lose_the_answer
    assert store.ensure({"models/a": model}) == 1
    assert broken
    assert here.calls.count("push") == 1
    assert (here.folder / "nasc/models/a").read_bytes() == model.read_bytes()


def test_a_wrong_file_of_the_same_name_does_not_pass_for_the_one_that_arrived_torn(
    store: Store, model: Path, here: Any
) -> None:
    store.ensure({"models/a": model})
    (here.folder / "nasc/models/a").write_bytes(b"bit rot")
    push, torn = here.push, []

    def corrupt_once(files: Any, timeout_s: float) -> None:
        push(files, timeout_s)
        if not torn:
            torn.append(files)
            Path(files[0][1]).write_bytes(b"torn")

    here.push = corrupt_once
    store.ensure({"models/a": model})
    assert (here.folder / "nasc/models/a").read_bytes() == model.read_bytes()
