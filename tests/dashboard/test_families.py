from collections.abc import Callable
from pathlib import Path

from nasc.dashboard.families import read_members
from nasc.records import Record


def test_members_come_from_cheap_to_dear_with_what_they_keep(
    tmp_path: Path, make_family: Callable[[Path], None], make_run: Callable[..., Record]
) -> None:
    make_family(tmp_path)
    members = read_members(tmp_path, make_run(0), [])
    assert [(m.label, m.price, m.unit, m.accuracy, m.predicted) for m in members] == [
        ("width 4", 4000, "macs", 0.6, False),
        ("width 8", 8000, "macs", 0.8, False),
        ("width 12", 12000, "macs", 0.7, False),
    ]
    assert members[0].shares == {"conv1": 0.25}


def test_a_run_that_is_no_family_has_no_members_and_no_problem(tmp_path: Path, make_run: Callable[..., Record]) -> None:
    problems: list[str] = []
    assert read_members(tmp_path, make_run(0), problems) == ()
    assert problems == []
