"""Where nasc finds the data it ships and keeps the data it makes."""

import os
from pathlib import Path

import platformdirs

_PACKAGE = Path(__file__).resolve().parent


def data_folder(name: str) -> Path:
    """The shipped data folder ``name``, in a checkout or inside an installed wheel.

    Args:
        name: ``"profilers"``, ``"latency_tables"`` or ``"search_spaces"``.

    Returns:
        The folder; it exists in every install.
    """
    installed = _PACKAGE / "_data" / name
    return installed if installed.is_dir() else _PACKAGE.parent / name


def user_folder() -> Path:
    """The folder for what nasc makes and keeps between runs: ``$NASC_HOME``, or the platform's user-data folder."""
    home = os.environ.get("NASC_HOME")
    return Path(home) if home else Path(platformdirs.user_data_dir("nasc", appauthor=False))


def user_tables() -> Path:
    """The folder of the latency tables measured by this user (``latency_tables/`` under :func:`user_folder`)."""
    return user_folder() / "latency_tables"


def user_cache() -> Path:
    """The folder for what can be made again, such as programs for phones: ``$NASC_CACHE``, or the platform's own."""
    cache = os.environ.get("NASC_CACHE")
    return Path(cache) if cache else Path(platformdirs.user_cache_dir("nasc", appauthor=False))
