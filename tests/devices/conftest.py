"""A phone for tests: a real adbd on loopback, the arm64 bundle under qemu; and machines that are this one."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from filelock import FileLock

from nasc.artifact import Artifact
from nasc.devices.bundle import Bundle, build_bundle
from nasc.devices.bundle.build import ARCHITECTURES, Architecture, compile_runner
from nasc.devices.bundle.packages import PackageShelf
from nasc.devices.remote import Link
from nasc.devices.remote.machine import check_folder
from nasc.devices.remote.store import digest
from nasc.errors import NascError
from nasc.paths import data_folder, user_cache

SETUP_S = 300.0


@dataclass
class Here:
    """A transport to this machine: real commands, real files, no network. It can be told to break."""

    folder: Path
    breaks: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    address: str = "here"

    def shell(self, command: str, timeout_s: float) -> str:
        self._note("shell")
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=timeout_s, check=False)
        return self._answer("shell", done.stdout)

    def push(self, files: Sequence[tuple[Path, str]], timeout_s: float) -> None:
        self._note("push")
        for local, remote in files:
            content = local.read_bytes()
            torn = "torn push" in self.breaks
            Path(remote).write_bytes(content[: len(content) // 2] if torn else content)
            if torn:
                self._break("torn push")

    def pull(self, path: str, timeout_s: float) -> bytes:
        self._note("pull")
        return Path(path).read_bytes()

    def close(self) -> None:
        self.calls.append("close")

    def _note(self, call: str) -> None:
        self.calls.append(call)
        if call in self.breaks:
            self._break(call)

    def _answer(self, call: str, text: str) -> str:
        """A link may also break once the command ran: then its answer never comes."""
        if f"answer of {call}" in self.breaks:
            self._break(f"answer of {call}")
        return text

    def _break(self, what: str) -> None:
        from nasc.devices.remote import LinkLost

        self.breaks.remove(what)
        raise LinkLost(f"broken for the test: {what}", "none")


@pytest.fixture
def here(tmp_path: Path) -> Here:
    """A transport to this machine, and a folder for its files."""
    folder = tmp_path / "device"
    folder.mkdir()
    return Here(folder)


@pytest.fixture
def link(here: Here) -> Link:
    """A link to this machine."""
    return Link(here, patience_s=5)


@pytest.fixture(scope="session")
def here_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle for this machine, from its own libraries: no network is needed."""
    machine = os.uname().machine
    if machine not in ARCHITECTURES or shutil.which("cc") is None:
        pytest.skip(f"needs a C compiler and a processor of {', '.join(ARCHITECTURES)}")
    target = ARCHITECTURES[machine]
    folder = tmp_path_factory.mktemp("bundle")
    compile_runner(target, PackageShelf(folder / "unused"), folder / "runner", native=True)
    for path in own_libraries(folder / "runner", target):
        shutil.copyfile(path, folder / path.name)
    (folder / target.loader).chmod(0o755)
    litert = pytest.importorskip("ai_edge_litert")
    shutil.copyfile(Path(litert.__file__).parent / "libLiteRt.so", folder / "libLiteRt.so")
    files = {path.name: digest(path) for path in sorted(folder.iterdir())}
    return Bundle(folder, machine, "here", files, {})


def own_libraries(runner: Path, target: Architecture) -> list[Path]:
    """This machine's C library and its loader, as paths whose names are those that programs ask for."""
    listed = subprocess.run(["ldd", str(runner)], capture_output=True, text=True, check=True).stdout
    libc = next(Path(word) for line in listed.splitlines() for word in line.split() if word.endswith("/libc.so.6"))
    loader = next(Path(word) for line in listed.splitlines() for word in line.split() if word.endswith(target.loader))
    names = ("libm.so.6", "libdl.so.2", "libpthread.so.0", "libstdc++.so.6", "libgcc_s.so.1")
    found = [Path(folder) / name for name in names for folder in (libc.parent, f"/usr{libc.parent}")]
    return [libc, loader, *{path.name: path for path in found if path.exists()}.values()]


@pytest.fixture
def check_model() -> Artifact:
    """A small model."""
    return Artifact(check_folder() / "check.tflite", "litert", (), ())


