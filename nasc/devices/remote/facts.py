"""What a machine says of itself: read there, never assumed. One shell command, and the parser of its answer."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

PROPERTIES = (
    "ro.product.model",
    "ro.product.device",
    "ro.soc.model",
    "ro.hardware",
    "ro.build.version.release",
    "ro.build.fingerprint",
    "ro.kernel.qemu",
    "ro.boot.qemu",
)

_CPU = "/sys/devices/system/cpu"
_QUESTIONS = "\n".join(
    [
        'echo "emulator=$NASC_EMULATOR"',
        'echo "machine=$(uname -m)"',
        *(f'echo "{name}=$(getprop {name} 2>/dev/null)"' for name in PROPERTIES),
        f'echo "online=$(cat {_CPU}/online 2>/dev/null)"',
        f"for cpu in {_CPU}/cpu[0-9]*; do "
        'echo "cpu=${cpu##*/cpu} $(cat $cpu/cpufreq/cpuinfo_max_freq 2>/dev/null || echo 0) '
        '$(cat $cpu/cache/index2/size 2>/dev/null || echo 0)"; done',
        "grep -E '^(processor|CPU part|model name)' /proc/cpuinfo 2>/dev/null | sed 's/^/cpuinfo=/'",
        "grep MemTotal /proc/meminfo 2>/dev/null | sed 's/^/memory=/'",
        'echo "load=$(cat /proc/loadavg 2>/dev/null)"',
    ]
)


def facts_command(folder: str) -> str:
    """A shell command that prints lines ``key=value``; what a machine does not have is empty.

    Args:
        folder: Where nasc's files go on it, for the shell to expand; the machine's own ``NASC_FOLDER`` wins.
    """
    return f'echo "folder=${{NASC_FOLDER:-{folder}}}"\n{_QUESTIONS}'


_PARTS: Mapping[int, str] = {
    0xD03: "Cortex-A53",
    0xD05: "Cortex-A55",
    0xD0A: "Cortex-A75",
    0xD0B: "Cortex-A76",
    0xD0D: "Cortex-A77",
    0xD41: "Cortex-A78",
    0xD44: "Cortex-X1",
    0xD46: "Cortex-A510",
    0xD47: "Cortex-A710",
    0xD48: "Cortex-X2",
    0xD4D: "Cortex-A715",
    0xD4E: "Cortex-X3",
    0xD80: "Cortex-A520",
    0xD81: "Cortex-A720",
    0xD82: "Cortex-X4",
}
"""Arm's part numbers (MIDR_EL1), as ``/proc/cpuinfo`` shows them."""


@dataclass(frozen=True)
class Core:
    """One core.

    Args:
        number: As the system counts.
        max_khz: Its highest clock, 0 where the machine does not say.
        kind: Its design, e.g. ``"Cortex-X1"``; empty where unknown.
        cache_bytes: Its level-2 cache, 0 where the machine does not say.
    """

    number: int
    max_khz: int
    kind: str = ""
    cache_bytes: int = 0


