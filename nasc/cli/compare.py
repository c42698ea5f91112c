"""``nasc compare`` and ``nasc compare report``."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nasc.cli._options import DATA, MODELS
from nasc.cli._output import Reply, Verb
from nasc.units import format_percent, format_seconds

if TYPE_CHECKING:
    from nasc.comparison import CompareConfig, Comparison, Failure, Trial
    from nasc.records import Record

TRACKERS = ("mlflow", "wandb")


class ListType(click.ParamType[tuple[str, ...]]):
    """Names joined by commas."""

    name = "list"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Read ``a,b,c``."""
        if isinstance(value, tuple):
            return value
        return tuple(part.strip() for part in str(value).split(",") if part.strip())


class SeedsType(click.ParamType[tuple[int, ...]]):
    """Seeds: ``0,1,2`` or ``0-4``."""

    name = "seeds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Read them."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(seed for part in str(value).split(",") for seed in _seeds(part.strip()))
        except ValueError:
            self.fail(f"expected whole numbers such as 0,1,2 or 0-4, got {value!r}", param, ctx)


class VerbGroup(click.Group, Verb):
    """A verb that has further verbs."""


@click.group("compare", cls=VerbGroup, invoke_without_command=True)
@click.option(
    "--config", "file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="A YAML file with the same keys as these flags; a flag wins over the file.",
)  # fmt: skip
@click.option("--models", "--model", "-m", "models", type=ListType(), metavar="A,B", help=f"Models: {MODELS}.")
@click.option("--data", "-d", metavar="DATA", help=f"The data set: {DATA}.")
@click.option("--devices", "--device", "devices", type=ListType(), metavar="A,B", help="Devices.  [default: cpu]")
@click.option("--methods", "--method", "methods", type=ListType(), metavar="A,B", help="Methods.  [default: all]")
@click.option("--targets", "--target-latency", "targets", type=ListType(), metavar="A,B", help="Such as 4ms,6ms,-40%.")
@click.option("--seeds", type=SeedsType(), metavar="N,N", help="Such as 0,1,2 or 0-4.  [default: 0]")
@click.option("--runtime", metavar="NAME", help="What runs the models there.  [default: litert]")
@click.option("--threads", type=click.IntRange(min=1), help="Threads of the runtime.  [default: 1]")
@click.option("--epochs", type=click.IntRange(min=1), help="Epochs of every trial, fine-tuning included.")
@click.option("--batch-size", type=click.IntRange(min=1), help="Images a step.")
@click.option("--learning-rate", type=click.FloatRange(min=0, min_open=True), help="The highest learning rate.")
@click.option("--train-size", type=click.IntRange(min=1), metavar="N", help="Train on so many images.")
@click.option("--weights", type=click.Path(path_type=Path), metavar="FILE", help="Start from these weights.")
@click.option("--trials", type=click.IntRange(min=1), metavar="N", help="Proposals of hyper-parameters a method gets.")
@click.option(
    "--tune", multiple=True, metavar="[METHOD.]NAME=RANGE", help="What Optuna may move: LOW..HIGH[:log] or A,B,C."
)
@click.option("--option", "options", multiple=True, metavar="METHOD.NAME=VALUE", help="A fixed setting of a method.")
@click.option("--stop-early", is_flag=True, default=None, help="Stop proposals that fall behind (ASHA).")
@click.option("--cpus", type=float, metavar="N", help="Cores a trial takes.  [default: 1]")
@click.option("--gpus", type=float, metavar="N", help="GPUs a trial takes, fractions allowed.  [default: 0]")
@click.option("--concurrent", type=click.IntRange(min=1), metavar="N", help="Trials at once at most.")
@click.option("--address", metavar="HOST:PORT", help="A running Ray cluster; by default this machine alone.")
@click.option("--track", multiple=True, type=click.Choice(TRACKERS), help="Also report to a tracker. Repeatable.")
@click.option("--retry-failed", is_flag=True, help="Run the failed trials again.")
@click.option("--dry-run", is_flag=True, help="Say what would run and how long it should take.")
@click.option(
    "--out", "-o", type=click.Path(path_type=Path), metavar="DIR", help="Its folder.  [default: runs/comparison]"
)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    file: Path | None,
    tune: tuple[str, ...],
    options: tuple[str, ...],
    address: str | None,
    track: tuple[str, ...],
    retry_failed: bool,
    dry_run: bool,
    **flags: Any,
) -> Reply | None:
    """Run methods against each other: every method, target and seed once, at equal budgets.

    Ray Tune runs the trials, on this machine or a cluster; measurements never overlap with anything. The same command goes
    on after whatever ended it: what has finished stays finished, and nothing is there twice.

    \b
    Examples:
      nasc compare -m digits-cnn -d digits --methods surrogate,l1 --targets -40%,-60% --seeds 0,1
      nasc compare --config comparison.yaml --dry-run
      nasc compare report runs/comparison
    """  # noqa: D301 - click reads the backspace
    if ctx.invoked_subcommand is not None:
        return None
    from nasc.comparison import make_config, read_config

    given = {name: value for name, value in flags.items() if value is not None}
    given |= {"tune": _nested(tune)} if tune else {}
    given |= {"options": _nested(options, values=True)} if options else {}
    config = read_config(file, given) if file else make_config(given)
    if dry_run:
        return _forecast(config)
    return _run(config, address, retry_failed, track)


