"""Training histories are read row by row, with what is not whole left out and said."""

from pathlib import Path

from nasc.dashboard.curves import read_curves


def test_rows_become_series_and_nested_numbers_join_them(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text(
        '{"epoch": 1, "train_loss": 2.0, "metrics": {"strength": 0.1}}\n{"epoch": 2, "train_loss": 1.0, "name": "x"}\n'
    )
    problems: list[str] = []
    curves = read_curves(path, problems)
    assert curves is not None
    assert (curves.unit, curves.positions) == ("epoch", (1.0, 2.0))
    assert curves["train_loss"] == (2.0, 1.0)
    assert curves["strength"] == (0.1, None)
    assert [series.name for series in curves.matching("loss")] == ["train_loss"]
    assert problems == []


def test_after_a_resume_the_later_row_of_an_epoch_counts(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text('{"epoch": 1, "loss": 3}\n{"epoch": 2, "loss": 9}\n{"epoch": 2, "loss": 2}\n')
    curves = read_curves(path, [])
    assert curves is not None
    assert curves["loss"] == (3.0, 2.0)


def test_torn_lines_and_numbers_that_are_none_are_left_out_and_said(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text('{"epoch": 1, "loss": NaN, "accuracy": 0.5}\n{"epoch": 2, "acc')
    problems: list[str] = []
    curves = read_curves(path, problems)
    assert curves is not None
    assert [series.name for series in curves.series] == ["accuracy"]
    assert problems == [f"{path}: 1 of 2 lines are not whole and were left out"]


def test_an_empty_history_has_no_curves(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").write_text("")
    assert read_curves(tmp_path / "history.jsonl", []) is None
