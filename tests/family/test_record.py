"""Families on disk."""

from pathlib import Path

import pytest

from nasc.errors import RunError
from nasc.family import FAMILY_FILE, Family, load_family, save_family


def test_a_family_is_read_as_it_was_written_and_others_are_refused_in_words(tmp_path: Path) -> None:
    family = Family("r", "m", "d", 10, (1, 8, 8), {"a": 4}, 16, ways=(), members=(), validation=5)
    save_family(family, tmp_path)
    assert load_family(tmp_path) == family
    (tmp_path / FAMILY_FILE).write_text((tmp_path / FAMILY_FILE).read_text().replace('"schema":1', '"schema":9'))
    with pytest.raises(RunError, match="schema 9, expected 1"):
        load_family(tmp_path)
    (tmp_path / FAMILY_FILE).write_text("{")
    with pytest.raises(RunError, match="is not a family"):
        load_family(tmp_path)
    with pytest.raises(RunError, match="expected the run of a family") as caught:
        load_family(tmp_path / "nowhere")
    assert "--method sorted" in caught.value.hint
