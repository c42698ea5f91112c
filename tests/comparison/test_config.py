from pathlib import Path
from typing import Any

import pytest

from nasc.comparison import Group, Trial, make_config, read_config
from nasc.comparison.ranges import Range, parse_range, parse_ranges
from nasc.errors import UsageError
from nasc.methods import METHODS


def config(**changes: Any) -> Any:
    return make_config({"models": "digits-cnn", "data": "digits", "targets": ["-40%"], **changes})


def test_every_combination_is_one_trial_and_the_defaults_come_first() -> None:
    asked = config(methods=["l1", "surrogate"], targets=["-40%", "-60%"], seeds=[0, 1], trials=2)
    trials = list(asked.all_trials())
    assert len(trials) == len({trial.name for trial in trials}) == 2 * 2 * 2 * 2
    assert [trial.proposal for trial in trials] == [0] * 8 + [1] * 8
    assert {trial.group.method for trial in trials} == {"l1", "surrogate"}


def test_every_method_there_is_takes_part_unless_some_are_named() -> None:
    assert config().methods == tuple(METHODS)


def test_a_file_and_flags_say_the_same_and_the_flag_wins(tmp_path: Path) -> None:
    file = tmp_path / "comparison.yaml"
    file.write_text("models: [digits-cnn]\ndata: digits\ntargets: [-40%]\nepochs: 3\nseeds: [0, 1]\nmethods: l1\n")
    from_file = read_config(file, {"seeds": (4,)})
    assert from_file == config(methods=["l1"], epochs=3, seeds=[4])
    assert from_file.recipe.epochs == 3


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"methods": ["surogate"]}, "did you mean surrogate"),
        ({"epoch": 3}, "did you mean epochs"),
        ({"targets": ["quick"]}, "cannot read the target"),
        ({"seeds": [1, 1]}, "no name twice"),
        ({"seeds": ["one"]}, "whole numbers"),
        ({"trials": 0}, "trials to be at least 1"),
        ({"cpus": 0}, "cpus to be more than 0"),
        ({"tune": {"l1": 3}}, "ranges by method and name"),
        ({"recipe": {"epochs": 0}}, "epochs to be at least 1"),
    ],
)
def test_what_cannot_be_is_refused_in_words(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        config(**changes)
    assert sentence in f"{caught.value.message} {caught.value.hint}"


def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.yaml").write_text("- a\n- b\n")
    with pytest.raises(UsageError, match="expected keys with values"):
        read_config(tmp_path / "list.yaml", {})


def test_a_proposal_moves_the_recipe_and_the_method_and_the_seed_stays() -> None:
    asked = config(methods=["l1"], options={"*": {"floor": 0.1}, "l1": {"floor": 0.2}}, epochs=4)
    trial = Trial(Group("digits-cnn", "cpu", "l1", "-40%"), proposal=1, seed=7)
    run = asked.compress_config(trial, {"learning_rate": 0.05, "strength": 2.0})
    assert run.recipe.learning_rate == 0.05
    assert run.recipe.seed == 7
    assert run.recipe.epochs == 4
    assert run.options == {"floor": 0.2, "strength": 2.0}
    assert run.folder == asked.out / "trials" / trial.name


def test_one_proposal_is_the_defaults_and_several_move_the_learning_rate_of_every_method_alike() -> None:
    assert config().ranges("l1") == {}
    assert config(trials=3).ranges("l1") == config(trials=3).ranges("surrogate")
    chosen = config(trials=3, tune={"*": {"learning_rate": "0.1..0.3"}, "l1": {"floor": "0.0..0.2"}})
    assert set(chosen.ranges("l1")) == {"learning_rate", "floor"}
    assert set(chosen.ranges("surrogate")) == {"learning_rate"}


def test_a_comparison_may_grow_but_what_its_trials_share_is_its_identity() -> None:
    assert config().identity() == config(methods=["l1"], seeds=[0, 1, 2], targets=["-50%"], trials=9).identity()
    assert config().identity() != config(epochs=99).identity()
    assert config().identity() != config(train_size=99).identity()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.05..0.4:log", Range(0.05, 0.4, log=True)),
        ("1e-4..1e-2:log", Range(1e-4, 1e-2, log=True)),
        ("2..8", Range(2, 8)),
        ("a,b", Range(choices=("a", "b"))),
        ("1,2,4", Range(choices=(1, 2, 4))),
    ],
)
def test_ranges_are_read(text: str, expected: Range) -> None:
    assert parse_range(text) == expected


@pytest.mark.parametrize("text", ["", "3", "0.4..0.1", "-1..1:log", "a..b"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_range(text)


def test_ranges_become_the_distributions_of_optuna() -> None:
    import optuna

    assert parse_range("2..8").distribution() == optuna.distributions.IntDistribution(2, 8)
    assert parse_range("0.1..1.0:log").distribution() == optuna.distributions.FloatDistribution(0.1, 1.0, log=True)
    assert parse_ranges({"l1": {"form": ["a", "b"]}})["l1"]["form"].distribution() == (
        optuna.distributions.CategoricalDistribution(("a", "b"))
    )