@command.command("report", cls=Verb)
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path), metavar="[DIR]...")
def report(runs: tuple[Path, ...]) -> Reply:
    """Tables of a comparison: mean and spread, paired tests between methods, hypervolumes with intervals.

    DIR is a comparison's folder, a folder of runs, or a ledger; by default runs/comparison.

    \b
    Example:
      nasc compare report runs/comparison
    """  # noqa: D301 - click reads the backspace
    from nasc.cli._comparison import report_reply
    from nasc.errors import RunError
    from nasc.records import collect_records

    found = collect_records(runs or (Path("runs/comparison"),))
    if not found.records:
        raise RunError(f"no finished trial: {'; '.join(found.problems)}", hint="make some: nasc compare --help")
    for problem in found.problems:
        click.echo(f"left out: {problem}", err=True)
    return report_reply(found)


def _run(config: "CompareConfig", address: str | None, retry_failed: bool, track: tuple[str, ...]) -> Reply:
    from nasc.comparison import compare
    from nasc.comparison.tracking import trackers

    total = sum(1 for _ in config.all_trials())
    ended = 0

    def announce(trial: "Trial", outcome: "Record | Failure") -> None:
        nonlocal ended
        ended += 1
        click.echo(f"[{ended} of at most {total}] {trial.name}: {_in_words(outcome)}", err=True)

    found = compare(
        config, address=address, retry_failed=retry_failed, announce=announce, callbacks=trackers(track, config.out)
    )
    return _reply(found)


def _reply(found: "Comparison") -> Reply:
    failed = [{"trial": f.trial, "kind": f.kind, "error": f.error} for f in found.failures]
    data = {"run": found.folder, "records": len(found.records), "failed": failed, "left": found.left}
    text = [f"{found.ledger}: {len(found.records)} finished trials"]
    text += [f"{f.trial}: {f.kind}: {f.error}" for f in found.failures]
    text.append(f"nasc compare report {found.folder}   or   nasc dashboard {found.folder}")
    return Reply(data, "\n".join(text), status=0 if found.records or not found.failures else 1)


def _forecast(config: "CompareConfig") -> Reply:
    from nasc.cli._grid import draw_grid
    from nasc.comparison import Ledger
    from nasc.comparison.forecast import forecast, wall_seconds

    forecasts = forecast(config, Ledger(config.out))
    wall_s = wall_seconds(config, forecasts, os.cpu_count() or 1)
    rows = [
        (
            f.group.model,
            f.group.device,
            f.group.method,
            f.group.target,
            str(f.trials),
            str(f.done),
            str(f.failed),
            format_seconds(f.trial_s),
            "finished trials" if f.known else "timed steps",
        )
        for f in forecasts
    ]
    heads = ("model", "device", "method", "target", "trials>", "done>", "failed>", "a trial>", "known from")
    left = sum(f.trials - f.done - f.failed for f in forecasts)
    title = f"{left} trials to run, about {format_seconds(wall_s)} in all"
    data = {
        "trials": sum(f.trials for f in forecasts),
        "left": left,
        "wall_s": wall_s,
        "groups": [
            {
                "model": f.group.model,
                "device": f.group.device,
                "method": f.group.method,
                "target": f.group.target,
                "trials": f.trials,
                "done": f.done,
                "failed": f.failed,
                "trial_s": f.trial_s,
            }
            for f in forecasts
        ],
    }
    return Reply(data, draw_grid(heads, rows, title=title))


def _in_words(outcome: "Record | Failure") -> str:
    measured = getattr(outcome, "measured_s", None)
    accuracy = getattr(outcome, "accuracy", None)
    if accuracy is None:
        return f"{outcome.kind}: {outcome.error}"  # type: ignore[union-attr]
    time = f", {format_seconds(measured)}" if measured is not None else ""
    return f"accuracy {format_percent(accuracy)}{time}"


def _nested(texts: tuple[str, ...], values: bool = False) -> dict[str, dict[str, Any]]:
    """``METHOD.NAME=VALUE`` by method and name; without a method it is for all."""
    from nasc.cli.compress import read_option

    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        head, _, tail = text.partition("=")
        method, dot, name = head.rpartition(".")
        key, value = read_option(f"{name}={tail}") if tail else read_option(text)
        found.setdefault(method if dot else "*", {})[key] = value if values else tail
    return found


def _seeds(text: str) -> range:
    low, dash, high = text.partition("-")
    return range(int(low), int(high if dash else low) + 1)
