import xml.etree.ElementTree as ElementTree
from pathlib import Path

from figure import Panel, Series, write_figure

SVG = "{http://www.w3.org/2000/svg}"


def test_every_point_is_drawn_and_every_name_is_in_the_legend(tmp_path: Path) -> None:
    panel = Panel("a < b", "x", "y", [Series("one", [1, 2, 3], [4, 5, 6]), Series("two", [2], [7], colour=1)])
    write_figure(tmp_path / "a.svg", [panel, panel])
    root = ElementTree.parse(tmp_path / "a.svg").getroot()
    dots = [circle for circle in root.iter(f"{SVG}circle") if circle.get("r") == "2.6"]
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert len(dots) == 8
    assert texts.count("one") == texts.count("two") == texts.count("a < b") == 2


def test_larger_values_lie_further_right_and_higher(tmp_path: Path) -> None:
    write_figure(tmp_path / "a.svg", [Panel("", "x", "y", [Series("", [0.001, 0.002], [10.0, 30.0])])])
    low, high = ElementTree.parse(tmp_path / "a.svg").getroot().iter(f"{SVG}circle")
    assert float(low.get("cx", "")) < float(high.get("cx", ""))
    assert float(low.get("cy", "")) > float(high.get("cy", ""))


def test_ticks_are_round_and_inside_the_axes(tmp_path: Path) -> None:
    write_figure(tmp_path / "a.svg", [Panel("", "x", "y", [Series("", [0.0, 100.0], [0.8, 0.9])])])
    texts = {text.text for text in ElementTree.parse(tmp_path / "a.svg").getroot().iter(f"{SVG}text")}
    assert {"0", "50", "100", "0.80", "0.85", "0.90"} <= texts


def test_a_panel_without_points_says_so_and_equal_points_are_drawn(tmp_path: Path) -> None:
    write_figure(tmp_path / "a.svg", [Panel("", "x", "y", []), Panel("", "x", "y", [Series("", [5, 5], [0, 0])])])
    assert "no results yet" in (tmp_path / "a.svg").read_text()


def test_points_that_are_not_numbers_are_left_out(tmp_path: Path) -> None:
    write_figure(tmp_path / "a.svg", [Panel("", "x", "y", [Series("", [1.0, float("nan")], [1.0, 1.0])])])
    assert "nan" not in (tmp_path / "a.svg").read_text()


def test_no_temporary_file_stays(tmp_path: Path) -> None:
    write_figure(tmp_path / "a.svg", [Panel("", "x", "y", [])])
    assert [path.name for path in tmp_path.iterdir()] == ["a.svg"]
