import math
from collections.abc import Callable
from itertools import product

import pytest
from scipy.stats import ttest_rel

from nasc.frontier.summary import areas, compare_pairs, paired_t, sign_flip, spread, summarise
from nasc.records import Record

Make = Callable[..., Record]


def test_a_row_has_mean_and_spread_over_the_seeds(make_record: Make) -> None:
    rows = summarise(
        [
            make_record(seed=seed, accuracy=accuracy, dense_accuracy=0.9, measured_s=measured, target_s=1e-3,
                        interval=(measured, measured), train_s=10.0)
            for seed, accuracy, measured in ((0, 0.80, 0.9e-3), (1, 0.84, 1.1e-3))
        ]
    )  # fmt: skip
    (row,) = rows
    assert row.accuracy.mean == pytest.approx(0.82)
    assert row.accuracy.deviation == pytest.approx(math.sqrt(2) * 0.02)
    assert row.accuracy_change is not None
    assert row.accuracy_change.mean == pytest.approx(-0.08)
    assert row.met == (1, 2)
    assert row.seeds == (0, 1)


def test_devices_methods_and_targets_get_rows_of_their_own(make_record: Make) -> None:
    records = [
        make_record(device=device, method=method, target=target)
        for device, method, target in product(("cpu", "phone"), ("a", "b"), ("1ms", "2ms"))
    ]
    assert len(summarise(records)) == 8


def test_methods_are_paired_by_model_target_and_seed(make_record: Make) -> None:
    records = [
        make_record(method=method, seed=seed, accuracy=accuracy)
        for method, accuracies in (("a", (0.80, 0.85, 0.90)), ("b", (0.70, 0.80, 0.84)))
        for seed, accuracy in enumerate(accuracies)
    ]
    (pair,) = compare_pairs([*records, make_record(method="b", seed=9, accuracy=0.1)])
    assert pair.difference.count == 3
    assert pair.difference.mean == pytest.approx(0.07)
    assert pair.p_value == pytest.approx(ttest_rel([0.80, 0.85, 0.90], [0.70, 0.80, 0.84]).pvalue)


def test_simulated_and_measured_times_are_never_paired(make_record: Make) -> None:
    assert compare_pairs([make_record(method="a"), make_record(method="b", origin="simulated")]) == ()


@pytest.mark.parametrize("differences", [[0.1, 0.2, -0.05], [1.0, 1.0, 1.0, 1.0], [0.3, -0.1, 0.2, 0.4, -0.2]])
def test_sign_flips_agree_with_trying_every_pattern(differences: list[float]) -> None:
    total = abs(sum(differences))
    patterns = list(product((1, -1), repeat=len(differences)))
    hits = sum(abs(sum(s * d for s, d in zip(p, differences, strict=True))) >= total - 1e-12 for p in patterns)
    assert sign_flip(differences) == pytest.approx(hits / len(patterns))


def test_one_pair_or_equal_differences_decide_nothing() -> None:
    assert sign_flip([0.1]) is None
    assert paired_t([0.1]) is None
    assert paired_t([0.1, 0.1]) is None


def test_many_pairs_are_sampled_and_the_p_value_is_never_zero() -> None:
    p_value = sign_flip([1.0] * 30)
    assert p_value is not None
    assert 0 < p_value < 0.001


def test_the_area_of_one_point_is_its_rectangle_and_lies_in_its_interval(make_record: Make) -> None:
    record = make_record(measured_s=1e-3, accuracy=0.9, dense_measured_s=2e-3, spread_s=1e-5, accuracy_stderr=0.01)
    (area,) = areas([record])
    assert area.value == pytest.approx(0.5 * 0.9)
    assert area.low < area.value < area.high
    assert area.high - area.low < 0.05
    assert areas([record]) == areas([record])


def test_more_points_dominate_more(make_record: Make) -> None:
    common = {"dense_measured_s": 4e-3, "spread_s": None}
    one = [make_record(method="a", measured_s=2e-3, accuracy=0.9, **common)]
    two = [*one, make_record(method="a", target="2ms", measured_s=1e-3, accuracy=0.8, **common)]
    assert areas(two)[0].value == pytest.approx(areas(one)[0].value + 0.8 * 1e-3 / 4e-3)


def test_a_spread_of_one_value_has_no_deviation() -> None:
    assert spread([2.0]).deviation is None
