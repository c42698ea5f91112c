"""What a user asks of one compression, as one frozen value."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nasc.training import Recipe
from nasc.units import Target


@dataclass(frozen=True)
class CompressConfig:
    """What a user asks of :func:`nasc.pipeline.compress`.

    Args:
        model: ``digits-cnn``, ``timm:NAME``, ``path/to/file.py:function``, ... (see :mod:`nasc.models`).
        data: ``digits``, ``cifar10:DIR``, ... (see :mod:`nasc.datasets`).
        target: From :func:`nasc.units.parse_target`.
        further: Further limits, in multiply-adds, parameters or bytes.
        device: A device by name.
        method: A method by name (see :mod:`nasc.methods`).
        runtime: The runtime on the device.
        threads: Threads of that runtime.
        out: The run's folder; by default one named after the run under ``runs/``.
        recipe: How to train; its epochs are the whole run's.
        train_size: Use this many training pictures (class-balanced); all by default.
        weights: A state dict to start from, ``.safetensors`` or ``.pt``.
        dense_baseline: Also train the dense model with the same recipe, to state its accuracy; the result is the same
            without.
        distill: Share of the loss that comes from the dense model's scores; 0 for none.
        search_space: Which dims may move, and how far: a YAML file or a name (:mod:`nasc.search_spaces`); default: all.
        options: Further arguments of the method.
        resume: Go on in a folder that holds this run unfinished; False starts over.
        progress: Show progress bars on stderr.
    """

    model: str
    data: str
    target: Target
    device: str = "cpu"
    method: str = "surrogate"
    runtime: str = "litert"
    threads: int = 1
    out: Path | None = None
    recipe: Recipe = field(default_factory=Recipe)
    train_size: int | None = None
    weights: Path | None = None
    dense_baseline: bool = True
    distill: float = 0.0
    further: tuple[Target, ...] = ()
    search_space: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    resume: bool = True
    progress: bool = True

    @property
    def folder(self) -> Path:
        """The run's folder."""
        if self.out is not None:
            return self.out
        parts = [self.model, self.data.partition(":")[0], self.method, self.device, str(self.target), self.recipe.seed]
        if self.search_space is not None:
            parts.append(Path(self.search_space).stem)
        name = "-".join(str(part) for part in parts)
        return Path("runs") / "".join(letter if letter.isalnum() or letter in "-.@%" else "_" for letter in name)

    def identity(self) -> dict[str, Any]:
        """What must be the same for a folder to hold this run: everything but where it goes and how it is shown."""
        recipe = {key: value for key, value in asdict(self.recipe).items() if key != "device"}
        return {
            "model": self.model,
            "data": self.data,
            "target": str(self.target),
            "device": self.device,
            "method": self.method,
            "runtime": self.runtime,
            "threads": self.threads,
            "train_size": self.train_size,
            "weights": str(self.weights) if self.weights else None,
            "options": dict(self.options),
            "recipe": recipe,
            **({"distill": self.distill} if self.distill else {}),
            **({"further": [str(target) for target in self.further]} if self.further else {}),
            **({"search_space": self.search_space} if self.search_space is not None else {}),
        }
