"""Corruptions change pictures, more at higher severity, and the same way for the same seed."""

import pytest
import torch

from nasc.analysis import CORRUPTIONS, corrupt
from nasc.errors import UsageError


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    """Smooth ones: noise has no neighbours that are alike."""
    coarse = torch.rand(6, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, size=(16, 16), mode="bilinear", align_corners=True)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_every_corruption_keeps_the_shape_and_grows_with_its_severity(pictures: torch.Tensor, name: str) -> None:
    made = [corrupt(pictures, name, severity) for severity in (1, 2, 3)]
    assert all(each.shape == pictures.shape and bool(torch.isfinite(each).all()) for each in made)
    distances = [float((each - pictures).abs().mean()) for each in made]
    assert 0 < distances[0] < distances[1] < distances[2]


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_same_seed_makes_the_same_pictures_and_leaves_the_given_ones_alone(
    pictures: torch.Tensor, name: str
) -> None:
    before = pictures.clone()
    assert torch.equal(corrupt(pictures, name, 2, seed=5), corrupt(pictures, name, 2, seed=5))
    assert torch.equal(pictures, before)


def test_an_unknown_corruption_or_severity_is_refused(pictures: torch.Tensor) -> None:
    for name, severity in (("fog", 1), ("blur", 4)):
        with pytest.raises(UsageError, match="unknown corruption"):
            corrupt(pictures, name, severity)
