"""The small model of a selection: built, compared with the user's, saved and loaded again."""

from nasc.materialise.pt2 import load_pt2, save_pt2
from nasc.materialise.saving import load_model, save_model
from nasc.materialise.shrink import materialise
from nasc.materialise.verify import verify, verify_trained

__all__ = ["load_model", "load_pt2", "materialise", "save_model", "save_pt2", "verify", "verify_trained"]
