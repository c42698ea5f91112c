"""A trained family of sub-models as records: members, their prices on any table, their accuracies. Without torch."""

from nasc.family.prediction import AccuracyFit, fit_accuracy
from nasc.family.pricing import price_members
from nasc.family.record import FAMILY_FILE, Family, KernelLine, MemberLine, Way, load_family, save_family

__all__ = [
    "FAMILY_FILE",
    "AccuracyFit",
    "Family",
    "KernelLine",
    "MemberLine",
    "Way",
    "fit_accuracy",
    "load_family",
    "price_members",
    "save_family",
]
