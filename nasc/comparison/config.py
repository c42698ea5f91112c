"""What is compared: one frozen value, from flags or from one YAML file with the same keys."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from nasc.comparison.ranges import Range, parse_ranges
from nasc.errors import UsageError, unknown_name
from nasc.methods import METHODS
from nasc.stages.config import CompressConfig
from nasc.training import Recipe
from nasc.units import Target, parse_target

EVERY_METHOD = "*"
"""Key of ranges and options that hold for every method."""


@dataclass(frozen=True, order=True)
class Group:
    """Trials that differ only in their seed and in what is tuned: one study of Optuna."""

    model: str
    device: str
    method: str
    target: str

    def __str__(self) -> str:
        return " | ".join((self.model, self.device, self.method, self.target))


@dataclass(frozen=True, order=True)
class Trial:
    """One run of :func:`nasc.pipeline.compress`.

    Args:
        group: Model, device, method and target.
        proposal: Number of the proposal of hyper-parameters within the group; 0 is the defaults.
        seed: Seed of the run.
    """

    group: Group
    proposal: int
    seed: int

    @property
    def name(self) -> str:
        """Unique in its comparison, and fit for a folder."""
        group = self.group
        text = f"{group.method}-{group.target}-{group.model}-{group.device}-p{self.proposal}-s{self.seed}"
        return "".join(letter if letter.isalnum() or letter in "-.@%" else "_" for letter in text)


@dataclass(frozen=True)
class CompareConfig:
    """What is compared, and with what means.

    Args:
        models: Specifications of :mod:`nasc.models`.
        data: One data set for all of them.
        devices: Devices by name.
        methods: Methods by name; all of them by default.
        targets: As typed, e.g. ``"4ms"`` or ``"-40%"``.
        seeds: Every trial runs once with each.
        trials: Proposals of hyper-parameters a method gets for each model, device and target; the first one is the
            defaults. The same for every method.
        tune: Ranges by method (``"*"`` for all) and by name, of the recipe's fields and of the method's options.
        options: Fixed options by method.
        recipe: How to train, the same for all.
        train_size: Pictures to train on; all by default.
        weights: Where every model starts from.
        runtime: The runtime on the devices.
        threads: Threads of that runtime.
        cpus: Processor cores a trial takes of the cluster, fractions allowed; likewise ``gpus``.
        concurrent: Trials that run at once at most; as many as the resources allow by default.
        stop_early: Stop the proposals of a group that fall behind while they are fine-tuned (ASHA).
        crashes: How often a trial is started again after its process died.
        out: The comparison's folder.
    """

    models: tuple[str, ...]
    data: str
    targets: tuple[str, ...]
    devices: tuple[str, ...] = ("cpu",)
    methods: tuple[str, ...] = tuple(METHODS)
    seeds: tuple[int, ...] = (0,)
    trials: int = 1
    tune: Mapping[str, Mapping[str, Range]] = field(default_factory=dict)
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    recipe: Recipe = field(default_factory=Recipe)
    train_size: int | None = None
    weights: Path | None = None
    runtime: str = "litert"
    threads: int = 1
    cpus: float = 1.0
    gpus: float = 0.0
    concurrent: int | None = None
    stop_early: bool = False
    crashes: int = 3
    out: Path = Path("runs/comparison")

    def __post_init__(self) -> None:
        for name in ("models", "devices", "methods", "targets", "seeds"):
            values = getattr(self, name)
            _expect(len(values) > 0, name, "at least one", "none")
            _expect(len(set(values)) == len(values), name, "no name twice", ", ".join(map(str, values)))
        for method in {*self.methods, *self.tune, *self.options} - {EVERY_METHOD}:
            if method not in METHODS:
                raise unknown_name("method", method, METHODS)
        for target in self.targets:
            parse_target(target)
        _expect(self.trials >= 1, "trials", "at least 1", self.trials)
        _expect(self.cpus > 0, "cpus", "more than 0", self.cpus)
        _expect(self.gpus >= 0, "gpus", "at least 0", self.gpus)
        _expect(self.crashes >= 0, "crashes", "at least 0", self.crashes)
        _expect(self.concurrent is None or self.concurrent >= 1, "concurrent", "at least 1", self.concurrent)

    @property
    def groups(self) -> tuple[Group, ...]:
        """Every combination of model, device, target and method, the methods innermost."""
        return tuple(
            Group(model, device, method, target)
            for model in self.models
            for device in self.devices
            for target in self.targets
            for method in self.methods
        )

    def all_trials(self) -> Iterator[Trial]:
        """Every trial in the order in which they start: the defaults of every group first, then the next proposals."""
        for proposal in range(self.trials):
            for seed in self.seeds:
                for group in self.groups:
                    yield Trial(group, proposal, seed)

    def ranges(self, method: str) -> dict[str, Range]:
        """What is tuned for a method; nothing where every group gets one proposal."""
        if self.trials == 1:
            return {}
        chosen = {**self.tune.get(EVERY_METHOD, {}), **self.tune.get(method, {})}
        rate = self.recipe.learning_rate
        return chosen or {"learning_rate": Range(rate / 4, rate * 4, log=True)}

    def compress_config(self, trial: Trial, params: Mapping[str, Any]) -> CompressConfig:
        """The run of a trial.

        Args:
            trial: Which one.
            params: The proposal's hyper-parameters; fields of the recipe go there, the others to the method.
        """
        group = trial.group
        recipe = {**asdict(self.recipe), "seed": trial.seed}
        fixed = {**self.options.get(EVERY_METHOD, {}), **self.options.get(group.method, {})}
        return CompressConfig(
            model=group.model,
            data=self.data,
            target=parse_target(group.target),
            device=group.device,
            method=group.method,
            runtime=self.runtime,
            threads=self.threads,
            out=self.out / "trials" / trial.name,
            recipe=Recipe(**{**recipe, **{k: v for k, v in params.items() if k in recipe}}),
            train_size=self.train_size,
            weights=self.weights,
            dense_baseline=False,  # one for all proposals: see nasc.comparison.trial
            options={**fixed, **{k: v for k, v in params.items() if k not in recipe}},
            progress=False,
        )

    def identity(self) -> dict[str, Any]:
        """What must not change when a comparison goes on; models, devices, methods, targets, seeds and trials may grow."""
        recipe = {key: value for key, value in asdict(self.recipe).items() if key not in ("device", "seed")}
        plain = {
            "data": self.data,
            "recipe": recipe,
            "train_size": self.train_size,
            "weights": str(self.weights) if self.weights else None,
            "runtime": self.runtime,
            "threads": self.threads,
            "options": {method: dict(options) for method, options in self.options.items()},
            "tune": {method: {k: asdict(v) for k, v in ranges.items()} for method, ranges in self.tune.items()},
        }
        content = json.loads(json.dumps(plain))
        assert isinstance(content, dict)
        return content


def target_of(group: Group) -> Target:
    """The target of a group, read."""
    return parse_target(group.target)


def read_config(path: Path, flags: Mapping[str, Any]) -> CompareConfig:
    """A comparison from a YAML file; what was given as a flag wins.

    Args:
        path: Keys are the fields of :class:`CompareConfig`; those of the recipe may stand beside them.
        flags: Values by the same keys.

    Raises:
        UsageError: The file cannot be read, or a key is unknown; the message names those there are.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"cannot read {path}: {error}", "give a YAML file of the fields of a comparison") from error
    if not isinstance(content, dict):
        raise UsageError(f"{path}: expected keys with values, got {type(content).__name__}", f"known: {_known()}")
    return make_config({**content, **flags})


