"""What is kept of a trained family beside its weights: enough to price and choose any member without tracing or torch.

Kernels are those of the traced network, their sizes as expressions over dims: an axis is a list of terms, a term is the name
of a dim, a number, or a list of axes laid end to end.
"""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from nasc.errors import RunError
from nasc.kernels import Attribute
from nasc.records import write_atomic

SCHEMA = 1
FAMILY_FILE = "family.json"
"""Name of the family's record inside a run folder."""

WEIGHTS_FILE = "family.safetensors"
"""Name of its weights."""


class KernelLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One kernel of a way through the network.

    Args:
        name: Its name.
        kind: Kind of kernel.
        attributes: What sizes do not change.
        sizes: Axis expression by size name.
        macs_per: Multiply-adds per product of its sizes.
    """

    name: str
    kind: str
    attributes: dict[str, Attribute]
    sizes: dict[str, list[object]]
    macs_per: int = 0


class Way(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The kernels that run at one depth, and the axes of the parameters that are read there.

    Args:
        blocks: Blocks that are run; 0 stands for a family without depths.
        kernels: In execution order.
        parameters: Axis expressions of every learned parameter.
    """

    blocks: int
    kernels: tuple[KernelLine, ...]
    parameters: tuple[list[list[object]], ...] = ()


class MemberLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One member.

    Args:
        label: Readable name.
        values: The cut of each knob by name.
        sizes: Size by name of the dims that are cut.
        blocks: The way it takes.
        updates: Steps it was trained in.
        accuracy: On validation data; None where it was not evaluated.
    """

    label: str
    values: dict[str, float]
    sizes: dict[str, int]
    blocks: int
    updates: int = 0
    accuracy: float | None = None


class Family(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A trained family.

    Args:
        run: Name of the run.
        model: The model's specification; likewise ``data``.
        num_classes: Classes of the data set.
        input_shape: Shape of one input.
        dims: Dense size of every dim.
        weight_bytes: Of the whole network.
        ways: Kernels by depth.
        members: All members of the pool.
        validation: Inputs that accuracies were counted on.
        recalibrates: Whether members get batch-norm statistics of their own.
        seed: Of the run.
        commit: Of nasc.
        date: When it was made, ISO 8601 in UTC.
        versions: Version by package name.
        schema: Always :data:`SCHEMA`.
    """

    run: str
    model: str
    data: str
    num_classes: int
    input_shape: tuple[int, ...]
    dims: dict[str, int]
    weight_bytes: int
    ways: tuple[Way, ...]
    members: tuple[MemberLine, ...]
    validation: int
    recalibrates: bool = False
    seed: int = 0
    train_size: int | None = None
    commit: str = ""
    date: str = ""
    versions: Mapping[str, str] = {}
    schema: int = SCHEMA


def save_family(family: Family, folder: Path) -> Path:
    """Write ``family.json`` into a run folder, whole or not at all.

    Raises:
        RunError: The folder cannot be written.
    """
    path = folder / FAMILY_FILE
    write_atomic(path, msgspec.json.encode(family) + b"\n")
    return path


def load_family(folder: Path) -> Family:
    """Read a run's family.

    Raises:
        RunError: The run has none, or it is of another schema.
    """
    file = folder / FAMILY_FILE
    try:
        content = file.read_bytes()
    except OSError:
        raise RunError(
            f"expected the run of a family with {FAMILY_FILE} at {folder}, got none",
            "train one: nasc compress --method sorted ...",
        ) from None
    try:
        family = msgspec.json.decode(content, type=Family)
    except msgspec.MsgspecError as error:
        raise RunError(f"{file} is not a family of schema {SCHEMA}: {error}", "train it again") from error
    if family.schema != SCHEMA:
        raise RunError(f"{file} has schema {family.schema}, expected {SCHEMA}", "train it again")
    return family
