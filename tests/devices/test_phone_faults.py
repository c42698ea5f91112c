"""Everything that goes wrong with phones, done to a real adbd: no row is lost, doubled or wrong."""

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nasc.artifact import Artifact
from nasc.devices import AndroidPhone, Visit, load_descriptors
from nasc.devices.bundle import Bundle
from nasc.devices.remote import AdbTcp, Link, LinkLost
from nasc.devices.remote.link import DiskFull
from nasc.devices.remote.store import Store
from nasc.errors import DeviceError
from nasc.kernels import signature
from nasc.table.campaign import Campaign
from nasc.table.journal import Journal
from nasc.table.store import table_files

LONG = (Visit(0, runs=10**6, warmup=1, limit_s=1.5),)  # long enough to break something meanwhile
ROOT = Path(__file__).resolve().parents[2]
LARGE = 48 * 2**20


def device_at(phone: Any, patience_s: float = 60) -> AndroidPhone:
    return AndroidPhone(load_descriptors()["pixel6"], phone.address, patience_s=patience_s)


def link_to(phone: Any, answer_s: float = 5.0, patience_s: float = 30) -> Link:
    return Link(AdbTcp("127.0.0.1", phone.port, answer_s=answer_s), patience_s)


def started(phone: Any) -> bool:
    return any((phone.folder / "jobs").glob("job-*/before"))


