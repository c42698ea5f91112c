"""Training: the dense model for comparison, the search until its selection stands, the fine-tuning of the small model."""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nasc.blocks import GridModel
from nasc.datasets import ImageData
from nasc.errors import UsageError
from nasc.graph import Network
from nasc.methods import Method, build
from nasc.models import load_model
from nasc.paths import user_folder
from nasc.records import write_atomic
from nasc.stages.config import CompressConfig
from nasc.stages.goal import Goal
from nasc.training import Accuracy, Frozen, History, Teacher, evaluate, train

_log = logging.getLogger(__name__)


def load_classifier(config: CompressConfig, data: ImageData) -> nn.Module:
    """The user's model for the user's data, the same for the same seed.

    Raises:
        ModelError: It cannot be loaded, or does not give a score per class for a picture of this data set.
    """
    with torch.random.fork_rng():
        torch.manual_seed(config.recipe.seed)
        return load_model(
            config.model, num_classes=data.num_classes, input_shape=data.input_shape, weights=config.weights
        )


def dense_accuracy(config: CompressConfig, data: ImageData) -> Accuracy | None:
    """Test accuracy of the dense model: with the given weights, or trained by the very same recipe.

    A dense model is trained once for every model, data set and recipe, and remembered in the user's folder, since ten
    targets have the same baseline.

    Returns:
        None where the user asked for no baseline.
    """
    if not config.dense_baseline:
        return None
    if config.weights is not None:
        return evaluate(load_classifier(config, data), data.test_x, data.test_y)
    model = load_classifier(config, data)
    folder = _dense_folder(model, config, data)
    remembered = folder / "accuracy.json"
    if remembered.is_file():
        return Accuracy(**json.loads(remembered.read_text()))
    accuracy = evaluate(_trained(model, config, data, folder), data.test_x, data.test_y)
    write_atomic(remembered, json.dumps(asdict(accuracy)).encode())
    return accuracy


def make_teacher(config: CompressConfig, data: ImageData) -> Teacher | None:
    """The dense model as a teacher: with the given weights, or trained by the very same recipe.

    Returns:
        None where the user asked for no distillation.
    """
    if config.distill == 0:
        return None
    model = load_classifier(config, data)
    if config.weights is None:
        model = _trained(model, config, data, _dense_folder(model, config, data))
    return Teacher(model, weight=config.distill)


def _trained(model: nn.Module, config: CompressConfig, data: ImageData, folder: Path) -> nn.Module:
    """The dense model, trained in place; where it stands finished in its folder it is read from there."""
    _log.info("training the dense model for comparison")
    train(model, data, config.recipe, folder=folder, progress=config.progress)
    return model


def _dense_folder(model: nn.Module, config: CompressConfig, data: ImageData) -> Path:
    return user_folder() / "dense" / _digest(model, config, data)


def search(
    config: CompressConfig, network: Network, goal: Goal, data: ImageData, folder: Path, teacher: Teacher | None = None
) -> tuple[Method, History]:
    """Train with the method until its selection stands (or to the end of the recipe, if it never does).

    Args:
        config: What is asked.
        network: The traced model; its weights are trained in place.
        goal: The limit on the price.
        data: The data set.
        folder: The run's folder; checkpoints go to ``search/``.
        teacher: Whose scores are learned beside the labels.

    Returns:
        The method, frozen, and the epochs so far.
    """
    steps = config.recipe.steps_per_epoch(len(data.train_y)) * config.recipe.epochs
    method = build(config.method, network, goal.price, goal.price_limit, steps, **method_options(config))
    _require_held(network, method, config)
    _log.info("search: %s", config.method)
    history = train(
        method,
        data,
        config.recipe,
        folder=folder / "search",
        progress=config.progress,
        on_frozen=_stop,
        teacher=teacher,
    )
    return method, history


def method_options(config: CompressConfig) -> dict[str, Any]:
    """The options of the method: what the user gave, and the sparsity where that is the target."""
    implied = {"sparsity": config.target.value} if config.target.kind == "sparsity" else {}
    return {**implied, **config.options}


def fine_tune(
    small: nn.Module,
    masks: Mapping[str, Tensor],
    searched: History,
    config: CompressConfig,
    data: ImageData,
    folder: Path,
    bits: Mapping[str, int] | None = None,
    teacher: Teacher | None = None,
) -> History:
    """Train the small model for what the search left of the recipe.

    Args:
        small: Trained in place.
        masks: Which single weights of it stay, by parameter name; the others remain zero.
        searched: What was trained before.
        config: What is asked.
        data: The data set.
        folder: The run's folder; checkpoints go to ``tune/``.
        bits: Width of the grid its weights lie on, by parameter name: they are trained through the rounding, and rounded
            for good at the end.
        teacher: Whose scores are learned beside the labels.

    Returns:
        The epochs of the whole run: the search's, then these.
    """
    if searched.finished:
        return searched
    _log.info("fine-tuning the small model")
    gridded = GridModel(small, bits) if bits else None
    tuned = train(
        gridded or small,
        data,
        config.recipe,
        folder=folder / "tune",
        progress=config.progress,
        start_step=searched.step,
        masks={f"inner.{name}": mask for name, mask in masks.items()} if gridded else masks,
        teacher=teacher,
    )
    if gridded:
        gridded.bake()
    return History((*searched.rows, *tuned.rows), tuned.step, tuned.total_steps, tuned.precision)


def _stop(frozen: Frozen) -> bool:
    return True


def _require_held(network: Network, method: Method, config: CompressConfig) -> None:
    """Refuse a method that traced a rewritten model and so lost the search space, before anything is trained."""
    if network.space is not None and method.network.space is None:
        raise UsageError(
            f"the method {config.method} rewrites the model's layers and cannot keep to the search space "
            f"{config.search_space}",
            "choose a method that only removes entries, or leave --search-space out",
        )


def _digest(model: nn.Module, config: CompressConfig, data: ImageData) -> str:
    """Names everything the dense baseline depends on."""
    recipe = {key: value for key, value in asdict(config.recipe).items() if key != "device"}
    state = hashlib.sha256(repr(model).encode())
    for name, tensor in sorted(model.state_dict().items()):
        state.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    text = json.dumps([state.hexdigest(), data.sha256, config.train_size, recipe], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
