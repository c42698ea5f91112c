import pytest
import torch
from torch import nn

from nasc.training import precision
from nasc.training.precision import resolve, to_model_format

CPU = torch.device("cpu")
ORDINARY = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=2))
DEPTHWISE = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=8))


@pytest.mark.parametrize(
    ("matrix_units", "model", "expected"),
    [(True, ORDINARY, "bf16"), (True, DEPTHWISE, "fp32"), (False, ORDINARY, "fp32")],
)
def test_auto_is_bf16_on_a_cpu_where_that_is_fast(monkeypatch, matrix_units, model, expected):
    monkeypatch.setattr(precision, "has_matrix_units", lambda: matrix_units)
    assert resolve("auto", CPU, model) == expected


@pytest.mark.parametrize("asked", ["fp32", "bf16"])
def test_what_is_asked_for_is_taken(asked):
    assert resolve(asked, CPU, DEPTHWISE) == asked


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_get_their_channels_last_and_keep_their_values(channels):
    x = torch.randn(4, channels, 5, 6)
    out = to_model_format(x)
    assert torch.equal(x, out)
    assert out.stride() == (channels * 30, 1, channels * 6, channels)


def test_other_tensors_are_passed_on():
    x = torch.randn(4, 5)
    assert to_model_format(x) is x