def during(phone: Any, check_model: Artifact, event: Callable[[], None]) -> Any:
    """A session in which something happens once the runner runs."""
    device = device_at(phone)
    device.describe()
    happened = []

    def wait_and_break() -> None:
        end = time.monotonic() + 60
        while not started(phone) and time.monotonic() < end:
            time.sleep(0.01)
        event()
        happened.append(True)

    breaker = threading.Thread(target=wait_and_break)
    breaker.start()
    session = device.run_session([check_model], LONG)
    breaker.join(60)
    assert happened
    assert list((phone.folder / "jobs").glob("*")) == []
    assert phone.heard("fixed_performance") == "false\n"
    return device, session


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    path.write_bytes(os.urandom(2**20) * (LARGE // 2**20))
    return path


def test_adbd_killed_in_shell_loses_nothing(phone: Any, native_bundle: Bundle, check_model: Artifact) -> None:
    device, session = during(phone, check_model, lambda: (phone.kill(), time.sleep(0.3), phone.start()))
    assert len(session.visits) == 1
    assert len(session.visits[0].samples_s) > 5
    assert device.contact.link.breaks > 0
    assert phone.heard("commands").count("enabled true") == 1  # the runner went on: it was not started again


def test_a_hung_phone_is_waited_for(phone: Any, native_bundle: Bundle, check_model: Artifact) -> None:
    def hang() -> None:
        phone.process.send_signal(signal.SIGSTOP)
        time.sleep(1.5)
        phone.process.send_signal(signal.SIGCONT)

    _, session = during(phone, check_model, hang)
    assert len(session.visits) == 1
    assert phone.heard("commands").count("enabled true") == 1


def test_a_hung_phone_is_noticed_in_bounded_time(phone: Any) -> None:
    link = link_to(phone, answer_s=0.5, patience_s=1)
    link.run("true")
    phone.process.send_signal(signal.SIGSTOP)
    start = time.monotonic()
    with pytest.raises(DeviceError, match="waited 1 s for it to come back"):
        link.run("echo anybody", timeout_s=0.5)
    assert time.monotonic() - start < 20
    phone.process.send_signal(signal.SIGCONT)
    assert link.run("echo back").output == "back\n"


def test_a_reboot_while_a_session_runs_repeats_it(phone: Any, native_bundle: Bundle, check_model: Artifact) -> None:
    _, session = during(phone, check_model, phone.reboot)
    assert len(session.visits) == 1
    assert phone.heard("commands").count("enabled true") == 2  # the first died with the phone


def test_adbd_killed_in_push_leaves_a_whole_file(phone: Any, large: Path) -> None:
    link = link_to(phone)
    store = Store(link, str(phone.folder))
    link.run("true")

    def kill_in_push() -> None:
        part = phone.folder / "models/large.part"
        while not (part.exists() and part.stat().st_size > 0):
            time.sleep(0.001)
        phone.restart()

    breaker = threading.Thread(target=kill_in_push)
    breaker.start()
    store.ensure({"models/large": large})
    breaker.join(30)
    assert link.breaks > 0
    assert (phone.folder / "models/large").read_bytes() == large.read_bytes()
    assert not (phone.folder / "models/large.part").exists()
    (phone.folder / "models/large").unlink()


def test_adbd_killed_in_pull_gives_a_whole_file(phone: Any, large: Path) -> None:
    link = link_to(phone)
    link.run("true")
    transport = link.transport
    assert isinstance(transport, AdbTcp)
    pull, begun = transport.pull, threading.Event()

    def tell(path: str, timeout_s: float) -> bytes:
        begun.set()
        return pull(path, timeout_s)

    transport.pull = tell  # type: ignore[method-assign]  # only to know when to strike

    def kill_in_pull() -> None:
        begun.wait(30)
        time.sleep(0.03)
        phone.restart()

    breaker = threading.Thread(target=kill_in_pull)
    breaker.start()
    content = link.pull(str(large))
    breaker.join(30)
    assert link.breaks > 0
    assert content == large.read_bytes()


def test_a_lost_connection_is_noticed_at_once(phone: Any) -> None:
    link = link_to(phone, answer_s=30, patience_s=0)
    link.run("true")
    threading.Timer(0.2, phone.kill).start()
    start = time.monotonic()
    with pytest.raises(DeviceError):
        link.run("sleep 20", timeout_s=60)
    assert time.monotonic() - start < 5


def test_a_phone_that_refuses_is_reported_at_once_with_what_to_do(phone: Any) -> None:
    phone.kill()
    start = time.monotonic()
    with pytest.raises(LinkLost, match="ConnectionRefusedError") as caught:
        device_at(phone).describe()
    assert time.monotonic() - start < 5
    assert "adb tcpip 5555" in caught.value.hint


def test_a_session_works_over_a_slow_link(phone: Any, native_bundle: Bundle, check_model: Artifact) -> None:
    with slow_door(phone.port, delay_s=0.03) as port:
        device = AndroidPhone(load_descriptors()["pixel6"], f"127.0.0.1:{port}", patience_s=30)
        session = device.run_session([check_model], [Visit(0, runs=5)])
    assert len(session.visits[0].samples_s) == 5


def test_a_phone_that_has_not_authorised_this_computer_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nasc.devices.remote.adb_tcp._AUTHORISE_S", 0.2)
    with asking_for_a_key() as port, pytest.raises(DeviceError, match="has not authorised this computer") as caught:
        Link(AdbTcp("127.0.0.1", port, answer_s=0.3), patience_s=30).run("true")
    assert "Allow USB debugging" in caught.value.hint
    assert not isinstance(caught.value, LinkLost)


def test_a_full_disk_is_told_with_sizes_and_loses_nothing(
    make_phone: Callable[..., Any], tmp_path: Path, large: Path
) -> None:
    mount = f"mkdir -p {tmp_path}/small/tmp && mount -t tmpfs -o size=4m none {tmp_path}/small/tmp"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True, check=False).returncode != 0:
        pytest.skip("this system does not let tests make a small disk (unshare and tmpfs)")
    small = make_phone("small", wrapper=("unshare", "-rm", "sh", "-c", f'{mount} && exec "$0" "$@"'))
    small.start()
    store = Store(link_to(small), str(small.folder))
    kept = tmp_path / "kept"
    kept.write_bytes(b"x" * 1000)
    store.ensure({"bundle/kept": kept})
    with pytest.raises(DiskFull, match=r"expected room for 50,331,648 bytes in .*; [\d,]+ are free") as caught:
        store.ensure({"models/large": large})
    assert "free space on the device" in caught.value.hint
    assert store.link.run(f"find {small.folder} -type f").output.split() == [f"{small.folder}/bundle/kept"]
    assert store.ensure({"bundle/kept": kept}) == 0


def test_a_phone_that_reboots_half_way_through_a_table_loses_and_doubles_no_row(
    phone: Any, native_bundle: Bundle, tmp_path: Path
) -> None:
    device = device_at(phone)
    files = table_files(device, tmp_path)
    files.folder.mkdir(parents=True)
    shapes = [signature("linear", rows=1).at(c_in=8, c_out=c_out) for c_out in range(1, 7)]
    campaign = Campaign(device, files, {}, anchor_s=None, floor_s=0.0, sessions=1, runs=5, budget_s=None, seed=0)
    reboots = []

    def reboot_once(done: int, wanted: int) -> None:
        if not reboots:
            reboots.append(threading.Thread(target=lambda: (time.sleep(0.2), phone.reboot())))
            reboots[0].start()

    campaign.probe(shapes, reboot_once)
    reboots[0].join(60)
    journal = Journal(files.journal)
    assert set(journal.sessions) >= set(shapes)
    assert all(len(sessions) <= 4 for sessions in journal.sessions.values())  # what the campaign asked for, no more
    lines = [line for line in files.journal.read_text().splitlines() if '"kind"' in line]
    assert len(lines) == sum(len(sessions) for sessions in journal.sessions.values())
    assert len(set(lines)) == len(lines)


class slow_door:
    """A door to a port behind which every packet waits; a context that gives its own port."""

    def __init__(self, port: int, delay_s: float) -> None:
        self.port, self.delay_s = port, delay_s

    def __enter__(self) -> int:
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()
        return int(self.listener.getsockname()[1])

    def __exit__(self, *error: object) -> None:
        self.listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.port))
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with source, sink, contextlib.suppress(OSError):
            while data := source.recv(65536):
                time.sleep(self.delay_s)
                sink.sendall(data)


