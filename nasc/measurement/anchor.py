"""The anchor: a fixed small model that runs between the blocks of every measurement."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

from nasc.artifact import Artifact
from nasc.devices import Device, Session, Visit
from nasc.exporters.litert.emitters import emit
from nasc.exporters.litert.flatbuffer import ModelBuilder
from nasc.exporters.litert.probes import random_instruction
from nasc.kernels import KernelShape, Signature, signature
from nasc.measurement.statistics import Block
from nasc.quiet import alone

ANCHOR_VERSION = 1
_ANCHOR_RUNS = 5
_SIDE = 28


def anchor_kernels() -> tuple[KernelShape, ...]:
    """The anchor, version 1: a stack of the kernels small CNNs are made of, 8 million multiply-adds.

    Numbers of two versions cannot be compared, so an edit here is a new :data:`ANCHOR_VERSION`.
    """
    return (
        _window("conv", 3).at(c_in=16, c_out=32),
        _window("conv", 1).at(c_in=32, c_out=96),
        signature("unary", op="hard_swish", positions=_SIDE**2).at(channels=96),
        _window("depthwise", 3, multiplier=1).at(channels=96),
        _window("conv", 1).at(c_in=96, c_out=32),
        _window("conv", 3).at(c_in=32, c_out=32),
    )


def _window(kind: str, kernel: int, **attributes: int) -> Signature:
    pads = {f"pad_{side}": kernel // 2 for side in ("top", "bottom", "left", "right")}
    steps = {"stride_h": 1, "stride_w": 1, "dilation_h": 1, "dilation_w": 1}
    return signature(kind, height=_SIDE, width=_SIDE, kernel_h=kernel, kernel_w=kernel, **pads, **steps, **attributes)


def write_anchor(folder: Path) -> Artifact:
    """The anchor as a file in ``folder``, the same bytes everywhere."""
    builder = ModelBuilder()
    source = tensor = builder.activation((1, _SIDE, _SIDE, 16), "x")
    for shape in anchor_kernels():
        tensor = emit(builder, random_instruction(shape), [tensor])
    path = folder / f"anchor-{ANCHOR_VERSION}.tflite"
    path.write_bytes(builder.finish([source], [tensor], description=f"nasc anchor {ANCHOR_VERSION}"))
    return Artifact(path, "litert", (), ())


def run_beside_anchor(
    artifacts: Sequence[Artifact],
    order: Sequence[int],
    device: Device,
    *,
    runs: int,
    limit_s: float,
    cold: bool = False,
) -> tuple[Session, list[list[Block]]]:
    """Time models in one fresh process, the anchor before and after every block.

    Args:
        artifacts: The model files.
        order: Which of them runs in each block, e.g. ``[0, 0, 0, 1, 1, 1]`` or interleaved ``[0, 1, 0, 1, 0, 1]``.
        device: Where to run them.
        runs: Runs per block.
        limit_s: A block ends after this long, with five runs at least.
        cold: Weights leave the inner caches between runs.

    Returns:
        The session, and the blocks of every artifact.
    """
    anchor_visit = Visit(0, runs=_ANCHOR_RUNS, warmup=1, limit_s=limit_s)
    visits = [anchor_visit]
    for model in order:
        visits += [Visit(model + 1, runs=runs, warmup=2, limit_s=limit_s, cold=cold), anchor_visit]
    with TemporaryDirectory(prefix="nasc-") as folder, _quiet(device):
        session = device.run_session([write_anchor(Path(folder)), *artifacts], visits)
    minima = [min(visit.samples_s) for visit in session.visits]
    blocks: list[list[Block]] = [[] for _ in artifacts]
    for position, visit in enumerate(session.visits):
        if visit.model > 0:
            blocks[visit.model - 1].append(Block(visit.samples_s, minima[position - 1], minima[position + 1]))
    return session, blocks


def _quiet(device: Device) -> AbstractContextManager[None]:
    """Where a real clock runs, the other trials of this machine hold still."""
    return alone() if device.origin == "measured" else nullcontext()


def fastest_anchor(blocks: Sequence[Block]) -> float:
    """The smallest anchor time around any of the blocks, in seconds."""
    return min(min(block.anchor_before_s, block.anchor_after_s) for block in blocks)
