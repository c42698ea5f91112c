"""``nasc extract``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nasc.cli._options import device_options, out_option, target_option
from nasc.cli._output import Reply, Verb
from nasc.units import Target, format_count, format_percent, format_seconds

if TYPE_CHECKING:
    from nasc.family import Family
    from nasc.frontier.members import Candidate
    from nasc.table import LatencyTable


@click.command("extract", cls=Verb)
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@device_options
@target_option
@click.option(
    "--export/--no-export", "build", default=True, show_default=True, help="Build, export and measure the member."
)
@out_option("The member's folder; by default one under RUN/members/.")
def command(run: Path, device: str, runtime: str, threads: int, target: Target, build: bool, out: Path | None) -> Reply:
    """Another member of a trained family: no search, no training.

    Members are priced on the device's table and the most accurate one within the target is taken; with --no-export that
    is all, from records alone. Otherwise it is built, checked against the family, exported and measured.

    \b
    Example:
      nasc compress -m digits-cnn -d digits --target-latency -40% --method sorted --out runs/family
      nasc extract runs/family --device cpu --target-latency -60%
    """  # noqa: D301 - click reads the backspace
    from nasc.devices import get_device
    from nasc.family import load_family, price_members
    from nasc.frontier.members import best_members, candidates, choose
    from nasc.table import load_table

    family = load_family(run)
    where = get_device(device, runtime=runtime, threads=threads)
    table = load_table(where)
    unit = "seconds" if target.kind == "relative" else target.unit
    correction = _correction(run, device, runtime, threads) if unit == "seconds" else 1.0
    found = candidates(family, [correction * price for price in price_members(family, unit, table)])
    limit = target.limit(max(candidate.price for candidate in found))
    chosen = choose(found, limit, str(target))
    data = _data(run, family, table, chosen, limit if unit == "seconds" else None) | {"correction": correction}
    data["front"] = [
        {"label": c.member.label, "price": c.price, "accuracy": c.accuracy, "predicted": c.predicted}
        for c in best_members(found)
    ]
    if not build:
        return Reply(data, "\n".join(_describe(data, family)))
    from nasc.cli.compress import reply
    from nasc.stages.extraction import extract

    done = extract(run, family, chosen.member, target, where, table, out)
    finished = reply(done.record, done.folder)
    return Reply(data | dict(finished.data), f"{_describe(data, family)[0]}\n{finished.text}")


def _correction(run: Path, device: str, runtime: str, threads: int) -> float:
    """What the dense model took on the device over what the table says, where the family's own run measured it there."""
    from nasc.errors import RunError
    from nasc.records import load_record

    try:
        record = load_record(run)
    except RunError:
        return 1.0
    there = (record.device, record.runtime, record.threads) == (device, runtime, threads)
    if not there or not record.dense_measured_s or not record.dense_predicted_s:
        return 1.0
    return record.dense_measured_s / record.dense_predicted_s


def _data(
    run: Path, family: "Family", table: "LatencyTable", chosen: "Candidate", limit_s: float | None
) -> dict[str, Any]:
    from nasc.family import price_members

    member = chosen.member
    return {
        "run": run,
        "member": member.label,
        "members": len(family.members),
        "target_s": limit_s,
        "predicted_s": price_members(family, "seconds", table, [member])[0],
        "measured_s": None,
        "spread_s": None,
        "dense_measured_s": None,
        "accuracy": chosen.accuracy,
        "accuracy_error": chosen.accuracy_error,
        "dense_accuracy": None,
        "macs": int(price_members(family, "macs", members=[member])[0]),
        "dense_macs": int(max(price_members(family, "macs"))),
        "params": int(price_members(family, "params", members=[member])[0]),
        "artifact": None,
        "max_abs_difference": None,
    }


def _describe(data: dict[str, Any], family: "Family") -> list[str]:
    count = format_count(data["macs"], "MAC")
    known = "predicted" if data["accuracy_error"] else "on validation data"
    return [
        f"member      {data['member']} of {data['members']} ({len(data['front'])} on the front)",
        f"latency     {format_seconds(data['predicted_s'])} by the table",
        f"accuracy    {format_percent(data['accuracy'])} {known}, {count}",
    ]
