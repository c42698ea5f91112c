"""Whether a model is one that nasc can work with: pictures in, one tensor of class scores out."""

import torch
from torch import Tensor, nn

from nasc.errors import ModelError
from nasc.models.modes import evaluation_mode

EXAMPLE_TOKENS = 256
"""Tokens of an example are below this: every vocabulary has so many."""


def example_input(input_shape: tuple[int, ...], batch: int = 2) -> Tensor:
    """A picture-shaped input, or a row of tokens, the same every time.

    Args:
        input_shape: (channels, height, width), or (length,) for tokens.
        batch: How many pictures.

    Returns:
        float32 ``(batch, channels, height, width)``, normally distributed; int64 ``(batch, length)`` below
        :data:`EXAMPLE_TOKENS`.
    """
    generator = torch.Generator().manual_seed(0)
    if len(input_shape) == 1:
        return torch.randint(EXAMPLE_TOKENS, (batch, *input_shape), generator=generator)
    return torch.randn(batch, *input_shape, generator=generator)


def check_classifier(model: nn.Module, input_shape: tuple[int, ...], num_classes: int, *, name: str) -> None:
    """Run a model once, in evaluation mode, and check what comes out.

    Args:
        model: Left as it was.
        input_shape: (channels, height, width) of the data.
        num_classes: The number of classes of the data.
        name: Of the model, for messages.

    Raises:
        ModelError: The model fails on the input, returns something else than a tensor, or another number of scores.
    """
    output = _run(model, example_input(input_shape), name)
    if not isinstance(output, Tensor):
        raise ModelError(
            f"expected {name} to return one tensor of class scores, got {_describe(output)}",
            "wrap the model so that forward returns the class scores alone",
        )
    if output.shape != (2, num_classes):
        raise ModelError(
            f"expected {name} to return {num_classes} class scores a picture, shape (2, {num_classes}), "
            f"got {tuple(output.shape)} for 2 pictures of {'x'.join(map(str, input_shape))}",
            "build the model for the number of classes of the data",
        )


def _run(model: nn.Module, x: Tensor, name: str) -> object:
    """The model's output in evaluation mode."""
    try:
        with evaluation_mode(model), torch.no_grad():
            return model(x)
    except Exception as failure:
        shape, reason = "x".join(map(str, x.shape[1:])), (str(failure).splitlines() or [""])[0]
        raise ModelError(
            f"{name} fails on pictures of {shape}: {type(failure).__name__}: {reason}",
            "give a model for pictures of this shape, or data of the shape the model takes",
        ) from failure


def _describe(output: object) -> str:
    if isinstance(output, (tuple, list)):
        return f"a {type(output).__name__} of {len(output)}"
    return f"{type(output).__name__}"
