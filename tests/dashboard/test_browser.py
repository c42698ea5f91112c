"""Every view in a real browser: drawn, filtered, picked, linked to, live, and fast; a silent console, no request outside."""

import json
import math
import os
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from nasc.dashboard import Dashboard, write_page
from nasc.frontier import Point, pareto
from nasc.records import Record, append_record

Fill = Callable[..., Path]
Make = Callable[..., Record]
pytestmark = pytest.mark.slow

DRAWN = "document.getElementById('frontier-0').data.filter((t) => t.customdata).flatMap((t) => t.customdata)"
"""Places of the runs whose points are drawn."""

TABLE = """kind,attributes,sizes,best_s,gap_s,cold_s,sessions,runs
conv,height=8 width=8 kernel_h=3 kernel_w=3 stride_h=1 stride_w=1 dilation_h=1 dilation_w=1,c_in=8 c_out=8,1e-5,0,1e-5,3,90
conv,height=8 width=8 kernel_h=3 kernel_w=3 stride_h=1 stride_w=1 dilation_h=1 dilation_w=1,c_in=8 c_out=16,2e-5,0,1e-5,3,90
conv,height=8 width=8 kernel_h=3 kernel_w=3 stride_h=1 stride_w=1 dilation_h=1 dilation_w=1,c_in=16 c_out=8,2e-5,0,1e-5,3,90
conv,height=8 width=8 kernel_h=3 kernel_w=3 stride_h=1 stride_w=1 dilation_h=1 dilation_w=1,c_in=16 c_out=16,4e-5,0,1e-5,3,90
"""


@pytest.fixture
def page(tmp_path: Path, fill: Fill, nasc_home: Path, make_family: Callable[[Path], None]) -> str:
    runs = fill(tmp_path / "runs", 4)
    make_family(runs / "run-0")
    (runs / "run-0" / "analysis").mkdir()
    figure = {"data": [{"type": "bar", "x": ["a"], "y": [1]}], "layout": {}}
    (runs / "run-0" / "analysis" / "entropy.json").write_text(
        json.dumps({"title": "Entropy of masks", "figure": figure})
    )
    table = nasc_home / "latency_tables" / "cpu-here" / "litert-float32-t1.csv"
    table.parent.mkdir(parents=True)
    table.write_text(TABLE)
    write_page([runs], tmp_path / "page.html")
    return (tmp_path / "page.html").as_uri()


def drawn(browser: Any, *names: str) -> None:
    for name in names:
        browser.until(f"document.querySelector('#{name}.js-plotly-plot .main-svg')")


def test_every_view_is_drawn(quiet_browser: Any, page: str) -> None:
    b = quiet_browser
    b.open(page)
    assert b.run("document.title") == "digits-cnn on digits · nasc"
    drawn(b, "frontier-0")
    b.run("document.getElementById('tab-run').click()")
    drawn(b, "widths", "curves", "family-line", "family-map", "analysis-0")
    b.run("document.getElementById('tab-compare').click()")
    drawn(b, "versus")
    b.run("document.getElementById('tab-predicted').click()")
    drawn(b, "predictions")
    b.run("document.getElementById('tab-tables').click()")
    drawn(b, "heat", "stairs")
    b.run("document.getElementById('tab-runs').click()")
    assert b.run("document.querySelectorAll('#runs tbody tr').length") == 4


def test_the_filter_moves_points_table_and_front_together(quiet_browser: Any, page: str) -> None:
    b = quiet_browser
    b.open(page)
    drawn(b, "frontier-0")
    b.run("document.querySelector('#f-methods input[value=l1]').click()")
    b.run("document.getElementById('tab-runs').click()")
    rows = "[...document.querySelectorAll('#runs tbody button')].map((x) => x.textContent).sort().join()"
    assert b.run(rows) == "run-0,run-2"
    b.run(
        "(() => { const q = document.getElementById('q'); q.value = 'run-2'; q.dispatchEvent(new Event('input')); })()"
    )
    b.until(f"{rows} === 'run-2'")
    assert "1 of 4" in b.run("document.getElementById('subtitle').textContent")
    b.run("document.getElementById('tab-frontier').click()")
    b.until(
        "document.getElementById('frontier-0').data.filter((t) => t.customdata).flatMap((t) => t.customdata).join() === '2'"
    )
    assert "run-2 at" in b.run("document.getElementById('frontier-0').getAttribute('aria-label')")
    b.run("document.getElementById('reset').click()")
    assert b.run("nasc.view.chosen.length") == 4


