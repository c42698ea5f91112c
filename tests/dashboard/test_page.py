"""The page is one file that asks nothing of the network and escapes what it shows."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nasc.dashboard import collect_payload, render_page, write_page
from nasc.dashboard.payload import BLOCK, to_text

Fill = Callable[..., Path]


@pytest.fixture
def page(tmp_path: Path, fill: Fill) -> Path:
    write_page([fill(tmp_path / "runs")], tmp_path / "page.html")
    return tmp_path / "page.html"


def own_markup(page: Path) -> str:
    """The page without the scripts and styles inside it."""
    return re.sub(r"<(script|style)\b.*?</\1>", "", page.read_text(), flags=re.S)


def data_of(text: str) -> Any:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, flags=re.S)
    assert found is not None
    return json.loads(found[1])


def test_the_page_loads_nothing_from_anywhere(page: Path) -> None:
    markup = own_markup(page)
    assert not re.search(r"""(src|href|action)\s*=\s*(?!["']?(#|data:))""", markup)
    assert "default-src 'none'" in markup
    assert "connect-src 'none'" in markup


def test_names_from_records_are_data_and_never_markup(page: Path) -> None:
    assert "<img src=x" not in page.read_text()
    assert page.read_text().count("<script") == page.read_text().count("</script>") == 4


def test_corrupt_records_are_one_sentence_each_and_the_rest_is_shown(tmp_path: Path, fill: Fill) -> None:
    runs = fill(tmp_path / "runs", 1)
    for name, content in (("torn", '{"schema": 1,'), ("old", '{"schema": 0, "run": "x"}')):
        (runs / name).mkdir()
        (runs / name / "record.json").write_text(content)
    info = write_page([runs], tmp_path / "page.html")
    assert info.count == 1
    problems = data_of((tmp_path / "page.html").read_text())["problems"]
    assert len(problems) == 2
    assert "has schema 0, expected 1" in problems[0]
    assert "is not a whole record" in problems[1]


def test_no_runs_make_a_page_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    info = write_page([tmp_path / "runs"], tmp_path / "page.html")
    assert info.count == 0
    assert info.problems == (f"{tmp_path / 'runs'} holds no finished run",)


def test_details_stand_in_blocks_in_the_order_of_the_runs(tmp_path: Path, fill: Fill) -> None:
    payload = collect_payload([fill(tmp_path / "runs", BLOCK + 2)])
    assert payload.blocks == 2
    assert [len(payload.block(number)) for number in (0, 1)] == [BLOCK, 2]
    text = render_page(payload)
    assert all(f'id="block-{number}"' in text for number in (0, 1))
    assert 'id="block-0"' not in render_page(payload, live=True)


def test_what_is_no_number_becomes_null() -> None:
    assert to_text({"a": [float("nan"), 1.5, "</script>"]}) == '{"a":[null,1.5,"\\u003c/script>"]}'


def test_the_dashboard_does_not_import_torch(tmp_path: Path, fill: Fill) -> None:
    runs = fill(tmp_path / "runs", 1)
    code = (
        "import sys; from pathlib import Path; from nasc.dashboard import write_page\n"
        f"write_page([Path({str(runs)!r})], Path({str(tmp_path / 'page.html')!r}))\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
