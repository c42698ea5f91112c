"""What is built is whole, holds nothing else, and runs away from the checkout."""

import json
import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from nasc.cli._failures import EXTRAS

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel and an sdist."""
    pytest.importorskip("hatchling", reason="hatchling builds the packages (pip install hatchling)")
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


def test_the_wheel_holds_the_package_and_its_data_and_nothing_else(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"nasc"}
    for needed in (
        "nasc/_data/profilers/cpu/device.yaml",
        "nasc/_data/latency_tables/README.md",
        "nasc/_data/search_spaces/README.md",
        "nasc/dashboard/assets/page.html",
        "nasc/dashboard/assets/page.js",
        "nasc/py.typed",
    ):
        assert needed in names
    assert not [name for name in names if name.endswith((".pyc", ".jsonl"))]


def test_the_sdist_holds_what_a_checkout_holds(dist: Path) -> None:
    (archive,) = dist.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "nasc/__init__.py", "profilers/cpu/device.yaml"} <= names


def test_the_installed_wheel_runs_away_from_the_checkout(dist: Path, tmp_path: Path, nasc_home: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    target = tmp_path / "site"
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        "--target",
        str(target),
        str(wheel),
    ]
    subprocess.run(install, check=True, capture_output=True)
    environment = {**os.environ, "PYTHONPATH": str(target), "NASC_HOME": str(nasc_home)}
    run = [sys.executable, "-m", "nasc", "devices", "--json"]
    found = subprocess.run(run, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
    assert "cpu" in found.stdout
    where = [sys.executable, "-c", "import nasc; print(nasc.__file__)"]
    shown = subprocess.run(where, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
    assert shown.stdout.startswith(str(target))
    assert isinstance(json.loads(found.stdout), dict)


def test_every_extra_that_a_message_names_is_there() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(EXTRAS.values()) <= set(extras)
