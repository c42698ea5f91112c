"""Pictures made worse, after ImageNet-C (arXiv 1903.12261), for small pictures: eight kinds at three severities.

Strengths are in units of the picture's own spread, since data sets are normalised: what a fixed number of grey levels is
to one, it is not to another.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from nasc.errors import UsageError

SEVERITIES = (1, 2, 3)
Corruption = Callable[[Tensor, int, torch.Generator], Tensor]


def gaussian_noise(x: Tensor, severity: int, generator: torch.Generator) -> Tensor:
    """Normal noise on every value."""
    return x + (0.15, 0.35, 0.6)[severity - 1] * x.std() * torch.randn(x.shape, generator=generator)


def impulse_noise(x: Tensor, severity: int, generator: torch.Generator) -> Tensor:
    """Some positions set to the darkest or the brightest value."""
    where = torch.rand((len(x), 1, *x.shape[2:]), generator=generator)
    share = (0.02, 0.06, 0.12)[severity - 1]
    result = torch.where(where < share / 2, x.amin(), x)
    return torch.where(where > 1 - share / 2, x.amax(), result)


def blur(x: Tensor, severity: int, generator: torch.Generator) -> Tensor:
    """A square average, once or several times."""
    for _ in range(severity):
        padded = torch.nn.functional.pad(x, (1, 1, 1, 1), mode="replicate")
        x = torch.nn.functional.avg_pool2d(padded, 3, stride=1)
    return x


def pixelate(x: Tensor, severity: int, generator: torch.Generator) -> Tensor:
    """Coarser squares, at the size it was."""
    height, width = x.shape[2:]
    size = max(1, round(height / (1.3, 1.8, 2.5)[severity - 1])), max(1, round(width / (1.3, 1.8, 2.5)[severity - 1]))
    return torch.nn.functional.interpolate(torch.nn.functional.adaptive_avg_pool2d(x, size), size=(height, width))


def contrast(x: Tensor, severity: int, generator: torch.Generator) -> Tensor:
    """Every picture drawn towards its own mean."""
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + (0.7, 0.45, 0.25)[severity - 1] * (x - mean)


def brightness(x: Tensor, severity: int, generator: torch.Generator) -> Tensor:
    """A constant added."""
    return x + (0.4, 0.8, 1.2)[severity - 1] * x.std()


def shift(x: Tensor, severity: int, generator: torch.Generator) -> Tensor:
    """Moved sideways, the edge repeated."""
    reach = max(1, round(x.shape[3] * (0.06, 0.1, 0.16)[severity - 1]))
    padded = torch.nn.functional.pad(x, (reach, 0, 0, 0), mode="replicate")
    return padded[..., : x.shape[3]]


def occlude(x: Tensor, severity: int, generator: torch.Generator) -> Tensor:
    """A square of the darkest value at a random place."""
    side = max(1, round(min(x.shape[2:]) * (0.2, 0.3, 0.4)[severity - 1]))
    top = torch.randint(0, x.shape[2] - side + 1, (len(x), 1, 1), generator=generator)
    left = torch.randint(0, x.shape[3] - side + 1, (len(x), 1, 1), generator=generator)
    rows, columns = torch.arange(x.shape[2]).view(1, -1, 1), torch.arange(x.shape[3]).view(1, 1, -1)
    inside = (rows >= top) & (rows < top + side) & (columns >= left) & (columns < left + side)
    return torch.where(inside.unsqueeze(1), x.amin(), x)


CORRUPTIONS: Mapping[str, Corruption] = MappingProxyType(
    {
        "gaussian noise": gaussian_noise,
        "impulse noise": impulse_noise,
        "blur": blur,
        "pixelate": pixelate,
        "contrast": contrast,
        "brightness": brightness,
        "shift": shift,
        "occlusion": occlude,
    }
)
"""Corruption by name."""


def corrupt(x: Tensor, name: str, severity: int, seed: int = 0) -> Tensor:
    """Pictures made worse; the same for the same seed.

    Args:
        x: float (count, channels, height, width).
        name: One of :data:`CORRUPTIONS`.
        severity: 1, 2 or 3.
        seed: Of what is drawn at random.

    Raises:
        UsageError: The name or the severity is unknown.
    """
    if name not in CORRUPTIONS or severity not in SEVERITIES:
        raise UsageError(
            f"unknown corruption {name!r} of severity {severity}", f"known: {', '.join(CORRUPTIONS)}; severities 1 to 3"
        )
    return CORRUPTIONS[name](x, severity, torch.Generator().manual_seed(seed))
