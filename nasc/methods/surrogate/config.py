"""Every choice of the surrogate method, checked before anything runs."""

from dataclasses import dataclass
from typing import Literal

from nasc.errors import UsageError
from nasc.methods._blocks.layers import Block, parse_blocks
from nasc.methods.surrogate.norms import Form


@dataclass(frozen=True)
class SurrogateConfig:
    """How masks move and who steers them.

    Args:
        blocks: Forms a layer may take, of ``prune``, ``lowrank``, ``sparse`` and ``quant``, joined by commas.
        layers: Which layers may take the other forms: a regular expression over their paths; all where it is empty.
        controller: ``"steered"`` ends one run at the target; None is the paper: a fixed lambda and projected descent.
        form: ``"paper"`` for R(a), ``"exact"`` for R(a)^2 / d.

        strength: Lambda, in loss per unit of price (per dense price if ``normalised``); only without a controller.
        normalised: Divide the price by its value at all-ones, so that lambda has the scale of a loss.
        optimizer: ``"sgd"`` or ``"adam"``, for the masks; only without a controller.
        learning_rate: Step size of the masks; None takes that of the model's optimiser, as the paper does, once
            :meth:`Surrogate.follow` has named it, and 0.05 until then.
        momentum: Of the masks' SGD.
        warm_up: Fraction of the run over which lambda rises from zero.
        project: Clip masks at zero after every step. Without it |a| replaces a in R, nothing reaches zero exactly, and
            ``threshold`` says what is removed.
        threshold: Masks at or below it are removed.
        renormalise: After every step rescale each mask to norm sqrt(d) and its readers' weights inversely.
        absorbing: A mask that has reached zero stays there.
        freeze_at_target: Fix the masks and drop lambda once the true price meets the target.

        start: Fraction of the run trained dense; only with the controller, like all below.
        end: Fraction at which the masks are fixed and fine-tuning begins.
        interval: Steps between decisions.
        memory: Weight of the past in the running mean of sensitivity, per step.
        sensitivity: How much the measured sensitivity of the loss to a dim counts against its price, in [0, 1]: at 0 all
            dims give up their weakest entries alike, at 1 the measurement alone decides.
        crowding: How much more the entries of a thinned dim weigh, see :func:`nasc.methods._widths.allocate`.
        fade: Fraction of the run over which a mask that is to go falls to zero, also after ``end``; 0 for at once.
        floor: Smallest share of a dim that may stay.
        on_steps: Only widths the device makes good use of.
    """

    blocks: str = "prune"
    layers: str = ""
    controller: Literal["steered"] | None = "steered"
    form: Form = "paper"

    strength: float = 0.0
    normalised: bool = False
    optimizer: Literal["sgd", "adam"] = "sgd"
    learning_rate: float | None = None
    momentum: float = 0.0
    warm_up: float = 0.0
    project: bool = True
    threshold: float = 0.0
    renormalise: bool = False
    absorbing: bool = False
    freeze_at_target: bool = False

    start: float = 0.2
    end: float = 0.6
    interval: int = 8
    memory: float = 0.98
    sensitivity: float = 0.3
    crowding: float = 2.0
    fade: float = 0.2
    floor: float = 0.1
    on_steps: bool = True

    @property
    def forms(self) -> frozenset[Block]:
        """The blocks, read."""
        return parse_blocks(self.blocks)

    def __post_init__(self) -> None:
        if self.renormalise and self.forms & {"sparse", "quant"}:
            raise UsageError("renormalise is for masks over dims; single weights and gates have no readers to scale")
        _one_of("controller", self.controller, ("steered", None))
        _one_of("form", self.form, ("paper", "exact"))
        _one_of("optimizer", self.optimizer, ("sgd", "adam"))
        for name in ("strength", "threshold", "crowding"):
            _within(name, getattr(self, name), 0.0, float("inf"))
        for name in ("warm_up", "start", "end", "memory", "sensitivity", "fade", "floor", "momentum"):
            _within(name, getattr(self, name), 0.0, 1.0)
        if self.controller == "steered" and self.strength:
            raise UsageError(
                f"strength {self.strength} and a controller exclude each other: the controller finds the strength",
                "pass controller=None for a fixed strength",
            )
        if self.start > self.end or self.end + self.fade > 1:
            raise UsageError(
                f"expected start <= end and end + fade <= 1; got start {self.start}, end {self.end}, fade {self.fade}",
                "leave the last part of the run for fine-tuning, e.g. start=0.2, end=0.5, fade=0.1",
            )


def _one_of(name: str, value: object, known: tuple[object, ...]) -> None:
    if value not in known:
        raise UsageError(f"unknown {name} {value!r}", f"known: {', '.join(str(item) for item in known)}")


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise UsageError(f"{name} must lie between {low:g} and {high:g}; got {value:g}")
