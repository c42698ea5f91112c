"""``mobilenetv3-tiny``: a MobileNetV3 (Howard et al., arXiv 1905.02244) for pictures of 28 to 32 pixels."""

from typing import NamedTuple

from torch import Tensor, nn

from nasc.models.blocks import ConvNormAct, PooledClassifier, initialise, scale_width

_STEM = 16
_LAST = 256
_SQUEEZE = 4


class _Stage(NamedTuple):
    """One inverted residual: expanded and output channels, kernel, stride, squeeze-and-excite, activation."""

    expanded: int
    out: int
    kernel: int
    stride: int
    excite: bool
    activation: type[nn.Module]


_STAGES = (
    _Stage(48, 16, 3, 1, False, nn.ReLU),
    _Stage(64, 32, 3, 2, False, nn.ReLU),
    _Stage(128, 32, 3, 1, True, nn.Hardswish),
    _Stage(160, 64, 5, 2, True, nn.Hardswish),
    _Stage(256, 64, 5, 1, True, nn.Hardswish),
)


class SqueezeExcite(nn.Module):
    """Scales every channel by a gate computed from the means of all channels (Hu et al., arXiv 1709.01507).

    Args:
        channels: Channels of the feature map.
        squeezed: Channels between the gate's two 1x1 convolutions.
    """

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.activation = nn.ReLU()
        self.expand = nn.Conv2d(squeezed, channels, 1)
        self.gate = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """``x`` times its gates."""
        gates: Tensor = self.gate(self.expand(self.activation(self.reduce(self.pool(x)))))
        return x * gates


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise convolution, squeeze-and-excite, 1x1 projection; a shortcut where the shape stays.

    Args:
        channels_in: Input channels.
        stage: The block's shape; its widths are already scaled.
        multiple: The squeezed width is a multiple of this.
    """

    def __init__(self, channels_in: int, stage: _Stage, multiple: int) -> None:
        super().__init__()
        expanded = stage.expanded
        self.expand = ConvNormAct(channels_in, expanded, 1, activation=stage.activation)
        self.depthwise = ConvNormAct(
            expanded, expanded, stage.kernel, stride=stage.stride, groups=expanded, activation=stage.activation
        )
        squeezed = scale_width(expanded // _SQUEEZE, 1.0, multiple)
        self.excite = SqueezeExcite(expanded, squeezed) if stage.excite else nn.Identity()
        self.project = ConvNormAct(expanded, stage.out, 1, activation=nn.Identity)
        self.residual = stage.stride == 1 and channels_in == stage.out

    def forward(self, x: Tensor) -> Tensor:
        """The block's output, plus ``x`` where the shape stays."""
        out: Tensor = self.project(self.excite(self.depthwise(self.expand(x))))
        return x + out if self.residual else out


class MobileNetV3Tiny(nn.Module):
    """Stem, inverted residuals, last 1x1 convolution, pooled classifier.

    Args:
        num_classes: The number of classes.
        input_channels: Channels of the picture.
        width: Width multiplier.
        multiple: Every width is a multiple of this.
    """

    def __init__(self, num_classes: int, input_channels: int = 3, width: float = 1.0, multiple: int = 4) -> None:
        super().__init__()
        channels = scale_width(_STEM, width, multiple)
        self.stem = ConvNormAct(input_channels, channels, stride=2, activation=nn.Hardswish)
        blocks: list[nn.Module] = []
        for full in _STAGES:
            stage = full._replace(
                expanded=scale_width(full.expanded, width, multiple), out=scale_width(full.out, width, multiple)
            )
            blocks.append(InvertedResidual(channels, stage, multiple))
            channels = stage.out
        self.blocks = nn.Sequential(*blocks)
        last = scale_width(_LAST, width, multiple)
        self.last = ConvNormAct(channels, last, 1, activation=nn.Hardswish)
        self.head = PooledClassifier(last, num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores ``(batch, classes)`` of pictures ``(batch, channels, height, width)``."""
        out: Tensor = self.head(self.last(self.blocks(self.stem(x))))
        return out
