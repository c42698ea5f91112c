"""The studies are scripts beside each other in ``benchmarks/``; tests import them as their own command line would."""

import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A private folder in place of the committed results, and a private working folder."""
    import study

    folder = tmp_path / "results"
    folder.mkdir()
    monkeypatch.setattr(study, "RESULTS", folder)
    for name in ("toy", "lambda_sweep", "step_cost"):
        monkeypatch.setattr(f"{name}.RESULTS", folder)
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def arguments() -> Callable[..., Namespace]:
    """The flags of a study as its command line would give them."""
    import study

    return lambda *flags: study.parse_arguments("", ["--size", "tiny", "--jobs", "1", *flags])
