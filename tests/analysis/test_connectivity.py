"""Segments between networks: ends, barriers, shapes."""

import pytest
import torch
from torch import Tensor

from nasc.analysis import interpolate, walk
from nasc.errors import UsageError

State = dict[str, Tensor]


def state(*values: float) -> State:
    return {"w": torch.tensor(values, dtype=torch.float64), "count": torch.tensor(3)}


def bowl(at: State) -> float:
    return float((at["w"] ** 2).sum())


def hill(at: State) -> float:
    return float(torch.exp(-(at["w"] ** 2).sum()))


def test_the_ends_of_a_path_are_the_networks_themselves() -> None:
    first, last = state(0.1, 0.2), state(-0.3, 0.7)
    path = walk(first, last, bowl)
    assert (path.losses[0], path.losses[-1]) == (bowl(first), bowl(last))
    assert all(torch.equal(interpolate(first, last, 1.0)[name], last[name]) for name in last)
    assert len(path.places) == 11


def test_equal_networks_have_no_barrier_between_them() -> None:
    path = walk(state(1.0, 2.0), state(1.0, 2.0), hill)
    assert path.barrier == 0
    assert path.barrier_over_chord == 0


def test_a_convex_loss_has_no_barrier() -> None:
    path = walk(state(3.0, -1.0), state(-2.0, 4.0), bowl)
    assert path.barrier == 0
    assert path.barrier_over_chord <= 1e-12


def test_a_hill_between_two_networks_is_a_barrier_of_its_height() -> None:
    path = walk(state(2.0), state(-2.0), hill)
    assert path.barrier == pytest.approx(1 - hill(state(2.0)))


def test_sparse_networks_meet_in_the_union_of_what_they_keep() -> None:
    middle = interpolate(state(1.0, 0.0, 0.0), state(0.0, 1.0, 0.0), 0.5)
    assert middle["w"].tolist() == [0.5, 0.5, 0.0]


def test_networks_of_different_shapes_are_refused() -> None:
    with pytest.raises(UsageError, match="one shape"):
        interpolate(state(1.0), state(1.0, 2.0), 0.5)
