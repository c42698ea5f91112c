"""What a verb works on: a model by name, or the finished model of a run."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nasc.errors import RunError, UsageError
from nasc.records import load_record

if TYPE_CHECKING:
    from torch import Tensor, nn

    from nasc.graph import Network

OWN_SHAPES = {"digits-cnn": (1, 8, 8), "encoder-tiny": (48,)}
OWN_SHAPE, OWN_CLASSES = (3, 32, 32), 10
ZOO_SHAPE, ZOO_CLASSES = (3, 224, 224), 1000
"""Inputs and outputs of a model that is looked at without a data set: nasc's own models are for small pictures, the
zoos' for ImageNet."""


@dataclass(frozen=True)
class Subject:
    """A model and an input it takes."""

    name: str
    model: "nn.Module"
    example_inputs: "tuple[Tensor, ...]"


def open_model(spec: str, input_shape: tuple[int, ...] | None, classes: int | None) -> Subject:
    """The model of ``--model``: a specification of :mod:`nasc.models`, or the folder of a run.

    Args:
        spec: As typed.
        input_shape: (channels, height, width), or None for the model's own.
        classes: Number of outputs, or None for the model's own.

    Raises:
        UsageError: The name is unknown.
        ModelError: The model cannot be built or does not take such an input.
    """
    from nasc.models import example_input, load_model

    if (Path(spec) / "model").is_dir():
        return open_run_model(Path(spec))
    foreign = ":" in spec
    name = spec.partition("@")[0]
    shape = input_shape or (ZOO_SHAPE if foreign else OWN_SHAPES.get(name, OWN_SHAPE))
    model = load_model(
        spec, num_classes=classes or (ZOO_CLASSES if foreign else OWN_CLASSES), input_shape=_image(shape)
    )
    return Subject(spec, model, (example_input(_image(shape)),))


def trace_subject(subject: Subject, search_space: str | None) -> "Network":
    """The network of a subject, held by the search space of ``--search-space`` where one is asked for.

    Raises:
        TraceError: The model cannot be traced.
        UsageError: The search space cannot be read, or does not fit the model.
    """
    from nasc.graph import trace
    from nasc.graph.restrict import restrict
    from nasc.search_spaces import load_space

    space = load_space(search_space) if search_space else None
    network = trace(subject.model, subject.example_inputs)
    return restrict(network, space) if space else network


def open_run_model(run: Path) -> Subject:
    """The finished model of a run.

    Raises:
        RunError: The folder holds no finished model.
        ModelError: What it holds was changed or is broken.
    """
    from nasc.materialise import load_model
    from nasc.materialise.generated import source_of
    from nasc.models import example_input

    if not (run / "model").is_dir():
        raise RunError(f"expected the folder of a finished run, got {run}", hint="nasc compress makes one; see runs/")
    model = load_model(run / "model")
    inputs = tuple(example_input(tuple(spec.shape[1:]), batch=1) for spec in source_of(model).inputs)
    return Subject(run.name, model, inputs)


def find_artifact(path: Path) -> Path:
    """The model file of a run, or the file itself.

    Raises:
        RunError: There is none.
    """
    if not path.is_dir():
        return path
    record = load_record(path)
    if record.artifact is None or not (path / record.artifact).is_file():
        raise RunError(f"expected the model file {record.artifact} in {path}, got none", hint=f"nasc export {path}")
    return path / record.artifact


def _image(shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) not in (1, 3):
        raise UsageError(
            f"expected an input shape of three sizes (pictures) or one (tokens), got {'x'.join(map(str, shape))}",
            "such as 3x224x224",
        )
    return shape
