"""Sorted families for the dashboard: every member with its price and its accuracy, from records and tables alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nasc.devices import get_device
from nasc.errors import NascError, RunError
from nasc.family import FAMILY_FILE, Family, load_family, price_members
from nasc.frontier.members import candidates
from nasc.records import Record
from nasc.table.store import load_table


@dataclass(frozen=True)
class MemberInfo:
    """One member of a family.

    Args:
        label: Its name.
        price: Seconds by the table of the run's device, or multiply-adds where there is no such table.
        unit: Which of the two.
        accuracy: On validation data, or predicted from members that were evaluated.
        predicted: The latter.
        shares: Share of every dim that it keeps.
    """

    label: str
    price: float
    unit: Literal["seconds", "macs"]
    accuracy: float
    predicted: bool
    shares: Mapping[str, float]


def read_members(folder: Path, record: Record, problems: list[str]) -> tuple[MemberInfo, ...]:
    """The members of the family in a run's folder, from fast to slow; none where it is no family.

    Args:
        folder: The run's.
        record: Says which device's table to ask.
        problems: Receives a sentence if the family cannot be read.
    """
    if not (folder / FAMILY_FILE).is_file():
        return ()
    try:
        family = load_family(folder)
        unit, prices = _prices(family, record)
        found = candidates(family, prices)
    except (NascError, ValueError) as error:
        problems.append(error.message if isinstance(error, RunError) else f"{folder / FAMILY_FILE}: {error}")
        return ()
    members = [
        MemberInfo(c.member.label, c.price, unit, c.accuracy, c.predicted, _shares(family, c.member.sizes))
        for c in found
    ]
    return tuple(sorted(members, key=lambda member: member.price))


def _prices(family: Family, record: Record) -> tuple[Literal["seconds", "macs"], list[float]]:
    try:
        table = load_table(get_device(record.device, runtime=record.runtime, threads=record.threads))
        return "seconds", price_members(family, "seconds", table)
    except NascError:  # another machine's device, or a table that lacks a kernel
        return "macs", price_members(family, "macs")


def _shares(family: Family, sizes: Mapping[str, int]) -> dict[str, float]:
    return {name: size / max(1, family.dims[name]) for name, size in sizes.items() if name in family.dims}