def test_a_click_on_a_point_opens_its_run_and_the_address_leads_back_there(quiet_browser: Any, page: str) -> None:
    b = quiet_browser
    b.open(page)
    drawn(b, "frontier-0")
    b.run("document.getElementById('frontier-0').emit('plotly_click', {points: [{customdata: 3}]})")
    drawn(b, "widths")
    assert b.run("document.getElementById('pick').value") == "3"
    link = b.run("location.href")
    assert "run=run-3" in link
    b.send("Page.navigate", url="about:blank")
    b.open(link)
    drawn(b, "widths")
    assert b.run("document.getElementById('pick').value") == "3"
    b.send("Page.navigate", url="about:blank")
    b.open(f"{page}#view=nonsense&run={quote('no such run')}&theme=dark&off=l1")
    assert b.run("nasc.view.view") == "frontier"
    assert b.run("document.documentElement.dataset.theme") == "dark"
    assert b.run("nasc.view.chosen.join()") == "0,2"


def test_tabs_and_table_work_from_the_keyboard(quiet_browser: Any, page: str) -> None:
    b = quiet_browser
    b.open(page)
    b.run("document.getElementById('tab-frontier').focus()")
    b.press("ArrowRight")
    assert b.run("document.activeElement.id") == "tab-runs"
    b.run("[...document.querySelectorAll('th button')].find((x) => x.textContent === 'Measured').focus()")
    b.run("document.activeElement.click()")
    labels = "[...document.querySelectorAll('#runs tbody button')].map((x) => x.textContent).join()"
    assert b.run(labels) == "run-3,run-2,run-1,run-0"
    assert b.run("document.activeElement.textContent") == "Measured"
    assert b.run("document.querySelector('th[aria-sort]').getAttribute('aria-sort')") == "ascending"
    unnamed = """[...document.querySelectorAll('button, input, select')].filter((x) => !x.disabled && x.offsetParent
      && !(x.textContent.trim() || x.labels?.length || x.getAttribute('aria-label'))).map((x) => x.outerHTML)"""
    assert b.run(unnamed) == []


def test_the_slider_goes_from_target_to_the_most_accurate_member_within_it(quiet_browser: Any, page: str) -> None:
    b = quiet_browser
    b.open(f"{page}#view=run&run=run-0")
    drawn(b, "family-line")
    says = "document.getElementById('member-says').textContent"
    assert b.run(says) == "0.012 MMAC: width 8, accuracy 80.0 %"  # the dearest of all is less accurate
    b.run("(() => { const m = document.getElementById('member'); m.value = 0; m.oninput(); })()")
    assert b.run(says) == "0.004 MMAC: width 4, accuracy 60.0 %"
    b.until("document.getElementById('family-line').data.at(-1).x[0] === 0.004")


def test_the_runs_are_downloaded_as_csv_and_figures_as_pictures(quiet_browser: Any, page: str) -> None:
    b = quiet_browser
    b.open(page)
    drawn(b, "frontier-0")
    csv = b.run("nasc.toCsv(nasc.view.chosen)")
    assert csv.splitlines()[0].startswith("label,conditions,met")
    assert len(csv.splitlines()) == 5
    for kind in ("svg", "png"):
        picture = b.run(f"Plotly.toImage('frontier-0', {{format: '{kind}', width: 600, height: 300}})")
        assert picture.startswith(f"data:image/{kind}")
    b.send("Browser.setDownloadBehavior", behavior="deny")
    b.run("document.getElementById('csv').click()")


