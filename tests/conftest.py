"""What every test runs under: one thread, a private nasc home, and real data only where it is."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nasc.records import Record

for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")  # before any test imports numpy or torch, which start their thread pools


@pytest.fixture(autouse=True)
def nasc_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A private folder for tables and runs, so that no test reads or writes the user's own."""
    home = tmp_path_factory.mktemp("nasc_home")
    monkeypatch.setenv("NASC_HOME", str(home))
    return home


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The real data sets: ``$NASC_DATA``, or ``../shared/data`` beside the checkout; skips where they are absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("NASC_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no data sets at {folder}; set NASC_DATA to the folder that holds them")
    return folder


@pytest.fixture(scope="session")
def torchvision() -> object:
    """torchvision, imported the way nasc imports it; skips where it is not installed."""
    pytest.importorskip("torch")
    if pytest.importorskip("importlib.util").find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed (an extra: pip install torchvision --no-deps)")
    from nasc.models.torchvision import import_torchvision

    return import_torchvision()


@pytest.fixture(scope="session")
def make_record() -> Callable[..., Record]:
    """A maker of records: a plausible one, with whatever fields a test is about."""

    def make(**changes: Any) -> Record:
        values: dict[str, Any] = {
            "run": "first",
            "model": "net",
            "data": "digits",
            "method": "surrogate",
            "seed": 0,
            "epochs": 8,
            "device": "cpu",
            "runtime": "litert",
            "threads": 1,
            "dtype": "float32",
            "target": "1ms",
            "date": "2026-01-02T03:04:05+00:00",
            "accuracy": 0.9,
            "macs": 1000,
            "params": 200,
            "measured_s": 1e-3,
            "spread_s": 1e-5,
        }
        return Record(**(values | changes))

    return make
