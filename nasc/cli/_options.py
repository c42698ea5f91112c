"""Options that several verbs share, each said once."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from nasc.units import ACCEPTED, Target, parse_target

Function = TypeVar("Function", bound=Callable[..., Any])

MODELS = "timm:NAME, torchvision:NAME, hf:FOLDER_OR_CONFIG, FILE.py:FUNCTION, or one of nasc's own, e.g. digits-cnn"
SUFFIXES = {"litert": ".tflite", "onnx": ".onnx", "torch": ".pt2"}
"""Suffix of a model file by format."""
DATA = "digits, fashion-mnist:DIR, cifar10:DIR, imagefolder:DIR or FILE.py:FUNCTION"


class TargetType(click.ParamType[Target]):
    """A latency or size target, read into :class:`nasc.units.Target`."""

    name = "target"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Target:
        """Read it; what cannot be read raises :class:`nasc.errors.UsageError`."""
        return value if isinstance(value, Target) else parse_target(value)


class ShapeType(click.ParamType[tuple[int, ...]]):
    """An image shape, ``CHANNELSxHEIGHTxWIDTH``."""

    name = "shape"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Read ``3x224x224`` into ``(3, 224, 224)``."""
        if isinstance(value, tuple):
            return value
        if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", value):
            self.fail(f"expected sizes joined by x, such as 3x224x224, got {value!r}", param, ctx)
        return tuple(int(size) for size in value.split("x"))


def model_option(required: bool = True) -> Callable[[Function], Function]:
    """``--model``."""
    return click.option("--model", "-m", required=required, metavar="MODEL", help=f"The model: {MODELS}.")


def data_option(required: bool = True) -> Callable[[Function], Function]:
    """``--data``."""
    return click.option("--data", "-d", required=required, metavar="DATA", help=f"The data set: {DATA}.")


def target_option(function: Function) -> Function:
    """``--target-latency`` (or ``--target``)."""
    return click.option(
        "--target-latency",
        "--target",
        "target",
        type=TargetType(),
        required=True,
        metavar="TARGET",
        help=f"What the model must not exceed: {ACCEPTED}.",
    )(function)


def shape_options(function: Function) -> Function:
    """``--input-shape`` and ``--classes``, for models that are looked at without a data set."""
    shape = click.option(
        "--input-shape", type=ShapeType(), metavar="CxHxW", help="Shape of one input; default: the model's own."
    )
    classes = click.option(
        "--classes", type=click.IntRange(min=1), metavar="N", help="Number of outputs; default: the model's own."
    )
    return shape(classes(function))


def search_space_option(function: Function) -> Function:
    """``--search-space``: which dims may move, and how far."""
    return click.option(
        "--search-space",
        metavar="FILE|NAME",
        help="Which dims may move, and how far: a YAML file or a shipped name, e.g. multiples-of-8; default: all that can.",
    )(function)


def device_options(function: Function) -> Function:
    """``--device``, ``--runtime`` and ``--threads``: the conditions of a time."""
    device = click.option(
        "--device", default="cpu", show_default=True, metavar="NAME", help="A name from `nasc devices`."
    )
    runtime = click.option(
        "--runtime", default="litert", show_default=True, metavar="NAME", help="What runs the model there."
    )
    threads = click.option(
        "--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads of the runtime."
    )
    return device(runtime(threads(function)))


def out_option(meaning: str) -> Callable[[Function], Function]:
    """``--out``, with what it means to the verb."""
    return click.option("--out", "-o", type=click.Path(path_type=Path), metavar="PATH", help=meaning)