@pytest.fixture(scope="session")
def emulator() -> Path:
    """The folder with adbd, adb, dropbear and qemu, set up once and kept; skips where it cannot be had."""
    if os.uname().machine != "x86_64" or shutil.which("apt-get") is None or shutil.which("gcc") is None:
        pytest.skip("the emulated phone needs apt and gcc on x86_64")
    folder = user_cache() / "emulator"
    script = data_folder("profilers") / "emulator" / "setup.sh"
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder.parent / "emulator.lock"):  # several test processes may come here at once
            done = subprocess.run(
                ["sh", str(script), str(folder)], capture_output=True, text=True, timeout=SETUP_S, check=False
            )
    except subprocess.TimeoutExpired:
        pytest.skip(f"the emulated phone was not set up within {SETUP_S:.0f} s")
    if done.returncode != 0:
        words = (done.stderr.strip() or "no message").splitlines()[-1]
        pytest.skip(f"the emulated phone cannot be had here: {words}")
    return folder


@pytest.fixture(scope="session")
def arm_bundle() -> Bundle:
    """The arm64 bundle, built once and kept; skips where it cannot be had."""
    try:
        return build_bundle("aarch64")
    except NascError as error:
        pytest.skip(f"the arm64 bundle cannot be had here: {error.message}")


@pytest.fixture(scope="session")
def native_bundle() -> Bundle:
    """The bundle of this machine's processor, built once and kept; skips where it cannot be had."""
    try:
        return build_bundle(os.uname().machine)
    except NascError as error:
        pytest.skip(f"the bundle cannot be had here: {error.message}")


NATIVE = {"NASC_EMULATOR": ""}
"""A phone whose programs run on this machine's processor: many times faster than one under qemu, and still no phone."""


@dataclass
class Phone:
    """A running phone."""

    emulator: Path
    home: Path
    port: int
    environment: dict[str, str] = field(default_factory=dict)
    wrapper: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def folder(self) -> Path:
        """nasc's folder on it."""
        return self.home / "tmp" / "nasc"

    def start(self) -> None:
        """Start it and wait until it listens."""
        self.process = subprocess.Popen(
            [*self.wrapper, str(self.emulator / "phone"), str(self.port), str(self.home)],
            env={**os.environ, **self.environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_for(lambda: can_connect(self.port), 20)

    def kill(self) -> None:
        """End adbd at once, as a crash would."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
            self.process = None

    def restart(self) -> None:
        """End adbd and start it again; what was detached goes on."""
        self.kill()
        self.start()

    def reboot(self) -> None:
        """End adbd and every program of the phone, and start it again: files stay, nothing else does."""
        self.kill()
        for pid in self.jobs():
            os.kill(pid, signal.SIGKILL)
        self.start()

    def jobs(self) -> list[int]:
        """Process ids of what runs detached on the phone."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                command = (path / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if str(self.folder) in command and int(path.name) != os.getpid():
                found.append(int(path.name))
        return found

    def say(self, name: str, value: str) -> None:
        """What the phone answers from now on."""
        (self.home / "state").mkdir(parents=True, exist_ok=True)
        (self.home / "state" / name).write_text(value + "\n")

    def heard(self, name: str) -> str:
        """What the phone was told."""
        path = self.home / "state" / name
        return path.read_text() if path.exists() else ""


def wait_for(condition: Callable[[], bool], most_s: float) -> None:
    """Wait until something holds."""
    end = time.monotonic() + most_s
    while not condition():
        assert time.monotonic() < end, f"did not happen within {most_s} s"
        time.sleep(0.01)


def can_connect(port: int) -> bool:
    """Whether something listens on a port of loopback."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    """A port of loopback that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def phone_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a phone that lasts for the whole run, so that the bundle is pushed and checked once."""
    return tmp_path_factory.mktemp("phone")


@pytest.fixture
def phone(emulator: Path, phone_home: Path) -> Iterator[Phone]:
    """A running phone whose programs run on this machine's processor."""
    shutil.rmtree(phone_home / "state", ignore_errors=True)
    made = Phone(emulator, phone_home, free_port(), NATIVE)
    made.start()
    yield made
    made.kill()


@pytest.fixture
def arm_phone(emulator: Path, tmp_path: Path) -> Iterator[Phone]:
    """A running phone whose programs are arm64 ones, under qemu."""
    made = Phone(emulator, tmp_path / "arm", free_port())
    made.start()
    yield made
    made.kill()


@pytest.fixture
def make_phone(emulator: Path, tmp_path: Path) -> Iterator[Callable[..., Phone]]:
    """A maker of further phones, each with files of its own."""
    made: list[Phone] = []

    def make(name: str = "second", **settings: object) -> Phone:
        phone = Phone(emulator, tmp_path / name, free_port(), **settings)  # type: ignore[arg-type]
        made.append(phone)
        return phone

    yield make
    for phone in made:
        phone.kill()
