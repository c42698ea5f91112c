"""``resnet-tiny``: a ResNet (He et al., arXiv 1512.03385) with basic blocks for pictures of 28 to 32 pixels."""

from torch import Tensor, nn

from nasc.models.blocks import ConvNormAct, PooledClassifier, initialise, scale_width

_STEM = 32
_STAGES = ((32, 1), (64, 1), (128, 1))
"""(channels, blocks) of a stage; every stage but the first halves the picture, and so does the stem."""


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut, which is a 1x1 convolution where the shape changes.

    Args:
        channels_in: Input channels.
        channels_out: Output channels, also between the two convolutions.
        stride: Of the first convolution and the shortcut.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.first = ConvNormAct(channels_in, channels_out, stride=stride)
        self.second = ConvNormAct(channels_out, channels_out, activation=nn.Identity)
        same = channels_in == channels_out and stride == 1
        self.shortcut = (
            nn.Identity() if same else ConvNormAct(channels_in, channels_out, 1, stride=stride, activation=nn.Identity)
        )
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """``relu(f(x) + shortcut(x))``."""
        out: Tensor = self.activation(self.second(self.first(x)) + self.shortcut(x))
        return out


class ResNetTiny(nn.Module):
    """Stem, three stages of basic blocks, pooled classifier.

    Args:
        num_classes: The number of classes.
        input_channels: Channels of the picture.
        width: Width multiplier.
        multiple: Every width is a multiple of this.
    """

    def __init__(self, num_classes: int, input_channels: int = 3, width: float = 1.0, multiple: int = 4) -> None:
        super().__init__()
        channels = scale_width(_STEM, width, multiple)
        self.stem = ConvNormAct(input_channels, channels, stride=2)
        blocks: list[nn.Module] = []
        for stage, (full, count) in enumerate(_STAGES):
            channels_out = scale_width(full, width, multiple)
            for block in range(count):
                blocks.append(BasicBlock(channels, channels_out, stride=2 if stage and not block else 1))
                channels = channels_out
        self.blocks = nn.Sequential(*blocks)
        self.head = PooledClassifier(channels, num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores ``(batch, classes)`` of pictures ``(batch, channels, height, width)``."""
        out: Tensor = self.head(self.blocks(self.stem(x)))
        return out
