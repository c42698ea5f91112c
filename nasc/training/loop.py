"""The training loop, the same for a plain module and for a compression method."""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nasc.datasets import ImageData
from nasc.errors import ModelError, TrainingError
from nasc.methods._base import Method
from nasc.training.checkpoint import (
    OptimizerState,
    load_checkpoint,
    load_optimizer_state,
    optimizer_state,
    save_checkpoint,
)
from nasc.training.distillation import Teacher
from nasc.training.evaluation import evaluate
from nasc.training.history import EpochRow, History, write_history
from nasc.training.interrupt import deferred_interrupt
from nasc.training.lock import lock_run
from nasc.training.observers import observers
from nasc.training.precision import autocast, resolve, resolve_device, to_model_format
from nasc.training.progress import TrainingProgress
from nasc.training.recipe import Recipe, build_criterion, build_optimizer
from nasc.training.seeding import epoch_order, seed_step

CHECKPOINT = "checkpoint.safetensors"
HISTORY = "history.jsonl"


@dataclass(frozen=True, eq=False)
class Frozen:
    """The moment at which a method's selection became final.

    Args:
        step: Steps done.
        optimizer_state: What the optimiser remembers, by slot and parameter name: slice it like the parameters to go on
            with a smaller module.
    """

    step: int
    optimizer_state: OptimizerState


def train(
    subject: nn.Module | Method,
    data: ImageData,
    recipe: Recipe,
    *,
    folder: Path | None = None,
    resume: bool = True,
    progress: bool = True,
    on_epoch: Callable[[EpochRow], None] | None = None,
    on_frozen: Callable[[Frozen], bool | None] | None = None,
    start_step: int = 0,
    start_optimizer: OptimizerState | None = None,
    masks: Mapping[str, Tensor] | None = None,
    teacher: Teacher | None = None,
) -> History:
    """Train a module or a compression method by a recipe.

    Each step is ``loss = criterion(model(x), y) + method.penalty(); loss.backward(); optimizer.step(); method.step()``;
    for a plain module the parts of the method fall away. The model is trained in place. What is drawn at random depends
    on the recipe's seed and the step alone: a run that was interrupted ends with the weights of one that was not.

    Args:
        subject: The module, or a method that holds one.
        data: The data set.
        recipe: How to train.
        folder: Where the checkpoint and ``history.jsonl`` go, after every epoch; nothing is kept when not given.
        resume: Go on from the folder's checkpoint if there is one; otherwise start over and replace it.
        progress: Show a progress bar on stderr.
        on_epoch: Called with every epoch's row, after it was saved.
        on_frozen: Called when the method's selection is final (again after a resume). If it returns true, training
            stops there, and ``train(small, ..., start_step=frozen.step)`` goes on with the smaller module.
        start_step: Start at this step of the recipe: learning rate and order of pictures are what they would be.
        start_optimizer: What the optimiser remembers at the start, by slot and parameter name.
        masks: Which single weights may be other than zero (bool, the parameter's shape) by parameter name.
        teacher: Whose scores are learned beside the labels; it is moved to where the model trains.

    Returns:
        The history up to where training ended.

    Raises:
        ModelError: The model gives something else than one tensor while it trains.
        TrainingError: The loss is not a number, or the checkpoint is of another run.
        RunError: The folder is in use or cannot be written.
        KeyboardInterrupt: Ctrl-C; the state was saved first, and the message says how to go on.
    """
    with ExitStack() as stack:
        if folder is not None:
            stack.enter_context(lock_run(folder))
        stack.enter_context(torch.random.fork_rng())
        run = _Run(subject, data, recipe, folder, start_step, start_optimizer, masks or {}, teacher)
        if folder is not None:
            run.open(folder, resume=resume)
        bar = stack.enter_context(TrainingProgress(run.total_steps, recipe.epochs, shown=progress))
        interrupted = stack.enter_context(deferred_interrupt())
        run.go(bar, interrupted, on_epoch, on_frozen)
    return run.history


@dataclass
class _Epoch:
    """Sums over the steps of the running epoch."""

    loss: float = 0.0
    correct: int = 0
    pictures: int = 0
    steps: int = 0
    seconds: float = 0.0


