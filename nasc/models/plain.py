"""``digits-cnn``, the demo's network for 8x8 pictures, and ``mlp``, two hidden layers on the flattened picture."""

import math

from torch import Tensor, nn

from nasc.models.blocks import ConvNormAct, PooledClassifier, initialise, scale_width

_DIGITS = ((32, 1), (64, 1), (64, 1), (128, 2), (128, 1))
"""(channels, stride) of a convolution."""
_HIDDEN = 256


class DigitsCNN(nn.Sequential):
    """Five 3x3 convolutions and a pooled classifier: small pictures, wide layers, so that there is much to remove.

    Args:
        num_classes: The number of classes.
        input_channels: Channels of the picture.
        width: Width multiplier.
        multiple: Every width is a multiple of this.
    """

    def __init__(self, num_classes: int, input_channels: int = 1, width: float = 1.0, multiple: int = 4) -> None:
        layers: list[nn.Module] = []
        channels = input_channels
        for full, stride in _DIGITS:
            channels_out = scale_width(full, width, multiple)
            layers.append(ConvNormAct(channels, channels_out, stride=stride))
            channels = channels_out
        super().__init__(*layers, PooledClassifier(channels, num_classes))
        initialise(self)


class MLP(nn.Module):
    """Flatten, two hidden layers, classifier.

    Args:
        num_classes: The number of classes.
        input_shape: (channels, height, width) of the picture.
        width: Width multiplier.
        multiple: Every hidden width is a multiple of this.
    """

    def __init__(self, num_classes: int, input_shape: tuple[int, ...], width: float = 1.0, multiple: int = 4) -> None:
        super().__init__()
        hidden = scale_width(_HIDDEN, width, multiple)
        self.first = nn.Linear(math.prod(input_shape), hidden)
        self.second = nn.Linear(hidden, hidden)
        self.classifier = nn.Linear(hidden, num_classes)
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Class scores ``(batch, classes)`` of pictures ``(batch, channels, height, width)``."""
        x = self.activation(self.first(x.flatten(1)))
        out: Tensor = self.classifier(self.activation(self.second(x)))
        return out
