"""What the page says is computed from records alone, and compared by equality."""

from pathlib import Path
from typing import Any

from nasc.dashboard.details import build_details
from nasc.dashboard.info import COLUMNS, ConditionsInfo, Headline, build_info, meets_target, unique_labels
from nasc.records import Collection, Entry, Record, Width


def make_record(**changes: Any) -> Record:
    values: dict[str, Any] = {
        "run": "first",
        "model": "net",
        "data": "cifar10:/somewhere",
        "method": "surrogate",
        "seed": 0,
        "epochs": 8,
        "device": "cpu",
        "runtime": "litert",
        "threads": 1,
        "dtype": "float32",
        "target": "-50%",
        "date": "2026-01-02T03:04:05+00:00",
        "accuracy": 0.83,
        "accuracy_stderr": 0.004,
        "dense_accuracy": 0.84,
        "macs": 2_500_000,
        "dense_macs": 5_000_000,
        "params": 100_000,
        "target_s": 0.0025,
        "predicted_s": 0.0024,
        "measured_s": 0.00245,
        "spread_s": 0.00004,
        "interval": (0.00242, 0.00249),
        "dense_measured_s": 0.005,
        "dense_predicted_s": 0.0049,
        "widths": (Width(name="conv1", dense=16, kept=8),),
    }
    return Record(**(values | changes))


def info_of(*records: Record, folder: Path = Path()) -> Any:
    return build_info(Collection(tuple(Entry(record, folder) for record in records)))


def test_one_run_is_summed_up_against_its_dense_model_and_its_target() -> None:
    assert info_of(make_record()).headlines == (
        Headline("Measured latency", "2.45 ± 0.04 ms", "−51.0 % against 5.00 ms"),
        Headline("Test accuracy", "83.0 ± 0.4 %", "−1.00 points against 84.0 %"),
        Headline("Target", "-50%", "met: 98.0 % of it is used", good=True),
        Headline("Multiply-adds", "2.50 M", "−50.0 % against dense"),
    )


def test_several_runs_are_summed_up_by_targets_met_and_prediction_error() -> None:
    slow = make_record(run="slow", measured_s=0.003, interval=(0.0029, 0.0031), accuracy=0.838)
    headlines = info_of(make_record(), slow).headlines
    assert headlines[0] == Headline("Finished models", "2", "on cpu")
    assert headlines[1] == Headline("Targets met", "1 of 2", "by the upper end of the interval", good=False)
    assert headlines[2].value == "11.0 %"  # the median of 2.0 % and 20.0 %
    assert headlines[3] == Headline("Most saved within 0.5 points", "40 %", "slow, surrogate")


def test_a_target_is_met_only_by_the_upper_end_of_the_interval() -> None:
    assert meets_target(make_record(interval=(0.00240, 0.00250))) is True
    assert meets_target(make_record(interval=(0.00240, 0.00251))) is False
    assert meets_target(make_record(interval=None, spread_s=0.00004)) is True
    assert meets_target(make_record(interval=None, spread_s=0.00006)) is False
    assert meets_target(make_record(measured_s=None)) is None
    assert meets_target(make_record(target="2Mparam", target_s=None)) is None


def test_every_run_has_a_value_in_every_column_in_its_own_unit() -> None:
    info = info_of(make_record(), make_record(run="second", measured_s=0.004, interval=None, accuracy=0.82))
    assert info.count == 2
    assert set(info.columns) == set(COLUMNS)
    assert all(len(values) == 2 for values in info.columns.values())
    assert info.columns["label"] == ("first", "second")
    assert info.columns["measured_s"] == (0.00245, 0.004)
    assert info.columns["low_s"] == (0.00242, None)
    assert info.columns["met"] == (True, False)
    assert info.columns["data"] == ("cifar10", "cifar10")


def test_only_runs_under_the_same_conditions_share_a_frontier() -> None:
    info = info_of(make_record(), make_record(origin="simulated"), make_record(device="phone"))
    assert [(c.simulated, "phone" in c.title) for c in info.conditions] == [
        (False, False),
        (True, False),
        (False, True),
    ]
    assert info.columns["conditions"] == (0, 1, 2)
    assert isinstance(info.conditions[0], ConditionsInfo)


def test_runs_of_one_name_get_labels_of_their_own() -> None:
    assert unique_labels([make_record(), make_record(), make_record(run="other")]) == ("first", "first (2)", "other")


def test_what_a_record_does_not_know_is_left_out_or_absent() -> None:
    bare = make_record(
        predicted_s=None, measured_s=None, interval=None, dense_accuracy=None, dense_measured_s=None, dense_macs=None,
        widths=(),
    )  # fmt: skip
    assert info_of(bare).columns["measured_s"] == (None,)
    details = build_details(Entry(bare, Path()))
    assert all(text for _, text in details.lines)
    assert details.widths == ()
    assert details.curves is None


def test_no_records_give_a_page_that_says_so() -> None:
    assert build_info(Collection((), ("runs holds no finished run",))).title == "No finished runs"


def test_a_missing_history_is_one_sentence_and_the_run_is_still_shown(tmp_path: Path) -> None:
    details = build_details(Entry(make_record(history="history.jsonl"), tmp_path))
    assert details.curves is None
    assert len(details.problems) == 1
    assert "history.jsonl" in details.problems[0]


def test_bits_and_densities_of_weights_stand_beside_each_other() -> None:
    record = make_record(extra={"bits": {"a.weight": 8, "b.weight": 4}, "density": {"b.weight": 0.25}})
    forms = build_details(Entry(record, Path())).forms
    assert [(form.name, form.bits, form.density) for form in forms] == [("a.weight", 8, None), ("b.weight", 4, 0.25)]


def test_a_damaged_family_or_analysis_is_a_sentence_and_the_rest_is_shown(tmp_path: Path) -> None:
    (tmp_path / "analysis").mkdir()
    (tmp_path / "analysis" / "good.json").write_text('{"title": "IoU", "figure": {"data": []}}')
    (tmp_path / "analysis" / "torn.json").write_text('{"title": ')
    (tmp_path / "family.json").write_text("[1, ")  # as a kill leaves no file, but a bad disk may
    details = build_details(Entry(make_record(), tmp_path))
    assert [analysis.title for analysis in details.analyses] == ["IoU"]
    assert details.family == ()
    assert len(details.problems) == 2
