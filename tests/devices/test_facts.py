import subprocess

import pytest

from nasc.devices.remote.facts import Core, facts_command, parse_facts, slug_of

PIXEL_6 = "\n".join(
    [
        "folder=/data/local/tmp/nasc",
        "emulator=",
        "machine=aarch64",
        "ro.product.model=Pixel 6",
        "ro.product.device=oriole",
        "ro.soc.model=",
        "ro.hardware=oriole",
        "ro.build.version.release=14",
        "ro.kernel.qemu=",
        "online=0-7",
        *(f"cpu={number} 1803000 0" for number in range(4)),
        *(f"cpu={number} 2253000 256K" for number in (4, 5)),
        *(f"cpu={number} 2802000 1024K" for number in (6, 7)),
        *(
            line
            for number, part in enumerate(["0xd05"] * 4 + ["0xd0b"] * 2 + ["0xd44"] * 2)
            for line in (f"cpuinfo=processor\t: {number}", f"cpuinfo=CPU part\t: {part}")
        ),
        "memory=MemTotal:        7843200 kB",
        "load=3.25 3.00 2.80 2/3500 12345",
    ]
)
"""In the form of a Pixel 6: four small, two middle, two big cores."""


def test_the_big_cores_are_the_ones_with_the_highest_clock() -> None:
    facts = parse_facts(PIXEL_6)
    assert facts.fastest_cores(1) == (7,)
    assert facts.fastest_cores(2) == (6, 7)
    assert facts.fastest_cores(4) == (4, 5, 6, 7)
    assert facts.fastest_cores(9) == ()  # more threads than cores: none is better than a wrong mask


def test_cores_that_are_off_are_not_used() -> None:
    assert parse_facts(PIXEL_6.replace("online=0-7", "online=0-5")).fastest_cores(2) == (4, 5)


def test_the_order_of_clocks_decides_not_the_order_of_numbers() -> None:
    swapped = PIXEL_6.replace("cpu=0 1803000 0", "cpu=0 3000000 512K")
    assert parse_facts(swapped).fastest_cores(1) == (0,)


def test_what_a_phone_says_is_read() -> None:
    facts = parse_facts(PIXEL_6)
    assert (facts.codename, facts.title, facts.architecture) == ("oriole", "Pixel 6", "aarch64")
    assert facts.kinds == "4x Cortex-A55, 2x Cortex-A76, 2x Cortex-X1"
    assert facts.cores[6] == Core(6, 2802000, "Cortex-X1", 1024 * 1024)
    assert facts.cache_bytes((6, 7)) == 1024 * 1024
    assert facts.memory_bytes == 7843200 * 1024
    assert facts.load_1m == pytest.approx(3.25)
    assert not facts.emulated
    assert facts.slug == "oriole"


@pytest.mark.parametrize("sign", ["ro.kernel.qemu=1", "ro.boot.qemu=1", "emulator=/usr/bin/qemu-aarch64 -cpu max"])
def test_every_sign_of_emulation_is_believed(sign: str) -> None:
    facts = parse_facts("\n".join([PIXEL_6.replace("emulator=\n", "").replace("ro.kernel.qemu=\n", ""), sign]))
    assert facts.emulated
    assert facts.slug == "emulated-oriole"


def test_an_emulators_architecture_is_what_it_emulates() -> None:
    facts = parse_facts("machine=x86_64\nemulator=/opt/qemu-aarch64 -cpu cortex-a76")
    assert facts.architecture == "aarch64"


def test_a_machine_that_says_nothing_is_read_as_nothing_known() -> None:
    facts = parse_facts("")
    assert (facts.codename, facts.cores, facts.memory_bytes, facts.load_1m) == ("", (), 0, None)
    assert facts.fastest_cores(1) == ()
    assert facts.cache_bytes(()) == 2**20
    assert slug_of("") == "unknown"


def test_cores_that_do_not_tell_their_clocks_count_as_equal_only_if_they_are_alike() -> None:
    cores = [f"cpu={number} 0 0\ncpuinfo=processor : {number}\ncpuinfo=model name : X" for number in range(2)]
    alike = "\n".join(cores)
    assert parse_facts(alike).fastest_cores(1) == (1,)
    assert parse_facts(alike.replace("model name : X", "CPU part : 0xd05", 1)).fastest_cores(1) == ()


def test_the_question_is_answered_by_a_real_shell() -> None:
    answer = subprocess.run(
        ["sh", "-c", facts_command("/some/where")], capture_output=True, text=True, check=True
    ).stdout
    facts = parse_facts(answer)
    assert facts.machine
    assert facts.cores
    assert facts.memory_bytes > 0
    assert facts.folder.endswith("/some/where")
