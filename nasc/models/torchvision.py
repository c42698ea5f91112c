"""``torchvision:NAME``: a model definition of torchvision, with random weights."""

import importlib
from types import ModuleType

import torch
from torch import nn

from nasc.errors import UsageError, unknown_name

_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_declared: list[torch.library.Library] = []  # a declaration lasts as long as its library object


def import_torchvision() -> ModuleType:
    """``torchvision``, also where its compiled operators do not fit the installed torch.

    Wheels built for another accelerator than torch cannot load their operators, and the import then fails on their
    missing schemas. Declaring those schemas is enough for every model definition; the operators themselves (used by
    detection heads) stay unavailable.

    Raises:
        UsageError: torchvision is not installed.
    """
    try:
        return importlib.import_module("torchvision")
    except ImportError as failure:
        raise UsageError("torchvision: names need the package torchvision", "pip install torchvision") from failure
    except RuntimeError:
        declare_operators()
        return importlib.import_module("torchvision")


def declare_operators() -> None:
    """Declare the schemas of torchvision's compiled operators, unless they are known already."""
    if hasattr(torch.ops.torchvision, "nms"):
        return
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for schema in _OPERATORS:
        library.define(schema)  # type: ignore[no-untyped-call]
    _declared.append(library)


def load_torchvision(name: str, num_classes: int) -> nn.Module:
    """A classification model of torchvision.

    Args:
        name: As ``torchvision.models`` lists it.
        num_classes: The number of classes.

    Raises:
        UsageError: torchvision is not installed, or does not know the name.
    """
    models = import_torchvision().models
    known = models.list_models()
    if name not in known:
        raise unknown_name("torchvision model", name, known)
    model: nn.Module = models.get_model(name, weights=None, num_classes=num_classes)
    return model
