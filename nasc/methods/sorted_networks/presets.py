"""Rivals that are other choices of pool, loss and norms (sortednet.md 2.7), as options of :class:`SortedNetwork`.

In the public code of LCS the structured point variant (``LCS_p``) runs the same loop as universally slimmable networks; only
the norms of the network differ, and those are the model's.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

FOUR = (0.25, 0.5, 0.75, 1.0)
"""Widths of slimmable networks."""

PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "sorted": {},
        "sorted-4": {"accumulate": 4},
        "slimmable": {"widths": FOUR, "loss": "full", "norms": "own", "recalibrate": False},
        "slimmable-one-norm": {"widths": FOUR, "loss": "full", "recalibrate": False},
        "universally-slimmable": {"loss": "sandwich"},
        "universally-slimmable-distilled": {"loss": "sandwich", "distil": True},
        "lcs-point": {"loss": "sandwich", "recalibrate": False},
        "lcs-line": {"loss": "sandwich", "norms": "line", "recalibrate": False},
        "progressive-shrinking": {"loss": "shrinking", "distil": True},
        "layerdrop": {"widths": (1.0,), "drop": 0.2},
        "matformer": {"widths": FOUR, "loss": "full", "recalibrate": False},
    }
)
"""Options by name of the rival. MatFormer nests feed-forward widths: give it the dims by ``knobs``."""

UPDATES: Mapping[str, int] = MappingProxyType(
    {
        "sorted": 1,
        "sorted-4": 4,
        "slimmable": 4,
        "slimmable-one-norm": 4,
        "universally-slimmable": 4,
        "universally-slimmable-distilled": 4,
        "lcs-point": 4,
        "lcs-line": 4,
        "progressive-shrinking": 2,
        "layerdrop": 1,
        "matformer": 4,
    }
)
"""Members whose gradients one step holds: what updates are made equal by."""