def make_config(values: Mapping[str, Any]) -> CompareConfig:
    """A comparison from plain values.

    Raises:
        UsageError: A key is unknown or missing, or a value is of the wrong type.
    """
    recipe_names = {entry.name for entry in fields(Recipe)} - {"seed"}
    names = {entry.name for entry in fields(CompareConfig)}
    plain = dict(values)
    recipe = {
        **plain.pop("recipe", {}),
        **{k: plain.pop(k) for k in list(plain) if k in recipe_names and k not in names},
    }
    for name in plain:
        if name not in names:
            raise unknown_name("key of a comparison", name, names | recipe_names)
    for name in ("models", "devices", "methods", "targets", "seeds"):
        if name in plain:
            plain[name] = _listed(name, plain[name])
    missing = [name for name in ("models", "data", "targets") if name not in plain]
    if missing:
        raise UsageError(f"a comparison needs {', '.join(missing)}", "give them as flags or in the file")
    if "out" in plain:
        plain["out"] = Path(plain["out"])
    if plain.get("weights") is not None:
        plain["weights"] = Path(plain["weights"])
    try:
        return CompareConfig(**{**plain, "recipe": Recipe(**recipe), "tune": parse_ranges(plain.get("tune", {}))})
    except TypeError as error:
        raise UsageError(f"the comparison has a value of the wrong type: {error}", f"known: {_known()}") from error


def _listed(name: str, value: Any) -> tuple[Any, ...]:
    """A list as a tuple, one value alone as a tuple of it."""
    values = tuple(value) if isinstance(value, list | tuple) else (value,)
    if name == "seeds":
        if not all(isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0 for seed in values):
            raise UsageError(f"expected seeds to be whole numbers from 0, got {value!r}", "such as seeds: [0, 1]")
        return values
    return tuple(str(entry) for entry in values)


def _known() -> str:
    return ", ".join(entry.name for entry in fields(CompareConfig))


def _expect(holds: bool, name: str, expected: str, got: object) -> None:
    if not holds:
        raise UsageError(f"expected {name} to be {expected}, got {got}", f"change {name} of the comparison")
