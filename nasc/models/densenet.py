"""``densenet-tiny``: a DenseNet (Huang et al., arXiv 1608.06993) for pictures of 28 to 32 pixels."""

import torch
from torch import Tensor, nn

from nasc.models.blocks import ConvNormAct, PooledClassifier, initialise, scale_width

_STEM = 32
_GROWTH = 16
_BLOCKS = (3, 3, 3)
"""Layers of a dense block; between two blocks a transition halves the channels and the picture."""


class DenseLayer(nn.Module):
    """Norm, activation, 3x3 convolution; gives its input and its output side by side.

    Args:
        channels_in: Input channels.
        growth: Channels it adds.
    """

    def __init__(self, channels_in: int, growth: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels_in)
        self.activation = nn.ReLU()
        self.conv = nn.Conv2d(channels_in, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``[x, f(x)]`` along the channels."""
        return torch.cat([x, self.conv(self.activation(self.norm(x)))], dim=1)


class DenseNetTiny(nn.Module):
    """Stem, three dense blocks with transitions, pooled classifier.

    Args:
        num_classes: The number of classes.
        input_channels: Channels of the picture.
        width: Width multiplier.
        multiple: Every width is a multiple of this.
    """

    def __init__(self, num_classes: int, input_channels: int = 3, width: float = 1.0, multiple: int = 4) -> None:
        super().__init__()
        channels, growth = scale_width(_STEM, width, multiple), scale_width(_GROWTH, width, multiple)
        self.stem = ConvNormAct(input_channels, channels, stride=2)
        layers: list[nn.Module] = []
        for block, count in enumerate(_BLOCKS):
            for _ in range(count):
                layers.append(DenseLayer(channels, growth))
                channels += growth
            if block < len(_BLOCKS) - 1:
                halved = scale_width(channels // 2, 1.0, multiple)
                layers += [ConvNormAct(channels, halved, 1), nn.AvgPool2d(2)]
                channels = halved
        self.layers = nn.Sequential(*layers, nn.BatchNorm2d(channels), nn.ReLU())
        self.head = PooledClassifier(channels, num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores ``(batch, classes)`` of pictures ``(batch, channels, height, width)``."""
        out: Tensor = self.head(self.layers(self.stem(x)))
        return out
