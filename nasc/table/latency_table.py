"""Latency tables: the time of any kernel shape a device was profiled for."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import inf
from typing import TYPE_CHECKING, Union

from nasc.devices import Origin
from nasc.errors import OutsideTable
from nasc.kernels import KINDS, KernelShape, Signature
from nasc.table.provenance import RESIDENT, Provenance, cold_share
from nasc.table.rows import Row
from nasc.table.steps import Steps
from nasc.table.surface import Form, Surface, build_surface

if TYPE_CHECKING:
    from torch import Tensor

Size = Union[int, float, "Tensor"]


@dataclass(frozen=True)
class LatencyTable:
    """Time of kernels on one device, by kind and sizes.

    Args:
        rows: The measured rows by shape.
        provenance: Where they come from.
        form: ``"staircase"`` (what the device does) or ``"bilinear"`` (the paper's interpolation).
        cold_share: Where between the rows' warm (0) and cold (1) times its answers lie, see :meth:`for_weights`.
    """

    rows: Mapping[KernelShape, Row]
    provenance: Provenance
    form: Form = "staircase"
    cold_share: float = 0.0
    _by_signature: dict[Signature, list[Row]] = field(init=False, repr=False, compare=False, default_factory=dict)
    _shares: dict[float, "LatencyTable"] = field(init=False, repr=False, compare=False, default_factory=dict)
    _surfaces: dict[Signature, Surface] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        for shape, row in self.rows.items():
            self._by_signature.setdefault(shape.signature, []).append(row)

    @classmethod
    def from_rows(cls, rows: Iterable[Row], provenance: Provenance, form: Form = "staircase") -> "LatencyTable":
        """A table of these rows."""
        return cls({row.shape: row for row in rows}, provenance, form)

    @property
    def origin(self) -> Origin:
        """Where its times come from: ``"measured"``, ``"simulated"`` or ``"emulated"``."""
        return self.provenance.environment.origin

    @property
    def device(self) -> str:
        """Name of the device."""
        return self.provenance.environment.device

    @property
    def floor_s(self) -> float:
        """Time of an empty call in seconds: a whole model costs this once, beside its kernels."""
        return self.provenance.floor_s

    @property
    def anchor_s(self) -> float:
        """Time of the anchor in seconds, for :func:`nasc.measurement.measure_anchored` on the table's own scale."""
        return self.provenance.anchor_s

    @property
    def signatures(self) -> tuple[Signature, ...]:
        """Every signature that has rows."""
        return tuple(self._by_signature)

    def seconds(self, signature: Signature, sizes: Mapping[str, Size]) -> Union[float, "Tensor"]:
        """The time of one kernel.

        For tensor sizes the value is that of the staircase, equal to the float's at every whole size, and the gradient is
        the secant slope across the step (straight-through): a step has no slope inside, but a width that shrinks will
        get off it.

        Args:
            signature: Kind and attributes.
            sizes: Number or 0-d tensor by size name of the kind; zero costs nothing.

        Returns:
            Seconds: a float for numbers, a 0-d tensor if any size is one.

        Raises:
            OutsideTable: The signature or a size was never measured.
        """
        if signature.kind == "free":
            return 0.0
        names = KINDS[signature.kind].sizes
        if all(isinstance(sizes[name], int | float) for name in names):
            point = [float(sizes[name]) for name in names]
            return self._measured(signature, point).seconds(point)
        point = [float(_number(sizes[name])) for name in names]
        surface = self._measured(signature, point)
        result: float | Tensor = surface.seconds(point)
        for name, slope in zip(names, surface.slopes(point), strict=True):
            size = sizes[name]
            if not isinstance(size, int | float):
                result = result + slope * (size - size.detach())
        return result

    def for_weights(self, weight_bytes: float) -> "LatencyTable":
        """The table as a whole model with that many bytes of weights sees it.

        A kernel alone is timed with its weights in the cache. Inside a model larger than the cache they come from farther
        away every time, and every kernel takes longer than alone: a fifth longer for a MobileNet of 10 MB on a core with
        2 MB. Rows keep both times; how much of the difference a model pays was measured on whole models.
        """
        if weight_bytes <= self.resident_bytes:
            return self
        return self.at_share(round(cold_share(self.provenance.residency, self.resident_bytes, weight_bytes), 2))

    @property
    def resident_bytes(self) -> float:
        """Up to so many bytes of weights stay in the inner cache from run to run; infinite where its size is unknown."""
        cache = self.provenance.environment.facts.get("inner_cache_bytes")
        return RESIDENT * cache if isinstance(cache, int) else inf

    def at_share(self, share: float) -> "LatencyTable":
        """The table between its rows' warm (0) and cold (1) times."""
        if share == self.cold_share:
            return self
        if share not in self._shares:
            self._shares[share] = replace(self, cold_share=share)
        return self._shares[share]

    def slope(self, signature: Signature, sizes: Mapping[str, float]) -> dict[str, float]:
        """Seconds per entry of each size, as the gradient of :meth:`seconds` has them, in plain floats.

        Raises:
            OutsideTable: The signature or a size was never measured.
        """
        if signature.kind == "free":
            return {}
        names = KINDS[signature.kind].sizes
        point = [float(sizes[name]) for name in names]
        return dict(zip(names, self._measured(signature, point).slopes(point), strict=True))

    def covers(self, signature: Signature, sizes: Mapping[str, Size]) -> bool:
        """Whether :meth:`seconds` has an answer."""
        if signature.kind == "free":
            return True
        surface = self._surface(signature)
        point = [float(_number(sizes[name])) for name in KINDS[signature.kind].sizes]
        return surface is not None and surface.outside(point) is None

    def steps(self, signature: Signature, size: str) -> int:
        """Entries per step of a size: widths between two multiples of it cost as much as the upper one, or nearly."""
        return self.step_profile(signature, size).period

    def step_profile(self, signature: Signature, size: str) -> Steps:
        """The staircase along one size of a signature."""
        return self.provenance.step(signature, size)

    def _surface(self, signature: Signature) -> Surface | None:
        if signature not in self._surfaces and signature in self._by_signature:
            steps = self.provenance.steps_of(signature)
            self._surfaces[signature] = build_surface(
                signature, self._by_signature[signature], steps, self.form, self.cold_share
            )
        return self._surfaces.get(signature)

    def _measured(self, signature: Signature, point: list[float]) -> Surface:
        surface = self._surface(signature)
        if surface is None:
            raise OutsideTable(f"the table of {self._conditions()} has no row for {signature}", self._how_to_extend())
        outside = surface.outside(point)
        if outside is not None:
            name, size, low, high = outside
            raise OutsideTable(
                f"{name} = {size:g} of {signature} is outside the table of {self._conditions()} ({low} to {high})",
                self._how_to_extend(),
            )
        return surface

    def _conditions(self) -> str:
        environment = self.provenance.environment
        return f"{environment.device} ({environment.runtime}, {environment.dtype}, threads {environment.threads})"

    def _how_to_extend(self) -> str:
        return f"measure it: nasc profile --device {self.device} --model MODEL"


def _number(size: Size) -> float:
    return float(size) if isinstance(size, int | float) else float(size.detach())
