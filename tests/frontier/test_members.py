"""Members chosen by a sort."""

import itertools

import pytest

from nasc.errors import TargetError
from nasc.family import Family, MemberLine
from nasc.frontier.members import above_threshold, best_members, candidates, choose

ACCURACIES = (0.5, 0.7, 0.65, None, 0.9)
PRICES = (1.0, 2.0, 3.0, 4.0, 5.0)


def family() -> Family:
    members = tuple(
        MemberLine(f"width {width}", {"width": width}, {}, 0, accuracy=accuracy)
        for width, accuracy in zip((0.2, 0.4, 0.6, 0.8, 1.0), ACCURACIES, strict=True)
    )
    return Family("r", "m", "d", 2, (1, 2, 2), {}, 0, ways=(), members=members, validation=9)


def test_known_accuracies_are_kept_and_unknown_ones_predicted_with_an_error_bar() -> None:
    found = candidates(family(), PRICES)
    assert [candidate.accuracy for candidate in found if not candidate.predicted] == [0.5, 0.7, 0.65, 0.9]
    assert found[3].predicted
    assert 0.65 < found[3].accuracy < 0.95
    assert found[3].accuracy_error > 0
    assert found[0].accuracy_error == 0


def test_the_most_accurate_member_within_the_limit_is_chosen_not_the_dearest() -> None:
    found = candidates(family(), PRICES)
    assert choose(found, 3.5).member.label == "width 0.4"
    assert choose(found, 100).member.label == "width 1.0"
    with pytest.raises(TargetError, match="below the family's smallest member"):
        choose(found, 0.5, "0.5ms")


def test_no_member_on_the_front_is_dominated() -> None:
    front = best_members(candidates(family(), PRICES))
    assert [candidate.price for candidate in front][:2] == [1.0, 2.0]
    assert all(a.accuracy < b.accuracy for a, b in itertools.pairwise(front))
    assert 3.0 not in [candidate.price for candidate in front]


def test_the_threshold_keeps_exactly_those_above_it_ties_in_order() -> None:
    found = candidates(family(), PRICES)
    assert next(c.member.label for c in above_threshold(found, 0.7)) == "width 1.0"
    assert "width 0.4" not in [c.member.label for c in above_threshold(found, 0.7)]
    tied = [type(found[0])(candidate.member, candidate.price, 0.8) for candidate in found]
    assert [c.price for c in above_threshold(tied, 0.7)] == list(PRICES)
