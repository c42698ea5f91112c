"""Models by name: nasc's own small families, timm, torchvision, transformers, a user's file."""

from collections.abc import Callable
from pathlib import Path

from torch import nn

from nasc.errors import UsageError, unknown_name
from nasc.models.check import check_classifier, example_input
from nasc.models.densenet import DenseNetTiny
from nasc.models.encoder import EncoderTiny
from nasc.models.hugging_face import load_hugging_face
from nasc.models.mobilenetv3 import MobileNetV3Tiny
from nasc.models.plain import MLP, DigitsCNN
from nasc.models.resnet import ResNetTiny
from nasc.models.timm import load_timm
from nasc.models.torchvision import load_torchvision
from nasc.models.user_file import load_user_model
from nasc.models.vgg import VGGTiny
from nasc.models.weights import load_weights
from nasc.user_file import names_user_file

__all__ = ["check_classifier", "example_input", "list_models", "load_model", "load_weights"]

_Shape = tuple[int, ...]

_OWN: dict[str, Callable[[int, _Shape, float, int], nn.Module]] = {
    "densenet-tiny": lambda classes, shape, width, multiple: DenseNetTiny(classes, shape[0], width, multiple),
    "digits-cnn": lambda classes, shape, width, multiple: DigitsCNN(classes, shape[0], width, multiple),
    "encoder-tiny": lambda classes, shape, width, multiple: EncoderTiny(classes, shape[0], width, multiple),
    "mlp": lambda classes, shape, width, multiple: MLP(classes, shape, width, multiple),
    "mobilenetv3-tiny": lambda classes, shape, width, multiple: MobileNetV3Tiny(classes, shape[0], width, multiple),
    "resnet-tiny": lambda classes, shape, width, multiple: ResNetTiny(classes, shape[0], width, multiple),
    "vgg-tiny": lambda classes, shape, width, multiple: VGGTiny(classes, shape[0], width, multiple),
}
_ELSEWHERE: dict[str, Callable[[str, int, _Shape], nn.Module]] = {
    "hf": lambda path, classes, shape: load_hugging_face(Path(path).expanduser(), classes, shape),
    "timm": lambda name, classes, shape: load_timm(name, classes, shape[0]),
    "torchvision": lambda name, classes, _: load_torchvision(name, classes),
}


def list_models() -> list[str]:
    """The forms that :func:`load_model` takes, as a user types them."""
    return [*_OWN, "hf:FOLDER_OR_CONFIG", "timm:NAME", "torchvision:NAME", "path/to/file.py:function"]


def load_model(
    spec: str,
    *,
    num_classes: int,
    input_shape: tuple[int, ...],
    weights: Path | str | None = None,
    multiple: int = 4,
) -> nn.Module:
    """Build a model for a data set, and check that it classifies its pictures.

    The weights are random (seed torch first where they must be the same) unless a file of weights is given.

    >>> load_model("resnet-tiny@0.5", num_classes=10, input_shape=(3, 32, 32)).head
    PooledClassifier(
      (pool): AdaptiveAvgPool2d(output_size=1)
      (linear): Linear(in_features=64, out_features=10, bias=True)
    )

    Args:
        spec: One of nasc's own by bare name, ``NAME@WIDTH`` with a width multiplier, ``timm:NAME``,
            ``torchvision:NAME``, ``hf:FOLDER_OR_CONFIG`` or ``path/to/file.py:function``.
        num_classes: The number of classes of the data.
        input_shape: (channels, height, width) of the data's pictures.
        weights: A file of weights (``.safetensors`` or a state dictionary).
        multiple: Of nasc's own: every width is a multiple of this.

    Returns:
        The model, on the CPU, in training mode.

    Raises:
        UsageError: The name is unknown, the width is not a positive number, or a package is not installed.
        ModelError: The model cannot be built, or does not give ``num_classes`` scores for these pictures.
    """
    model = _build(spec, num_classes, input_shape, multiple)
    check_classifier(model, input_shape, num_classes, name=spec)
    if weights is not None:
        load_weights(model, Path(weights).expanduser())
    return model.train()


def _build(spec: str, num_classes: int, input_shape: _Shape, multiple: int) -> nn.Module:
    if names_user_file(spec):
        return load_user_model(spec, num_classes=num_classes, input_shape=input_shape)
    family, _, rest = spec.partition(":")
    if family in _ELSEWHERE:
        if not rest:
            raise UsageError(f"{family}: needs a name after the colon", f"write one of {', '.join(list_models())}")
        return _ELSEWHERE[family](rest, num_classes, input_shape)
    name, separator, width = spec.partition("@")
    if name not in _OWN:
        raise unknown_name("model", spec, list_models())
    return _OWN[name](num_classes, input_shape, _parse_width(spec, width) if separator else 1.0, multiple)


def _parse_width(spec: str, text: str) -> float:
    try:
        width = float(text)
    except ValueError:
        width = 0.0
    if not 0.0 < width <= 16.0:
        raise UsageError(
            f"expected a width multiplier between 0 and 16 in {spec!r}, got {text!r}", "write resnet-tiny@0.5"
        )
    return width
