"""The phases of AC/DC: the published presets, any length, always sparse in the end."""

import itertools

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from nasc.errors import UsageError
from nasc.methods.sparse_training import PhasePlan


def starts(plan: PhasePlan, epochs: int) -> tuple[list[int], list[int]]:
    """Epochs at which sparse and dense phases begin, the first dense one left out."""
    phases = plan.phases(epochs)
    return [p.start for p in phases if p.sparse], [p.start for p in phases if not p.sparse][1:]


def in_epochs(total: int, warmup: int, phase: int, last_dense: int, last_sparse: int) -> PhasePlan:
    return PhasePlan(warmup / total, phase / total, last_dense / total, last_sparse / total)


def test_the_preset_of_100_epochs() -> None:
    sparse, dense = starts(PhasePlan(), 100)
    assert sparse == [10, 20, 30, 40, 50, 60, 70, 85]
    assert dense == [15, 25, 35, 45, 55, 65, 75]


def test_the_preset_of_100_epochs_is_half_dense_and_half_sparse() -> None:
    phases = PhasePlan().phases(100)
    assert sum(phase.end - phase.start for phase in phases if phase.sparse) == 50


@pytest.mark.parametrize("epochs", [150, 200])
def test_longer_presets_have_more_phases_of_the_same_length(epochs: int) -> None:
    sparse, dense = starts(in_epochs(epochs, 10, 5, 10, 15), epochs)
    assert sparse == [*range(10, epochs - 25, 10), epochs - 15]
    assert dense == [*range(15, epochs - 30, 10), epochs - 25]


def test_the_thousand_epochs_of_acdc_plus_end_every_sparse_phase_on_a_nine() -> None:
    phases = in_epochs(1000, 105, 5, 5, 5).phases(1000)
    assert [phase.end - 1 for phase in phases if phase.sparse] == list(range(109, 1000, 10))


def test_a_stretched_plan_has_phases_of_the_same_number_of_epochs() -> None:
    phases = PhasePlan().stretched(5).phases(500)
    middle = [phase.end - phase.start for phase in phases[1:-2]]
    assert (phases[0].end, phases[-2].end - phases[-2].start, phases[-1].end - phases[-1].start) == (50, 10, 15)
    assert set(middle) == {5}


def test_the_cifar_preset_in_phases_of_twenty_epochs() -> None:
    sparse, dense = starts(in_epochs(200, 10, 20, 20, 30), 200)
    assert sparse == [10, 50, 90, 130, 170]
    assert dense == [30, 70, 110, 150]


@settings(max_examples=200, deadline=None)
@given(st.integers(2, 400), st.floats(0, 0.5), st.floats(0.01, 0.3), st.floats(0, 0.2), st.floats(0.01, 0.2))
def test_every_run_begins_dense_ends_sparse_and_leaves_no_step_out(
    steps: int, warmup: float, phase: float, last_dense: float, last_sparse: float
) -> None:
    assume(warmup + phase + last_dense + last_sparse <= 1)
    phases = PhasePlan(warmup, phase, last_dense, last_sparse).phases(steps)
    assert phases[-1].sparse
    assert warmup == 0 or not phases[0].sparse
    assert (phases[0].start, phases[-1].end) == (0, steps)
    assert all(a.end == b.start and a.sparse != b.sparse for a, b in itertools.pairwise(phases))
    assert all(each.end > each.start for each in phases)


def test_lengths_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="fit into one run"):
        PhasePlan(0.5, 0.1, 0.3, 0.3)
    with pytest.raises(UsageError, match="stretch of at least 1"):
        PhasePlan().stretched(0.5)
    with pytest.raises(UsageError, match="at least 2 steps"):
        PhasePlan().phases(1)
