"""``vgg-tiny``: a plain stack of 3x3 convolutions and max pooling (Simonyan and Zisserman, arXiv 1409.1556)."""

from torch import Tensor, nn

from nasc.models.blocks import ConvNormAct, PooledClassifier, initialise, scale_width

_STAGES = ((32, 1), (64, 1), (128, 1), (128, 1))
"""(channels, convolutions) of a stage; between two stages 2x2 max pooling halves the picture."""


class VGGTiny(nn.Module):
    """Four stages of convolutions with max pooling between them, and a pooled classifier.

    Args:
        num_classes: The number of classes.
        input_channels: Channels of the picture.
        width: Width multiplier.
        multiple: Every width is a multiple of this.
    """

    def __init__(self, num_classes: int, input_channels: int = 3, width: float = 1.0, multiple: int = 4) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = input_channels
        for stage, (full, count) in enumerate(_STAGES):
            if stage:
                layers.append(nn.MaxPool2d(2))
            for _ in range(count):
                channels_out = scale_width(full, width, multiple)
                layers.append(ConvNormAct(channels, channels_out))
                channels = channels_out
        self.features = nn.Sequential(*layers)
        self.head = PooledClassifier(channels, num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores ``(batch, classes)`` of pictures ``(batch, channels, height, width)``."""
        out: Tensor = self.head(self.features(x))
        return out
