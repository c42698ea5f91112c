"""Makes a module of written source, and remembers the source of every module made here."""

import importlib.abc
import importlib.machinery
import importlib.util
import weakref
from collections.abc import Mapping
from types import ModuleType

import torch
from torch import Tensor, nn

from nasc.errors import ModelError
from nasc.materialise.source import Source

_SOURCES: "weakref.WeakKeyDictionary[type[nn.Module], Source]" = weakref.WeakKeyDictionary()


class _TextLoader(importlib.abc.InspectLoader):
    """Loads a Python module from text in memory; tracebacks show its lines."""

    def __init__(self, text: str) -> None:
        self._text = text

    def get_source(self, fullname: str) -> str:
        return self._text


def import_text(text: str, name: str = "nasc_model") -> ModuleType:
    """A new Python module from its text, not entered into ``sys.modules``."""
    loader = _TextLoader(text)
    spec = importlib.machinery.ModuleSpec(name, loader, origin=f"<{name}>")
    module = importlib.util.module_from_spec(spec)
    module.__file__ = f"{name}.py"  # the text names the file of weights beside its own
    loader.exec_module(module)
    return module


def build(source: Source, tensors: Mapping[str, Tensor]) -> nn.Module:
    """The model a source describes, holding copies of the given tensors.

    Args:
        source: What to build.
        tensors: Value of every parameter and buffer by name (a tied one by the first of its names); others are ignored.

    Returns:
        The model in training mode, on the tensors' device. No random number is drawn.

    Raises:
        ModelError: A tensor is missing, or has another shape or dtype than the source says.
    """
    model_class = getattr(import_text(source.text), source.class_name)
    with torch.device("meta"):  # shapes only: no time spent on first values
        model = model_class()
    assert isinstance(model, nn.Module)
    _SOURCES[model_class] = source
    _fill(model, tensors)
    return model


def _fill(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put copies of tensors in the place of a model's empty ones; what was one tensor stays one."""
    first_name = {id(tensor): name for name, tensor in reversed([*model.named_parameters(), *model.named_buffers()])}
    filled: dict[str, Tensor] = {}
    for part in list(model.modules()):
        for name, empty in [*part._parameters.items(), *part._buffers.items()]:
            if empty is None or not empty.is_meta:
                continue
            full_name = first_name[id(empty)]
            if full_name not in filled:
                value = _checked(full_name, empty, tensors.get(full_name)).detach().clone()
                trained = empty.requires_grad
                filled[full_name] = nn.Parameter(value, trained) if isinstance(empty, nn.Parameter) else value
            setattr(part, name, filled[full_name])


def _checked(name: str, empty: Tensor, value: Tensor | None) -> Tensor:
    if value is None or value.shape != empty.shape or value.dtype != empty.dtype:
        got = "none" if value is None else f"{value.dtype} {tuple(value.shape)}"
        raise ModelError(
            f"expected a tensor {name} of {empty.dtype} {tuple(empty.shape)} to fit the model; got {got}",
            "save the model again: its source and its weights belong to different models",
        )
    return value


def source_of(module: nn.Module) -> Source:
    """The source a module was made of; copies of it and further training do not matter.

    Raises:
        ModelError: The module was not made by nasc.
    """
    source = _SOURCES.get(type(module))
    if source is None:
        raise ModelError(
            f"expected a model made by nasc.materialise; got {type(module).__name__}",
            "trace it and materialise it first: materialise(trace(model, inputs), Selection())",
        )
    return source
