import json
from pathlib import Path

import pytest

from nasc.devices import SimulatedDevice
from nasc.errors import TableError
from nasc.kernels import signature
from nasc.measurement import Block, record_environment
from nasc.table.journal import Journal

SHAPE = signature("linear", rows=1).at(c_in=64, c_out=10)
OTHER = signature("unary", op="relu", positions=49).at(channels=96)
BLOCKS = (Block((1.5e-5, 1.25e-5), 2e-4, 2.5e-4), Block((1.75e-5,), 2e-4, 2e-4))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    journal = Journal(tmp_path / "table.jsonl")
    journal.start(record_environment(SimulatedDevice()))
    journal.add([(SHAPE, BLOCKS), (OTHER, BLOCKS[:1])])
    journal.add([(SHAPE, BLOCKS)])
    return journal.path


def same(got: tuple[Block, ...], expected: tuple[Block, ...]) -> bool:
    return [block.samples_s for block in got] == [pytest.approx(block.samples_s) for block in expected]


def test_every_session_comes_back(path: Path) -> None:
    sessions = Journal(path).sessions
    assert {shape: len(taken) for shape, taken in sessions.items()} == {SHAPE: 2, OTHER: 1}
    assert same(sessions[SHAPE][0], BLOCKS)
    assert sessions[SHAPE][0][0].anchor_after_s == pytest.approx(2.5e-4)


def test_wherever_a_writer_died_whole_lines_stay_and_writing_goes_on(path: Path) -> None:
    content = path.read_bytes()
    for end in range(len(content), 0, -7):
        path.write_bytes(content[:end])
        whole = content[:end].count(b"\n")
        journal = Journal(path)
        assert sum(len(taken) for taken in journal.sessions.values()) == max(whole - 1, 0)
        journal.add([(OTHER, BLOCKS)])
        assert len(Journal(path).sessions[OTHER]) == len(journal.sessions[OTHER])


def test_a_line_that_is_no_session_is_named(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b'{"kind":"linear"}\n')
    with pytest.raises(TableError, match=r"table\.jsonl, line 5: expected a session"):
        Journal(path)


def test_a_new_journal_is_empty_and_makes_no_file(tmp_path: Path) -> None:
    assert Journal(tmp_path / "none.jsonl").sessions == {}
    assert not (tmp_path / "none.jsonl").exists()


def test_what_a_session_said_of_itself_stands_before_its_samples(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    Journal(path).add([(SHAPE, BLOCKS)], facts={"runner": "bundle 0123", "thermal_status": 0, "clock_mhz": None})
    first, second = path.read_text().splitlines()
    assert json.loads(first) == {"session": {"runner": "bundle 0123", "thermal_status": 0, "clock_mhz": None}}
    assert json.loads(second)["kind"] == SHAPE.kind
    assert same(Journal(path).sessions[SHAPE][0], BLOCKS)
