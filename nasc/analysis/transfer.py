"""How well what a network learned serves another task: a linear probe, and full fine-tuning with its masks fixed."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from nasc.analysis.masks import weight_masks
from nasc.datasets import ImageData
from nasc.errors import ModelError
from nasc.models.modes import evaluation_mode
from nasc.training import Recipe, evaluate, train


@dataclass(frozen=True)
class Transfer:
    """Test accuracies on another task, 0 to 1.

    Args:
        linear: Of a new head on frozen features.
        full: Of the network trained on with a new head, zeros kept at zero.
    """

    linear: float
    full: float


def transfer(model: nn.Module, data: ImageData, *, epochs: int = 5, seed: int = 0) -> Transfer:
    """Both transfers to a data set.

    Args:
        model: A classifier whose last linear layer is its head; it is not changed.
        data: Pictures of the shape the model takes.
        epochs: Of either training.
        seed: Of the new head and the order of the pictures.

    Raises:
        ModelError: The model has no linear layer that its output comes from.
    """
    recipe = Recipe(epochs=epochs, seed=seed, label_smoothing=0.0, augment=False)
    frozen = deepcopy(model).eval()
    head = replace_head(frozen, data, seed)
    features = replace(
        data,
        train_x=features_of(frozen, head, data.train_x),
        val_x=features_of(frozen, head, data.val_x),
        test_x=features_of(frozen, head, data.test_x),
    )
    linear = nn.Linear(head.in_features, data.num_classes)
    linear.load_state_dict(head.state_dict())
    probe = nn.Sequential(nn.Flatten(), linear)
    train(probe, features, recipe, progress=False)
    whole = deepcopy(model)
    replace_head(whole, data, seed)
    name = _name_of_head(whole, data.train_x[:1])
    masks = {key: mask for key, mask in weight_masks(whole).items() if key != f"{name}.weight" and not bool(mask.all())}
    train(whole, data, replace(recipe, learning_rate=recipe.learning_rate / 10), progress=False, masks=masks)
    return Transfer(
        evaluate(probe, features.test_x, features.test_y).value, evaluate(whole, data.test_x, data.test_y).value
    )


def replace_head(model: nn.Module, data: ImageData, seed: int) -> nn.Linear:
    """Put a new last linear layer in place, with an output per class of the data set; gives it."""
    name = _name_of_head(model, data.train_x[:1])
    old = model.get_submodule(name)
    assert isinstance(old, nn.Linear)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        head = nn.Linear(old.in_features, data.num_classes)
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, head)
    return head


@torch.no_grad()
def features_of(model: nn.Module, head: nn.Linear, x: Tensor) -> Tensor:
    """What the head reads, of all pictures: float32 (count, features, 1, 1), as a data set of pictures holds it."""
    parts = []
    with evaluation_mode(model), _inputs_of(head) as seen:
        for pictures in torch.split(x, 500):
            model(pictures)
            parts.append(seen.pop().flatten(1))
    return torch.cat(parts)[:, :, None, None]


@contextmanager
def _inputs_of(module: nn.Module) -> Iterator[list[Tensor]]:
    seen: list[Tensor] = []

    def note(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        seen.append(inputs[0].detach())

    handle = module.register_forward_pre_hook(note)
    try:
        yield seen
    finally:
        handle.remove()


@torch.no_grad()
def _name_of_head(model: nn.Module, example: Tensor) -> str:
    """The linear layer that is called last and gives the model's output."""
    called: list[tuple[str, Tensor]] = []
    handles = [
        module.register_forward_hook(lambda _m, _i, out, name=name: called.append((name, out)))
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
    ]
    try:
        with evaluation_mode(model):
            output = model(example)
    finally:
        for handle in handles:
            handle.remove()
    if not called or called[-1][1].shape != output.shape:
        raise ModelError("expected a model that ends in a linear layer", "transfer needs a head it can replace")
    return called[-1][0]
