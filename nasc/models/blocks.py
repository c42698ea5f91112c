"""Pieces that nasc's own small networks share."""

from collections.abc import Callable

from torch import Tensor, nn


def scale_width(channels: int, width: float, multiple: int = 4) -> int:
    """``channels`` times ``width``, rounded to a multiple, at least one of it.

    >>> scale_width(40, 0.5), scale_width(10, 1.0), scale_width(8, 0.1)
    (20, 12, 4)

    Args:
        channels: The channels at width one.
        width: The width multiplier.
        multiple: What the result is a multiple of; halves are rounded up.
    """
    return max(1, int(channels * width / multiple + 0.5)) * multiple


class ConvNormAct(nn.Sequential):
    """Convolution without bias, batch norm, activation.

    Args:
        channels_in: Input channels.
        channels_out: Output channels.
        kernel: Side of the (odd, square) kernel; padded so that stride 1 keeps the picture's size.
        stride: Stride.
        groups: Groups; as many as channels for a depthwise convolution.
        activation: Builds the activation; ``nn.Identity`` for none.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int = 3,
        *,
        stride: int = 1,
        groups: int = 1,
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        conv = nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, groups=groups, bias=False)
        super().__init__(conv, nn.BatchNorm2d(channels_out), activation())


class PooledClassifier(nn.Module):
    """Mean over the picture, then a linear layer: ``(batch, channels, height, width) -> (batch, classes)``.

    Args:
        channels: Input channels.
        num_classes: The number of classes.
    """

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores of feature maps."""
        out: Tensor = self.linear(self.pool(x).flatten(1))
        return out


def initialise(model: nn.Module) -> None:
    """He's initialisation for convolutions (fan out, arXiv 1502.01852); norms start at scale one, shift zero."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