@dataclass(frozen=True)
class MachineFacts:
    """What a machine says of itself.

    Args:
        folder: nasc's folder on it.
        machine: Its architecture, as ``uname -m`` says.
        emulator: What starts programs there; empty on real hardware.
        properties: Android's properties; none on other systems.
        cores: Its cores that are on.
        memory_bytes: Its memory.
        load_1m: Its load over the last minute.
    """

    folder: str
    machine: str
    emulator: str
    properties: Mapping[str, str]
    cores: tuple[Core, ...]
    memory_bytes: int
    load_1m: float | None

    @property
    def codename(self) -> str:
        """What Android calls the device, e.g. ``"oriole"``."""
        return self.properties.get("ro.product.device", "")

    @property
    def title(self) -> str:
        """What people call it."""
        return self.properties.get("ro.product.model") or self.codename or self.kinds or self.machine

    @property
    def kinds(self) -> str:
        """Its cores by kind, e.g. ``"4x Cortex-A55, 2x Cortex-A76, 2x Cortex-X1"``; empty where unknown."""
        names = [core.kind for core in self.cores if core.kind]
        return ", ".join(f"{names.count(name)}x {name}" for name in dict.fromkeys(names))

    @property
    def emulated(self) -> bool:
        """It computes by emulation, so that its times mean nothing."""
        return bool(self.emulator) or "1" in (
            self.properties.get("ro.kernel.qemu"),
            self.properties.get("ro.boot.qemu"),
        )

    @property
    def architecture(self) -> str:
        """Of the programs that run there: an emulator is there for another than its machine's."""
        found = re.search(r"qemu-(aarch64|x86_64)", self.emulator)
        return found[1] if found else self.machine

    @property
    def slug(self) -> str:
        """Its hardware in letters fit for a file name."""
        name = self.properties.get("ro.soc.model") or self.properties.get("ro.hardware") or self.kinds or self.machine
        return slug_of(f"emulated {name}" if self.emulated else name)

    def fastest_cores(self, count: int) -> tuple[int, ...]:
        """The numbers of the ``count`` fastest cores by their highest clock; none where that cannot be told.

        Among equals the last are taken: the system puts its interrupts on the first.
        """
        alike = len({core.kind for core in self.cores}) == 1
        known = [core for core in self.cores if core.max_khz > 0 or alike]
        ordered = sorted(known, key=lambda core: (core.max_khz, core.number), reverse=True)
        return tuple(sorted(core.number for core in ordered[:count])) if len(ordered) >= count else ()

    def cache_bytes(self, cores: tuple[int, ...]) -> int:
        """The largest level-2 cache of some cores; 1 MiB where it does not say."""
        sizes = [core.cache_bytes for core in self.cores if core.number in cores]
        return max(sizes, default=0) or 2**20


def parse_facts(text: str) -> MachineFacts:
    """Read what :func:`facts_command` printed; lines that are not understood are passed over."""
    pairs = [line.split("=", 1) for line in text.splitlines() if "=" in line]
    values = {key: value.strip() for key, value in pairs}
    kinds = _core_kinds([value for key, value in pairs if key == "cpuinfo"])
    listed = [_read_core(value, kinds) for key, value in pairs if key == "cpu"]
    online = parse_online(values.get("online", ""))
    memory = re.search(r"(\d+) kB", values.get("memory", ""))
    load = re.match(r"[\d.]+", values.get("load", ""))
    return MachineFacts(
        folder=values.get("folder", ""),
        machine=values.get("machine", ""),
        emulator=values.get("emulator", ""),
        properties={name: values[name] for name in PROPERTIES if values.get(name)},
        cores=tuple(sorted((core for core in listed if not online or core.number in online), key=lambda c: c.number)),
        memory_bytes=1024 * int(memory[1]) if memory else 0,
        load_1m=float(load[0]) if load else None,
    )


def slug_of(name: str) -> str:
    """A name in letters fit for a file name.

    >>> slug_of("emulated GS101")
    'emulated-gs101'
    """
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "unknown"


def parse_online(text: str) -> set[int]:
    """Read a list of cores.

    >>> sorted(parse_online("0-3,6"))
    [0, 1, 2, 3, 6]
    """
    ends = [part.split("-") for part in text.split(",") if re.fullmatch(r"\d+(-\d+)?", part)]
    return {number for part in ends for number in range(int(part[0]), int(part[-1]) + 1)}


def _read_core(text: str, kinds: Mapping[int, str]) -> Core:
    number, clock, cache = [*text.split(), "0", "0"][:3]
    digits = re.match(r"\d+", cache)
    size = int(digits[0]) if digits else 0
    factor = {"K": 1024, "M": 1024**2}.get(cache[-1:], 1)
    return Core(int(number), int(clock) if clock.isdigit() else 0, kinds.get(int(number), ""), size * factor)


def _core_kinds(lines: list[str]) -> dict[int, str]:
    """Kind by core, from the lines of ``/proc/cpuinfo``."""
    kinds: dict[int, str] = {}
    number = -1
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "processor" and value.strip().isdigit():
            number = int(value)
        elif key.strip() == "CPU part":
            kinds[number] = _PARTS.get(int(value, 16), f"part {value.strip()}")
        elif key.strip() == "model name":
            kinds.setdefault(number, value.strip())
    return kinds
