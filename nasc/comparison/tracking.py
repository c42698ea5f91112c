"""Trackers beside the ledger: MLflow and Weights & Biases, through Ray's own integrations."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nasc.errors import UsageError, unknown_name

PACKAGES = {"mlflow": "mlflow", "wandb": "wandb"}
"""Package by tracker; the extra ``tracking`` of nasc brings both."""


def trackers(names: Sequence[str], folder: Path) -> tuple[Any, ...]:
    """Ray's callback of each tracker; what they write stays in the comparison's folder.

    Args:
        names: Of :data:`PACKAGES`.
        folder: The comparison's.

    Raises:
        UsageError: A name is unknown, or its package is not installed.
    """
    for name in names:
        if name not in PACKAGES:
            raise unknown_name("tracker", name, PACKAGES)
        if find_spec(PACKAGES[name]) is None:
            raise UsageError(
                f"--track {name} needs the package {PACKAGES[name]}, which is not installed",
                "pip install 'nasc[tracking]'",
            )
    return tuple(_callback(name, folder) for name in names)


def _callback(name: str, folder: Path) -> Any:
    if name == "mlflow":
        from ray.air.integrations.mlflow import MLflowLoggerCallback

        uri = (folder / "mlruns").resolve().as_uri()
        return MLflowLoggerCallback(tracking_uri=uri, experiment_name=folder.name)
    from ray.air.integrations.wandb import WandbLoggerCallback

    return WandbLoggerCallback(project="nasc", group=folder.name, dir=str(folder))
