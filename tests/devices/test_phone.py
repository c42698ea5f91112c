"""A phone as a device: a real adbd on loopback, and on it the bundle, natively or the arm64 one under qemu."""

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nasc.artifact import Artifact
from nasc.cli import run
from nasc.devices import AndroidPhone, Visit, get_device, load_descriptors
from nasc.devices.android.phone import Cooling
from nasc.devices.bundle import Bundle
from nasc.devices.remote import AdbProgram, Link, Reply
from nasc.devices.remote.adb_program import Listed, list_phones
from nasc.devices.status import list_devices
from nasc.errors import DeviceError, TableError, UsageError
from nasc.graph import trace
from nasc.measurement import measure_anchored
from nasc.models import example_input, load_model
from nasc.table import profile

VISITS = (Visit(0, runs=6, warmup=1), Visit(0, runs=5, warmup=1, cold=True))


def device_at(phone: Any, name: str = "pixel6", **settings: Any) -> AndroidPhone:
    return AndroidPhone(load_descriptors()[name], phone.address, patience_s=30, **settings)


def test_a_session_on_a_phone_is_emulated_and_says_what_ran_it(
    arm_phone: Any, arm_bundle: Bundle, check_model: Artifact
) -> None:
    device = device_at(arm_phone)
    session = device.run_session([check_model], VISITS)
    assert [len(visit.samples_s) for visit in session.visits] == [6, 5]
    assert session.facts["runner"] == f"bundle {arm_bundle.identity}"
    assert session.facts["battery_percent"] == 87
    assert (device.origin, device.hardware) == ("emulated", "emulated-gs101")
    assert list((arm_phone.folder / "jobs").glob("*")) == []


def test_the_steady_clock_is_asked_for_around_every_session(
    phone: Any, native_bundle: Bundle, check_model: Artifact
) -> None:
    device_at(phone).run_session([check_model], VISITS)
    asked = [line for line in phone.heard("commands").splitlines() if "fixed-performance" in line]
    assert asked[-2:] == [
        "power set-fixed-performance-mode-enabled true",
        "power set-fixed-performance-mode-enabled false",
    ]
    assert phone.heard("fixed_performance") == "false\n"


def test_the_clock_is_free_again_after_a_session_that_failed(phone: Any, native_bundle: Bundle, tmp_path: Path) -> None:
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"no model")
    with pytest.raises(DeviceError, match=r"broken\.tflite"):
        device_at(phone).run_session([Artifact(broken, "litert", (), ())], VISITS)
    assert phone.heard("fixed_performance") == "false\n"


def test_a_session_in_which_the_phone_heated_up_is_repeated(
    phone: Any, native_bundle: Bundle, check_model: Artifact
) -> None:
    phone.say("heats", "0\n0\n2\n3\n0")  # cool when asked and before; hot after; hot, then cool when asked again
    session = device_at(phone, cooling=Cooling(0.05, 20)).run_session([check_model], VISITS[:1])
    assert session.facts["thermal_status"] == 0
    assert phone.heard("commands").count("enabled true") == 2
    assert phone.heard("heats") == ""


def test_a_phone_that_stays_hot_is_given_up_with_advice(
    phone: Any, native_bundle: Bundle, check_model: Artifact
) -> None:
    phone.say("thermal", "3")
    device = device_at(phone, cooling=Cooling(0.05, 0.2))
    with pytest.raises(DeviceError, match="thermal status is still severe after 0 s") as caught:
        device.run_session([check_model], VISITS)
    assert "earlier rows are kept" in caught.value.hint


def test_another_phone_than_the_one_named_is_refused(phone: Any) -> None:
    with pytest.raises(
        DeviceError, match=r"expected a Pixel 7 or its Pro \(panther, cheetah\); got Pixel 6 \(oriole\)"
    ):
        device_at(phone, "pixel7").describe()


