"""Makes a module of written source, and remembers the source of every module made here."""

import importlib.abc
import importlib.machinery
import importlib.util
import weakref
from types import ModuleType

import torch
from torch import nn

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


def build(source: Source) -> nn.Module:
    """The model a source describes, with weights still to be loaded; the global random state is left as it was."""
    model_class = getattr(import_text(source.text), source.class_name)
    _SOURCES[model_class] = source
    with torch.random.fork_rng(devices=[]):
        model = model_class()
    assert isinstance(model, nn.Module)
    return model


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
