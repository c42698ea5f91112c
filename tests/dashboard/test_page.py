"""The page is one file that asks nothing of the network, escapes what it shows, and works in a real browser."""

import html
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nasc.dashboard import write_page
from nasc.records import Record, Width, save_record

HOSTILE = "</script><script>document.title='taken'</script><img src=x onerror=alert(1)>"


def fill(folder: Path, count: int = 3) -> None:
    for i in range(count):
        run = folder / f"run-{i}"
        record = Record(
            run=f"run-{i}", model="digits-cnn", data="digits", method=("surrogate", "l1")[i % 2], seed=i, epochs=3,
            device="cpu", runtime="litert", threads=1, dtype="float32", target="2ms", target_s=0.002, date="2026-01-02",
            accuracy=0.9 - 0.01 * i, accuracy_stderr=0.004, dense_accuracy=0.91, macs=1000, params=100,
            predicted_s=0.00195, measured_s=0.0019 - 0.0002 * i, spread_s=1e-5, dense_measured_s=0.004,
            dense_predicted_s=0.0041, widths=(Width(name="conv1", dense=16, kept=8 - i),), history="history.jsonl",
            warnings=(HOSTILE,), command=HOSTILE,
        )  # fmt: skip
        save_record(record, run)
        rows = [{"epoch": e, "train_loss": 1 / (1 + e), "val_accuracy": 0.5 + 0.1 * e} for e in range(3)]
        (run / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def page(tmp_path: Path) -> Path:
    fill(tmp_path / "runs")
    write_page([tmp_path / "runs"], tmp_path / "page.html")
    return tmp_path / "page.html"


def own_markup(page: Path) -> str:
    """The page without the scripts and styles inside it."""
    return re.sub(r"<(script|style)\b.*?</\1>", "", page.read_text(), flags=re.S)


def test_the_page_loads_nothing_from_anywhere(page: Path) -> None:
    markup = own_markup(page)
    assert not re.search(r"""(src|href|action)\s*=\s*(?!["']?(#|data:))""", markup)
    assert "default-src 'none'" in markup


def test_names_from_records_are_text_and_never_markup(page: Path) -> None:
    assert "<img src=x" not in page.read_text()
    assert page.read_text().count("<script") == page.read_text().count("</script>") == 3


def test_corrupt_records_are_one_sentence_each_and_the_rest_is_shown(tmp_path: Path) -> None:
    fill(tmp_path / "runs", 1)
    (tmp_path / "runs" / "torn").mkdir()
    (tmp_path / "runs" / "torn" / "record.json").write_text('{"schema": 1,')
    info = write_page([tmp_path / "runs"], tmp_path / "page.html")
    assert len(info.runs) == 1
    text = html.unescape(own_markup(tmp_path / "page.html"))
    assert "Not everything could be read" in text
    assert "is not a whole record" in text


def test_no_runs_make_a_page_that_says_how_to_make_one(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    write_page([tmp_path / "runs"], tmp_path / "page.html")
    assert "Make one: nasc demo" in own_markup(tmp_path / "page.html")


def test_the_dashboard_does_not_import_torch(tmp_path: Path) -> None:
    fill(tmp_path / "runs", 1)
    code = (
        "import sys; from pathlib import Path; from nasc.dashboard import write_page\n"
        f"write_page([Path({str(tmp_path / 'runs')!r})], Path({str(tmp_path / 'page.html')!r}))\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def open_in_browser(page: Path, tmp_path: Path, script: str = "") -> tuple[str, str]:
    """The page's markup after it ran in headless Chromium, and what the browser's console said."""
    browser = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    if script:
        acting = tmp_path / "acting.html"
        acting.write_text(page.read_text().replace("</body>", f"<script>{script}</script></body>"))
        page = acting
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    more = "--disable-component-update --disable-sync --enable-logging=stderr --virtual-time-budget=8000 --dump-dom"
    command = [browser, *flags.split(), *more.split(), f"--user-data-dir={tmp_path / 'profile'}", page.as_uri()]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return result.stdout, "\n".join(line for line in result.stderr.splitlines() if "CONSOLE" in line)


@pytest.mark.slow
def test_a_browser_draws_every_figure_without_a_word_in_the_console(page: Path, tmp_path: Path) -> None:
    dom, console = open_in_browser(page, tmp_path)
    assert console == ""
    for name in ("frontier-0", "widths", "curves", "predictions"):
        assert re.search(rf'<div class="[^"]*js-plotly-plot[^"]*" id="{name}"', dom), f"{name} was not drawn"
    assert "<title>digits-cnn on digits · nasc</title>" in dom


@pytest.mark.slow
def test_picking_a_run_filtering_and_sorting_work_from_the_keyboard_elements(page: Path, tmp_path: Path) -> None:
    script = """
    const pick = document.getElementById("pick"); pick.value = "2"; pick.dispatchEvent(new Event("change"));
    const filter = document.getElementById("filter"); filter.value = "run-1"; filter.dispatchEvent(new Event("input"));
    const measured = [...document.querySelectorAll("th button")].find((b) => b.textContent === "Measured");
    measured.focus(); measured.click();
    document.body.dataset.result = JSON.stringify({
      rows: [...document.querySelectorAll("tbody tr")].map((r) => r.dataset.key),
      shown: [...document.querySelectorAll("tbody tr:not([hidden])")].map((r) => r.dataset.key),
      picked: document.querySelector("tr[aria-selected=true]").dataset.key,
      focused: document.activeElement.textContent,
    });
    """
    dom, console = open_in_browser(page, tmp_path, script)
    assert console == ""
    found = re.search(r'data-result="([^"]*)"', dom)
    assert found is not None
    result = json.loads(html.unescape(found[1]))
    assert result == {"rows": ["2", "1", "0"], "shown": ["1"], "picked": "2", "focused": "Measured"}
