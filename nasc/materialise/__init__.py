"""The small model of a selection: built, compared with the user's, saved and loaded again."""

from nasc.materialise.pt2 import load_pt2, save_pt2
from nasc.materialise.saving import load_model, save_model
from nasc.materialise.selections import load_selection, save_selection
from nasc.materialise.shrink import materialise, small_masks
from nasc.materialise.verify import verify, verify_trained

__all__ = [
    "load_model",
    "load_pt2",
    "load_selection",
    "materialise",
    "save_model",
    "save_pt2",
    "save_selection",
    "small_masks",
    "verify",
    "verify_trained",
]
