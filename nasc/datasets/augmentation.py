"""Augmentation of a batch in a few tensor operations: mirror, shift, cutout."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """What may be done to a training picture without changing its class.

    >>> policy = Augmentation(flip=True, shift=4)
    >>> policy(torch.zeros(8, 3, 32, 32)).shape
    torch.Size([8, 3, 32, 32])

    Args:
        flip: Mirror left to right, every second picture on average.
        shift: Move by up to so many pixels in each direction, drawn uniformly; what comes in is the mean colour
            (zero after normalisation), which is the usual "pad and crop".
        cutout: Side in pixels of a square set to the mean colour, its centre drawn uniformly (DeVries and Taylor,
            arXiv 1708.04552); 0 for none.
    """

    flip: bool = False
    shift: int = 0
    cutout: int = 0

    def __call__(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Augment a batch.

        Args:
            x: float ``(batch, channels, height, width)``, normalised; not changed.
            generator: On the device of ``x``; the device's default one when not given.

        Returns:
            A batch of the same shape.
        """
        if self.flip or self.shift:
            x = self._move(x, generator)
        if self.cutout:
            x = self._cut(x, generator)
        return x

    def _move(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """Mirror and shift in one gather: a row index and a column index for every picture."""
        batch, channels, height, width = x.shape
        padded = torch.nn.functional.pad(x, (self.shift,) * 4)
        rows = self._offsets(batch, generator, x.device) + torch.arange(height, device=x.device)
        columns = self._offsets(batch, generator, x.device) + torch.arange(width, device=x.device)
        if self.flip:
            mirrored = torch.rand(batch, 1, generator=generator, device=x.device) < 0.5
            columns = torch.where(mirrored, columns.flip(1), columns)
        stride = width + 2 * self.shift
        pixels = (rows[:, :, None] * stride + columns[:, None, :]).view(batch, 1, -1).expand(-1, channels, -1)
        return padded.flatten(2).gather(2, pixels).view(batch, channels, height, width)

    def _offsets(self, batch: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
        return torch.randint(0, 2 * self.shift + 1, (batch, 1), generator=generator, device=device)

    def _cut(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        batch, _, height, width = x.shape
        inside_rows = self._inside(batch, height, generator, x.device)
        inside_columns = self._inside(batch, width, generator, x.device)
        return x.masked_fill((inside_rows[:, :, None] & inside_columns[:, None, :])[:, None], 0.0)

    def _inside(self, batch: int, length: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
        """Which of ``length`` positions the square covers, bool ``(batch, length)``; it may reach over the edge."""
        centre = torch.randint(0, length, (batch, 1), generator=generator, device=device)
        start = centre - self.cutout // 2
        position = torch.arange(length, device=device)
        return (position >= start) & (position < start + self.cutout)