class asking_for_a_key:
    """A daemon that answers every greeting with a request to sign a token, as a phone does before its owner agreed."""

    def __enter__(self) -> int:
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()
        return int(self.listener.getsockname()[1])

    def __exit__(self, *error: object) -> None:
        self.listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._ask, args=(client,), daemon=True).start()

    def _ask(self, client: socket.socket) -> None:
        token = bytes(range(20))
        command = int.from_bytes(b"AUTH", "little")
        header = struct.pack("<6I", command, 1, 0, len(token), sum(token), command ^ 0xFFFFFFFF)
        with client, contextlib.suppress(OSError):
            for _ in message_ends(client):
                client.sendall(header + token)


def message_ends(client: socket.socket) -> Iterator[None]:
    """Once for every message of the adb protocol that a client sends, but for the public key, which nobody answers."""
    while len(header := client.recv(24, socket.MSG_WAITALL)) == 24:
        _, kind, _, length, _, _ = struct.unpack("<6I", header)
        client.recv(length, socket.MSG_WAITALL)
        if not (header[:4] == b"AUTH" and kind == 3):
            yield


def test_what_nasc_left_running_when_it_was_killed_is_ended_before_the_next_session(
    phone: Any, native_bundle: Bundle, check_model: Artifact
) -> None:
    program = (
        "import sys; from pathlib import Path; from nasc.artifact import Artifact; from nasc.devices import *\n"
        "artifact = Artifact(Path(sys.argv[2]), 'litert', (), ())\n"
        "get_device(sys.argv[1]).run_session([artifact], [Visit(0, runs=10**8, limit_s=60.0)])\n"
    )
    command = [sys.executable, "-c", program, f"pixel6@{phone.address}", str(check_model.path)]
    killed = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        wait_until(lambda: started(phone), 60)
    finally:
        killed.kill()
        killed.wait()
    assert phone.jobs()
    assert phone.heard("fixed_performance") == "true\n"
    session = device_at(phone).run_session([check_model], [Visit(0, runs=5)])
    assert len(session.visits) == 1
    assert phone.jobs() == []
    assert phone.heard("fixed_performance") == "false\n"


def wait_until(condition: Callable[[], bool], most_s: float) -> None:
    end = time.monotonic() + most_s
    while not condition():
        assert time.monotonic() < end, f"did not happen within {most_s} s"
        time.sleep(0.02)
