"""A machine over ssh: a real ssh server on loopback, this machine behind it."""

import getpass
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

import pytest

from nasc.artifact import Artifact
from nasc.devices import SshHost, Visit, get_device, load_descriptors, ssh_host
from nasc.devices.bundle import Bundle
from nasc.devices.remote import Link, LinkLost, Ssh
from nasc.errors import DeviceError, UsageError
from nasc.paths import user_cache


@dataclass
class Server:
    """An ssh server on loopback: a process for every connection, as inetd would start it."""

    programs: Path
    folder: Path
    port: int
    log: IO[bytes]
    listener: socket.socket | None = None
    served: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"{getpass.getuser()}@127.0.0.1:{self.port}"

    @property
    def options(self) -> list[str]:
        known = ["-o", "StrictHostKeyChecking=accept-new", "-o", f"UserKnownHostsFile={self.folder}/known"]
        return ["-F", "none", "-i", f"{self.folder}/key", "-o", "IdentitiesOnly=yes", *known]

    def start(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._serve, args=(self.listener,), daemon=True).start()

    def kill(self) -> None:
        if self.listener is not None:
            self.listener.shutdown(socket.SHUT_RDWR)
            self.listener.close()
            self.listener = None
        for process in self.served:
            process.kill()
            process.wait()
        self.served.clear()

    def _serve(self, listener: socket.socket) -> None:
        arguments = ["-i", "-E", "-s", "-r", f"{self.folder}/host", "-D", str(self.folder)]
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client:
                command = [str(self.programs / "dropbear"), *arguments]
                self.served.append(subprocess.Popen(command, stdin=client, stdout=client, stderr=self.log))


@pytest.fixture
def server(emulator: Path) -> Iterator[Server]:
    """An ssh server on loopback that takes one key."""
    if shutil.which("ssh") is None or shutil.which("ssh-keygen") is None:
        pytest.skip("needs the ssh program (apt install openssh-client)")
    with TemporaryDirectory(dir=user_cache(), prefix="ssh-") as name:  # a folder below /tmp is none to trust keys in
        folder = Path(name)
        key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "key")]
        host = [str(emulator / "dropbearkey"), "-t", "ed25519", "-f", str(folder / "host")]
        for command in (key, host):
            subprocess.run(command, check=True, capture_output=True)
        (folder / "authorized_keys").write_text((folder / "key.pub").read_text())
        (folder / "authorized_keys").chmod(0o600)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        with (folder / "log").open("ab") as log:
            made = Server(emulator, folder, port, log)
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
