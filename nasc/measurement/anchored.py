"""Whole models against a fixed reference model that runs beside them.

The same model differs by up to 27 % from process to process (memory placement, clock, neighbours). A reference that runs
interleaved in the same process, A B A B ... A, moves with it; the ratio is what is compared between sessions and days.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from nasc.artifact import Artifact
from nasc.devices import Device, Session, Visit
from nasc.exporters.litert.emitters import emit
from nasc.exporters.litert.flatbuffer import ModelBuilder
from nasc.exporters.litert.probes import random_instruction
from nasc.kernels import KernelShape, signature
from nasc.measurement.clock import Measurement
from nasc.measurement.environment import Environment, find_warnings, record_environment
from nasc.measurement.statistics import median_interval, paired_ratios

SESSIONS = 5
_BLOCKS = 4
_BLOCK_RUNS = 10
_GROUP = 8  # models that share a process; more would keep too much memory loaded at once


def anchor_kernels() -> tuple[KernelShape, ...]:
    """The reference model, version 1: a fixed stack of the kernels that small CNNs are made of. Never edit; add a version."""

    def window(size: int, kernel: int) -> dict[str, int]:
        sides = ("top", "bottom", "left", "right")
        pads = {f"pad_{side}": kernel // 2 for side in sides}
        return {"height": size, "width": size, "kernel_h": kernel, "kernel_w": kernel, "stride_h": 1, "stride_w": 1, **pads}

    dilation = {"dilation_h": 1, "dilation_w": 1}
    return (
        signature("conv", **window(28, 3), **dilation).at(c_in=16, c_out=32),
        signature("conv", **window(28, 1), **dilation).at(c_in=32, c_out=96),
        signature("unary", op="hard_swish", positions=28 * 28).at(channels=96),
        signature("depthwise", **window(28, 3), **dilation, multiplier=1).at(channels=96),
        signature("conv", **window(28, 1), **dilation).at(c_in=96, c_out=32),
        signature("conv", **window(28, 3), **dilation).at(c_in=32, c_out=32),
    )


def write_anchor(folder: Path) -> Artifact:
    """The reference model as a file, the same bytes everywhere."""
    builder = ModelBuilder()
    first = builder.activation((1, 28, 28, 16), "x")
    tensor = first
    for shape in anchor_kernels():
        tensor = emit(builder, random_instruction(shape), [tensor])
    path = folder / "anchor-1.tflite"
    path.write_bytes(builder.finish([first], [tensor], description="nasc anchor 1"))
    return Artifact(path, "litert", (), ())


def measure_anchored(
    artifacts: Sequence[Artifact],
    device: Device,
    sessions: int = SESSIONS,
    *,
    blocks: int = _BLOCKS,
    runs: int = _BLOCK_RUNS,
    anchor_reference_s: float | None = None,
    limit_s: float = 2.0,
    on_session: Callable[[], None] | None = None,
) -> list[Measurement]:
    """Time whole models relative to the reference model, interleaved in the same processes.

    Args:
        artifacts: The model files; all of them see the same anchors, so ratios between them are paired as well.
        device: Where to run them.
        sessions: Fresh processes; the interval is taken over them.
        blocks: Blocks of runs per model and process.
        runs: Runs per block.
        anchor_reference_s: The reference model's time on the scale to report on, e.g. a table's; by default its own
            minimum in these sessions.
        limit_s: A block of a slow model ends after this long, with five runs at least.
        on_session: Called after every process, for progress.

    Returns:
        One measurement per artifact: anchor reference x median ratio, with its bootstrap interval over the processes.

    Raises:
        RunnerError: A model could not be run.
    """
    environment = record_environment(device)
    measurements: list[Measurement] = []
    for start in range(0, len(artifacts), _GROUP):
        group = artifacts[start : start + _GROUP]
        with TemporaryDirectory(prefix="nasc-anchor-") as folder:
            everything = [write_anchor(Path(folder)), *group]
            visits = interleaved(len(group), blocks, runs, limit_s)
            made = []
            for _ in range(sessions):
                made.append(device.run_session(everything, visits))
                if on_session is not None:
                    on_session()
        measurements += _compare(group, made, environment, anchor_reference_s)
    return measurements


def interleaved(models: int, blocks: int, runs: int, limit_s: float) -> list[Visit]:
    """The plan anchor, 1, anchor, 2, ... anchor, 1, ... anchor: an anchor on both sides of every block."""
    visits = [Visit(0, runs=runs, limit_s=limit_s)]
    for _ in range(blocks):
        for model in range(1, models + 1):
            visits += [Visit(model, runs=runs, warmup=2, limit_s=limit_s), Visit(0, runs=runs, warmup=2, limit_s=limit_s)]
    return visits


def _compare(
    artifacts: Sequence[Artifact], sessions: Sequence[Session], environment: Environment, reference_s: float | None
) -> list[Measurement]:
    anchor_minimum = min(min(visit.samples_s) for session in sessions for visit in session.visits if visit.model == 0)
    reference = reference_s if reference_s is not None else anchor_minimum
    warnings = find_warnings(environment, sessions)
    measurements = []
    for model, artifact in enumerate(artifacts, start=1):
        per_session = [_session_ratio(session, model) for session in sessions]
        ratio, low, high = median_interval(per_session)
        samples = tuple(_samples(session, model) for session in sessions)
        measurements.append(
            Measurement(
                artifact=artifact,
                seconds=reference * ratio,
                spread_s=reference * (high - low) / 2,
                session_minima=tuple(min(taken) for taken in samples),
                samples=samples,
                environment=environment,
                warnings=warnings,
                interval=(reference * low, reference * high),
                ratio=ratio,
            )
        )
    return measurements


def _session_ratio(session: Session, model: int) -> float:
    """The median over the blocks of one process of the ratio to the anchors around each block."""
    visits = session.visits
    around = [
        (visit.samples_s, visits[position - 1].samples_s, visits[position + 1].samples_s)
        for position, visit in enumerate(visits)
        if visit.model == model
    ]
    return median(paired_ratios([block], [before, after])[0] for block, before, after in around)


def _samples(session: Session, model: int) -> tuple[float, ...]:
    return tuple(sample for visit in session.visits if visit.model == model for sample in visit.samples_s)
