"""A machine over ssh: a real ssh server on loopback, this machine behind it."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest

from nasc.artifact import Artifact
from nasc.devices import SshHost, Visit, get_device, load_descriptors, ssh_host
from nasc.devices.bundle import Bundle
from nasc.devices.remote import Link, LinkLost, Ssh
from nasc.errors import DeviceError, UsageError


@dataclass
class Server:
    """A running ssh server."""

    programs: Path
    folder: Path
    port: int
    log: IO[bytes]
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"{os.environ.get('USER', 'root')}@127.0.0.1:{self.port}"

    @property
    def options(self) -> list[str]:
        known = ["-o", "StrictHostKeyChecking=accept-new", "-o", f"UserKnownHostsFile={self.folder}/known"]
        return ["-F", "none", "-i", f"{self.folder}/key", "-o", "IdentitiesOnly=yes", *known]

    def start(self) -> None:
        arguments = ["-F", "-E", "-s", "-p", f"127.0.0.1:{self.port}", "-r", f"{self.folder}/host"]
        self.process = subprocess.Popen(
            [str(self.programs / "dropbear"), *arguments, "-D", str(self.folder), "-P", f"{self.folder}/pid"],
            stdout=subprocess.DEVNULL,
            stderr=self.log,
        )
        end = time.monotonic() + 10
        while time.monotonic() < end:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        pytest.fail(f"the ssh server did not start: {(self.folder / 'log').read_text()}")

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture
def server(emulator: Path, tmp_path: Path) -> Iterator[Server]:
    """An ssh server on loopback that takes one key."""
    if shutil.which("ssh") is None or shutil.which("ssh-keygen") is None:
        pytest.skip("needs the ssh program (apt install openssh-client)")
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True, capture_output=True
    )
    make_key = [str(emulator / "dropbearkey"), "-t", "ed25519", "-f", str(tmp_path / "host")]
    subprocess.run(make_key, check=True, capture_output=True)
    (tmp_path / "authorized_keys").write_text((tmp_path / "key.pub").read_text())
    (tmp_path / "authorized_keys").chmod(0o600)
    tmp_path.chmod(0o700)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with (tmp_path / "log").open("ab") as log:
        made = Server(emulator, tmp_path, port, log)
        made.start()
        yield made
        made.kill()


def test_files_and_commands_go_over_ssh(server: Server, tmp_path: Path) -> None:
    transport = Ssh(server.address, server.options)
    link = Link(transport, patience_s=5)
    try:
        assert link.run("echo 'quoted \"words\"'; exit 9").status == 9
        assert link.run("echo 'quoted \"words\"'").output == 'quoted "words"\n'
        sent = tmp_path / "sent"
        sent.write_bytes(bytes(range(256)) * 100)
        link.push([(sent, f"{tmp_path}/arrived")])
        assert link.pull(f"{tmp_path}/arrived") == sent.read_bytes()
    finally:
        transport.close()


def test_a_server_that_restarts_is_found_again(server: Server) -> None:
    transport = Ssh(server.address, server.options)
    link = Link(transport, patience_s=20)
    try:
        link.run("true")
        server.kill()
        transport.close()  # the shared connection outlives the listener; a restarted machine has neither
        server.start()
        assert link.run("echo again").output == "again\n"
    finally:
        transport.close()


def test_a_session_over_ssh_is_measured_by_the_same_bundle(
    server: Server, here_bundle: Bundle, check_model: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh_host, "build_bundle", lambda architecture: here_bundle)  # built without the network
    monkeypatch.setattr(ssh_host, "FOLDER", str(tmp_path / "device"))
    device = SshHost(load_descriptors()["ssh"], server.address, patience_s=5, options=server.options)
    try:
        session = device.run_session([check_model], [Visit(0, runs=6), Visit(0, runs=5, cold=True)])
        assert [len(visit.samples_s) for visit in session.visits] == [6, 5]
        assert session.facts["runner"] == f"bundle {here_bundle.identity}"
        assert device.origin == "measured"
        assert device.describe()["cores"] == os.cpu_count()
    finally:
        device.close()


def test_nobody_listening_is_reported_with_the_command_to_try(server: Server) -> None:
    server.kill()
    with pytest.raises(LinkLost, match=r"ssh failed: .*refused") as caught:
        Link(Ssh(server.address, server.options)).run("true")
    assert "try it by hand: ssh " in caught.value.hint


def test_a_key_that_is_not_known_is_not_tried_again(server: Server) -> None:
    (server.folder / "authorized_keys").write_text("")
    with pytest.raises(DeviceError, match=r"ssh was refused: .*Permission denied") as caught:
        Link(Ssh(server.address, server.options)).run("true")
    assert not isinstance(caught.value, LinkLost)
    assert "without a password" in caught.value.hint


def test_a_machine_over_ssh_needs_its_address() -> None:
    with pytest.raises(UsageError, match="--device ssh needs the machine's address"):
        get_device("ssh").describe()