class _Run:
    """A training run at some step."""

    def __init__(
        self,
        subject: nn.Module | Method,
        data: ImageData,
        recipe: Recipe,
        folder: Path | None,
        start_step: int,
        start_optimizer: OptimizerState | None,
        masks: Mapping[str, Tensor],
        teacher: Teacher | None,
    ) -> None:
        self.teacher = teacher
        self.recipe, self.folder, self.data = recipe, folder, data
        self.method: Method | None = None if isinstance(subject, nn.Module) else subject
        self.model = subject if isinstance(subject, nn.Module) else subject.model
        self.device = resolve_device(recipe.device)
        _move(subject, self.device)
        if teacher is not None:
            teacher.model.to(self.device)
        self.precision = resolve(recipe.precision, self.device, self.model)
        self.train_x, self.train_y = data.train_x.to(self.device), data.train_y.to(self.device)
        self.optimizer = build_optimizer(recipe, self.model.parameters())
        follow = getattr(self.method, "follow", None)
        if follow is not None:  # a method whose masks move at the learning rate of the weights
            follow(self.optimizer)
        if start_optimizer:
            load_optimizer_state(self.optimizer, self.model, start_optimizer)
        parameters = dict(self.model.named_parameters())
        self.masked = [(parameters[name], mask.to(self.device)) for name, mask in masks.items()]
        self.criterion = build_criterion(recipe)
        self.steps_per_epoch = recipe.steps_per_epoch(len(data.train_y))
        self.total_steps = self.steps_per_epoch * recipe.epochs
        if not 0 <= start_step <= self.total_steps:
            raise TrainingError(f"expected a start between step 0 and {self.total_steps}, got {start_step}")
        self.start_step = self.step = start_step
        self.rows: list[EpochRow] = []
        self.epoch = _Epoch()
        self.order_of, self.order = -1, torch.empty(0, dtype=torch.int64)

    @property
    def history(self) -> History:
        return History(tuple(self.rows), self.step, self.total_steps, self.precision)

    def go(
        self,
        bar: TrainingProgress,
        interrupted: Callable[[], bool],
        on_epoch: Callable[[EpochRow], None] | None,
        on_frozen: Callable[[Frozen], bool | None] | None,
    ) -> None:
        """Train to the end of the recipe, or until a frozen method is taken over."""
        told = False
        self.model.train()
        while True:
            if self.method is not None and self.method.frozen and not told:
                told = True
                if on_frozen and on_frozen(Frozen(self.step, optimizer_state(self.optimizer, self.model))):
                    self.save()
                    return
            if self.step >= self.total_steps:
                return
            self.train_step(self.batch())
            bar.update(self.step, (self.step - 1) // self.steps_per_epoch)
            for observer in observers():
                observer.on_step()
            if self.step % self.steps_per_epoch == 0:
                row = self.end_epoch()
                bar.note(row)
                if on_epoch:
                    on_epoch(row)
                for observer in observers():
                    observer.on_epoch(row)
            if interrupted():
                self.save()
                raise KeyboardInterrupt(self.how_to_resume())

    def batch(self) -> Tensor:
        """The indices of this step's pictures."""
        epoch, place = divmod(self.step, self.steps_per_epoch)
        if self.order_of != epoch:
            self.order_of, self.order = epoch, epoch_order(self.recipe.seed, epoch, len(self.train_y)).to(self.device)
        size = self.recipe.batch_size
        return self.order[place * size : (place + 1) * size]

    def train_step(self, indices: Tensor) -> None:
        """One step on the pictures at ``indices``."""
        began = time.perf_counter()
        seed_step(self.recipe.seed, self.step)
        x, y = self.train_x[indices], self.train_y[indices]
        if self.recipe.augment:
            x = self.data.augmentation(x)
        rate = self.recipe.learning_rate_at(self.step, self.total_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        x = to_model_format(x)
        with autocast(self.precision, self.device):
            loss, scores = self.loss_of(x, y)
        if self.teacher is not None:
            loss = self.teacher.mix(loss, scores.float(), x)
        observe = getattr(self.method, "observe", None)
        if observe is not None:  # a method that compares members of a family by the loss of a batch
            observe(float(loss.detach()))
        total = loss if self.method is None else loss + self.method.penalty()
        self.check_finite(float(total.detach()), rate)
        self.optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        if self.recipe.clip_norm:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_norm)
        self.optimizer.step()
        self.keep_zero()
        if self.method is not None:
            self.method.step()
        self.step += 1
        self.epoch.loss += float(loss.detach())
        self.epoch.correct += int((scores.detach().argmax(1) == y).sum())
        self.epoch.pictures += len(y)
        self.epoch.steps += 1
        self.epoch.seconds += time.perf_counter() - began

    def loss_of(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of a batch and its scores; a method that trains several networks in one chooses its own loss."""
        objective: Callable[..., tuple[Tensor, Tensor]] | None = getattr(self.method, "objective", None)
        if objective is not None:
            return objective(self.criterion, x, y)
        scores = _only_tensor(self.model(x))
        return self.criterion(scores.float(), y), scores

    @torch.no_grad()
    def keep_zero(self) -> None:
        """Put dropped weights back to zero: momentum and decay know nothing of them."""
        for parameter, mask in self.masked:
            parameter.mul_(mask)

    def end_epoch(self) -> EpochRow:
        """Validate, add the epoch's row, save."""
        began = time.perf_counter()
        accuracy = evaluate(self.model, self.data.val_x, self.data.val_y)
        sums, self.epoch = self.epoch, _Epoch()
        row = EpochRow(
            epoch=self.step // self.steps_per_epoch,
            step=self.step,
            train_loss=sums.loss / sums.steps,
            train_accuracy=sums.correct / sums.pictures,
            val_accuracy=accuracy.value,
            learning_rate=self.recipe.learning_rate_at(self.step - 1, self.total_steps),
            seconds=sums.seconds + time.perf_counter() - began,
            metrics={} if self.method is None else dict(self.method.metrics()),
        )
        self.rows.append(row)
        self.save()
        if self.folder is not None:
            write_history(self.folder / HISTORY, self.rows)
        return row

    def check_finite(self, loss: float, rate: float) -> None:
        """Stop before a loss that is not a number reaches the weights."""
        if math.isfinite(loss):
            return
        saved = self.rows[-1].step if self.folder is not None and self.rows else None
        kept = (
            f"the checkpoint of step {saved} in {self.folder} is good" if saved else "no checkpoint was made before it"
        )
        raise TrainingError(
            f"expected a finite loss, got {loss} at step {self.step} of {self.total_steps} "
            f"(learning rate {rate:.3g}, {self.precision}); {kept}",
            "lower the learning rate, set clip_norm, or train with precision fp32",
        )

    def how_to_resume(self) -> str:
        """What to tell a person who pressed Ctrl-C."""
        if self.folder is None:
            return (
                f"stopped after step {self.step} of {self.total_steps}; nothing was saved, since there is no run folder"
            )
        return (
            f"stopped after step {self.step} of {self.total_steps}; saved in {self.folder}: "
            "start the same run again and it goes on from there"
        )

    def identity(self) -> dict[str, Any]:
        """What must be the same for a checkpoint to be of this run."""
        recipe = asdict(self.recipe)
        del recipe["device"]
        return {
            **recipe,
            "data": f"{self.data.name} {self.data.sha256}",
            "training pictures": len(self.train_y),
            "start step": self.start_step,
            "method": type(self.method).__name__,
            **({} if self.teacher is None else {"teacher's share": self.teacher.weight}),
        }

    def save(self) -> None:
        """Write the checkpoint; nothing is written for a run without a folder."""
        if self.folder is None:
            return
        content = {
            "identity": self.identity(),
            "step": self.step,
            "precision": self.precision,
            "rows": [asdict(row) for row in self.rows],
            "epoch": asdict(self.epoch),
            "model": dict(self.model.state_dict()),
            "optimizer": optimizer_state(self.optimizer, self.model),
            "method": None if self.method is None else self.method.state_dict(),
        }
        save_checkpoint(self.folder / CHECKPOINT, content)

    def open(self, folder: Path, *, resume: bool) -> None:
        """Go to where the folder's checkpoint was made, or clear the folder for a new run."""
        checkpoint = folder / CHECKPOINT
        if resume and checkpoint.is_file():
            self.load(checkpoint)
        else:
            checkpoint.unlink(missing_ok=True)
        write_history(folder / HISTORY, self.rows)

    def load(self, path: Path) -> None:
        """Go to where a checkpoint was made."""
        content = load_checkpoint(path)
        self.check_identity(content["identity"], path)
        try:
            self.model.load_state_dict(content["model"])
        except RuntimeError as failure:
            raise TrainingError(
                f"the checkpoint {path} is of another model: {str(failure).splitlines()[-1].strip()}",
                "give another folder, or start over without resuming",
            ) from failure
        load_optimizer_state(self.optimizer, self.model, content["optimizer"])
        if self.method is not None:
            self.method.load_state_dict(content["method"])
        self.step, self.precision = content["step"], content["precision"]
        self.rows = [EpochRow(**row) for row in content["rows"]]
        self.epoch = _Epoch(**content["epoch"])

    def check_identity(self, saved: dict[str, Any], path: Path) -> None:
        """Refuse a checkpoint of another recipe, data set or method."""
        own = self.identity()
        differing = [name for name in own if saved.get(name) != own[name]]
        if differing:
            changes = ", ".join(f"{name} = {saved.get(name)!r} there, {own[name]!r} here" for name in differing)
            raise TrainingError(
                f"the checkpoint {path} is of another run: {changes}",
                "give another folder, or start over without resuming",
            )


def _only_tensor(output: object) -> Tensor:
    """A model's output, if it is one tensor: some models give more while they train than when they are evaluated."""
    if isinstance(output, Tensor):
        return output
    raise ModelError(
        f"expected the model to return one tensor of class scores in training mode, got {type(output).__name__}",
        "switch its auxiliary outputs off, or wrap the model so that forward returns the class scores alone",
    )


def _move(subject: nn.Module | Method, device: torch.device) -> None:
    """Put a module, or a method with its masks where it knows how, on a device."""
    if isinstance(subject, nn.Module) or hasattr(subject, "to"):
        subject.to(device)
    else:
        subject.model.to(device)