def test_two_phones_are_told_apart_by_their_codenames(
    phone: Any, make_phone: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_phone()
    other.say("ro.product.device", "panther")
    other.start()
    monkeypatch.setenv("NASC_PHONES", f"{phone.address},{other.address}")
    assert get_device("pixel7").describe()["codename"] == "panther"
    assert get_device("pixel6").describe()["codename"] == "oriole"
    with pytest.raises(UsageError, match="expected one phone for android, found 2"):
        get_device("android").describe()
    ready = {status.name: status.addresses for status in list_devices() if status.ready}
    assert ready.get("pixel6", (phone.address,)) == (phone.address,)
    assert ready.get("pixel7", (other.address,)) == (other.address,)


def test_two_phones_measure_at_the_same_time(
    phone: Any, make_phone: Callable[..., Any], native_bundle: Bundle, check_model: Artifact
) -> None:
    other = make_phone(environment={"NASC_EMULATOR": ""})
    other.start()
    made: dict[int, int] = {}

    def measure(which: Any) -> None:
        made[which.port] = len(device_at(which).run_session([check_model], VISITS).visits)

    threads = [threading.Thread(target=measure, args=(which,)) for which in (phone, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert made == {phone.port: 2, other.port: 2}


def test_a_phone_of_another_processor_is_refused(make_phone: Callable[..., Any], check_model: Artifact) -> None:
    small = make_phone(environment={"NASC_EMULATOR": ""})
    small.say("machine", "armv7l")
    small.start()
    with pytest.raises(DeviceError, match="expected a processor of aarch64, x86_64; got armv7l") as caught:
        device_at(small).run_session([check_model], VISITS)
    assert "--runtime benchmark_model" in caught.value.hint


def test_whole_models_are_measured_beside_the_anchor(phone: Any, native_bundle: Bundle, check_model: Artifact) -> None:
    (measured,) = measure_anchored([check_model], device_at(phone), sessions=1, blocks=1, runs=5)
    assert measured.seconds > 0
    assert measured.environment.origin == "emulated"
    assert measured.environment.runtime_version == native_bundle.litert
    assert "these times are emulated, not measured" in measured.warnings


def test_tables_refuse_emulated_times(phone: Any, native_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    network = trace(load_model("digits-cnn", num_classes=10, input_shape=(1, 8, 8)), (example_input((1, 8, 8)),))
    monkeypatch.delenv("NASC_EMULATED", raising=False)
    with pytest.raises(TableError, match="the processor of pixel6 is emulated") as caught:
        profile(device_at(phone), [network], progress=False)
    assert "NASC_EMULATED=allow" in caught.value.hint
    monkeypatch.setenv("NASC_EMULATED", "allow")
    result = profile(device_at(phone), [network], progress=False, budget_s=0.01)
    assert result.files.folder.name == "pixel6-emulated-gs101"
    assert result.table.origin == "emulated"
    assert "these times are emulated, not measured" in result.table.provenance.warnings


def test_the_command_line_measures_a_file_on_a_phone(
    phone: Any, native_bundle: Bundle, check_model: Artifact, capfd: pytest.CaptureFixture[str]
) -> None:
    device = f"pixel6@{phone.address}"
    assert run(["measure", str(check_model.path), "--device", device, "--sessions", "3"]) == 0
    printed = capfd.readouterr().out
    assert "check.tflite" in printed
    assert "these times are emulated, not measured" in printed


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def adb(emulator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The adb program, with a server of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
    monkeypatch.setenv("HOME", str(tmp_path))
    command = [str(emulator / "adb"), "server", "nodaemon"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 20
    while not listening(port) and time.monotonic() < end:
        time.sleep(0.05)
    yield emulator / "adb"
    server.kill()
    server.wait()


def test_the_adb_program_reaches_a_phone_too(phone: Any, adb: Path, tmp_path: Path) -> None:
    subprocess.run([str(adb), "connect", phone.address], capture_output=True, timeout=30, check=True)
    link = Link(AdbProgram(phone.address, str(adb)), patience_s=20)
    assert link.run("echo $NASC_FOLDER; exit 3") == Reply(3, f"{phone.folder}\n")
    sent = tmp_path / "sent"
    sent.write_bytes(bytes(range(256)) * 1000)
    link.push([(sent, f"{phone.home}/tmp/sent")])
    assert link.pull(f"{phone.home}/tmp/sent") == sent.read_bytes()
    assert list_phones(str(adb)) == [Listed(phone.address, "device")]


def test_a_link_that_dies_under_the_adb_program_is_noticed(phone: Any, adb: Path) -> None:
    subprocess.run([str(adb), "connect", phone.address], capture_output=True, timeout=30, check=True)
    link = Link(AdbProgram(phone.address, str(adb)), patience_s=0)
    link.run("true")
    threading.Timer(0.3, phone.kill).start()
    with pytest.raises(DeviceError):  # the program itself ends with status 0 and says nothing
        link.run("sleep 20; echo late", timeout_s=15)
