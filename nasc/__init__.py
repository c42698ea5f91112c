"""nasc: a PyTorch model, a device and a latency target in; a smaller model that meets the target out.

The names below are all a hand-written training loop needs; ``nasc.pipeline.compress`` is the whole job in one call.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nasc.exporters import export
    from nasc.graph import trace
    from nasc.materialise import load_model, materialise, save_model
    from nasc.pipeline import CompressConfig, compress
    from nasc.search import Surrogate
    from nasc.table import load_table

__version__ = "0.1.0"

__all__ = [
    "CompressConfig",
    "Surrogate",
    "compress",
    "export",
    "load_model",
    "load_table",
    "materialise",
    "save_model",
    "trace",
]

_HOME = {
    "CompressConfig": "nasc.pipeline",
    "Surrogate": "nasc.search",
    "compress": "nasc.pipeline",
    "export": "nasc.exporters",
    "load_model": "nasc.materialise",
    "load_table": "nasc.table",
    "materialise": "nasc.materialise",
    "save_model": "nasc.materialise",
    "trace": "nasc.graph",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``import nasc`` does not wait for torch."""
    if name not in _HOME:
        raise AttributeError(f"module 'nasc' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