def test_it_fits_a_phone_and_both_themes(quiet_browser: Any, page: str) -> None:
    b = quiet_browser
    b.resize(380, 800)
    b.open(f"{page}#theme=dark")
    for view in ("frontier", "runs", "run", "compare", "predicted", "tables"):
        b.run(f"document.getElementById('tab-{view}').click()")
        b.run("new Promise((done) => setTimeout(done, 200))")
        assert b.run("document.documentElement.scrollWidth") <= 380, view
    assert b.run("getComputedStyle(document.body).backgroundColor") == "rgb(14, 16, 20)"


def test_no_runs_give_a_page_that_says_how_to_make_one(quiet_browser: Any, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    write_page([tmp_path / "runs"], tmp_path / "page.html")
    quiet_browser.open((tmp_path / "page.html").as_uri())
    text = quiet_browser.run("document.body.innerText")
    assert "Make one: nasc demo" in text
    assert "holds no finished run" in text


def test_hostile_names_stay_text(quiet_browser: Any, page: str) -> None:
    b = quiet_browser
    b.open(f"{page}#view=run&run=run-0")
    drawn(b, "widths")
    assert b.run("document.querySelectorAll('main img').length") == 0
    assert "<img src=x" in b.run("document.getElementById('provenance').textContent")


def test_the_live_page_shows_a_run_as_it_ends(quiet_browser: Any, tmp_path: Path, make_run: Make) -> None:
    b, ledger = quiet_browser, tmp_path / "runs" / "records.jsonl"
    append_record(make_run(0, history=None), ledger)
    dashboard = Dashboard([tmp_path / "runs"], port=0)
    thread = threading.Thread(target=dashboard.serve)
    thread.start()
    try:
        b.open(dashboard.url)
        b.until("nasc.count === 1 && document.querySelector('#subtitle.live')")
        append_record(make_run(1, history=None), ledger)
        b.until("nasc.count === 2")
        b.until(f"{DRAWN}.length === 2")
        b.run("document.getElementById('tab-run').click()")
        drawn(b, "widths")
    finally:
        b.send("Page.navigate", url="about:blank")
        dashboard.close()
        thread.join()


def test_ten_thousand_records_are_painted_in_two_seconds_and_filtered_in_a_fifth(
    quiet_browser: Any, tmp_path: Path, make_run: Make
) -> None:
    b, generator = quiet_browser, random.Random(0)
    methods = ("surrogate", "l1", "halp", "magnitude-global", "magnitude-uniform", "width-multiplier")
    records = []
    for i in range(10_000):
        latency = generator.uniform(1e-3, 4e-3)
        accuracy = min(0.95, 0.5 + 0.15 * latency * 1e3 * generator.uniform(0.5, 1))
        records.append(
            make_run(i, run=f"run-{i}", accuracy=accuracy, measured_s=latency, method=methods[i % 6], history=None)
        )
    import msgspec

    (tmp_path / "records.jsonl").write_bytes(b"".join(msgspec.json.encode(record) + b"\n" for record in records))
    write_page([tmp_path / "records.jsonl"], tmp_path / "page.html")
    b.open((tmp_path / "page.html").as_uri())
    drawn(b, "frontier-0")
    paint_s = b.run("performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 1e9") / 1e3
    change = """(async () => {
      await new Promise((done) => setTimeout(done, 300));
      const began = performance.now();
      document.querySelector('#f-methods input[value=l1]').click();
      await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
      return performance.now() - began;
    })()"""
    stretch = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))  # the bounds are of a machine that has a core free
    filter_s = math.inf
    for _ in range(20):  # others may be using the machine: the fastest counts, and one that is fast enough ends it
        filter_s = min(filter_s, b.run(change) / 1e3)
        if filter_s <= 0.2 * stretch:
            break
    assert paint_s <= 2 * stretch, f"first paint after {paint_s:.2f} s"
    assert filter_s <= 0.2 * stretch, f"a filter took {filter_s:.3f} s"
    points = [Point(record.measured_s or 0.0, record.accuracy) for record in records]
    expected = {records[k].run for k in pareto(points)}
    # The page's front also knows the dense model; whatever it leaves out, that model dominates.
    front = b.run("""nasc.pareto([...Array(nasc.count).keys()], nasc.columns.measured_s, nasc.columns.accuracy)
      .map((i) => nasc.columns.label[i])""")
    assert set(front) == expected
