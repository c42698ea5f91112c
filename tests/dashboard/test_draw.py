"""Figures hold exactly what the info says, and nothing from a record is read as markup."""

from pathlib import Path
from typing import Any

import pytest

from nasc.dashboard import draw
from nasc.dashboard.curves import Curves, Series
from nasc.dashboard.info import FrontierInfo, Mark, PredictionInfo, WidthInfo, build_info
from nasc.records import Collection, Entry, Record


def mark(key: int | None, method: str, latency_s: float, accuracy: float, on_front: bool) -> Mark:
    return Mark(key, f"run {key}", method, latency_s, 1e-5, accuracy, 0.004, on_front, (("Model", "<b>net</b>"),))


def traces(figure: Any) -> dict[str, Any]:
    return {trace["name"]: trace for trace in figure.to_plotly_json()["data"]}


def test_a_frontier_has_a_trace_per_method_in_milliseconds_and_percent_with_error_bars() -> None:
    marks = (mark(0, "a", 0.002, 0.8, True), mark(1, "b", 0.003, 0.7, False), mark(None, "dense", 0.005, 0.9, True))
    figure = draw.draw_frontier(FrontierInfo("here", marks, ((0.002, 0.8), (0.005, 0.9)), (0.0025,), False))
    found = traces(figure)
    assert set(found) == {"Pareto front", "a", "b", "dense"}
    assert (list(found["a"]["x"]), list(found["a"]["y"])) == ([2.0], [80.0])
    assert list(found["b"]["marker"]["opacity"]) == [draw.DIMMED]
    assert found["a"]["error_x"]["array"][0] == pytest.approx(0.01)
    assert found["a"]["error_y"]["array"][0] == pytest.approx(0.4)
    assert list(found["Pareto front"]["x"]) == [2.0, 5.0]
    assert "&lt;b&gt;net" in found["a"]["hovertext"][0]
    assert figure.layout.shapes[0].x0 == 2.5
    assert figure.layout.annotations[0].text == "target 2.5 ms"


@pytest.mark.parametrize(("largest_s", "unit"), [(2.0, "s"), (0.002, "ms"), (2e-5, "us")])
def test_axes_take_the_unit_that_suits(largest_s: float, unit: str) -> None:
    assert draw.choose_unit([largest_s, 1e-6]).name == unit


def test_widths_show_kept_beside_dense_in_the_order_of_the_network() -> None:
    found = traces(draw.draw_widths([WidthInfo("b", 16, 4), WidthInfo("a", 8, 8)]))
    assert list(found["kept"]["y"]) == ["b", "a"]
    assert list(found["kept"]["x"]) == [4, 8]
    assert list(found["dense"]["text"]) == ["4 / 16", "8 / 8"]


def test_predictions_stand_around_the_line_of_agreement() -> None:
    found = traces(draw.draw_predictions([PredictionInfo("x", 0.0020, 0.0021, 1e-5)]))
    assert (found["models"]["x"][0], found["models"]["y"][0]) == pytest.approx((2.0, 2.1))
    assert list(found["equal"]["x"]) == list(found["equal"]["y"])
    assert "-4.8 %" in found["models"]["hovertext"][0]


def test_curves_get_a_panel_each_for_loss_accuracy_latency_and_strength() -> None:
    record = Record(
        run="r", model="m", data="d", method="x", seed=0, epochs=2, device="cpu", runtime="litert", threads=1,
        dtype="float32", target="2ms", date="2026", accuracy=0.5, macs=1, params=1, target_s=0.002,
    )  # fmt: skip
    run = build_info(Collection((Entry(record, Path()),))).runs[0]
    series = (
        ("train_loss", (2.0, 1.0)),
        ("val_accuracy", (0.5, 0.6)),
        ("price", (0.003, 0.002)),
        ("strength", (0.1, 1.0)),
    )
    figure = draw.draw_curves(run, Curves("epoch", (1.0, 2.0), tuple(Series(*pair) for pair in series)))
    found = traces(figure)
    assert list(found["val accuracy"]["y"]) == [50.0, 60.0]
    assert list(found["price"]["y"]) == [3.0, 2.0]
    assert [figure.layout[f"yaxis{i}"].title.text for i in ("", 2, 3, 4)] == [
        "loss",
        "accuracy (%)",
        "latency (ms)",
        "strength λ",
    ]
    assert figure.layout.yaxis4.type == "log"
