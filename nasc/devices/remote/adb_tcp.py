"""ADB over TCP, by the Python package adb-shell: no program to install, phones on Wi-Fi or on loopback.

adb-shell takes a closed socket for one that has nothing to say yet, and polls it until its read timeout; and it waits 40 ms
a call for the network's delayed acknowledgements. The transport below does neither.
"""

import contextlib
import io
import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from adb_shell import exceptions
from adb_shell.adb_device import AdbDevice
from adb_shell.auth.keygen import keygen
from adb_shell.auth.sign_pythonrsa import PythonRSASigner
from adb_shell.transport.tcp_transport import TcpTransport

from nasc.devices.remote.link import DiskFull, LinkLost
from nasc.errors import DeviceError
from nasc.paths import user_folder

PORT = 5555
"""Where phones listen after ``adb tcpip 5555``."""

ANSWER_S = 10.0
"""A phone that says nothing for this long within a transfer has lost the link."""

_AUTHORISE_S = 15.0  # for a person to touch "Allow" on the phone
_LOST = (
    OSError,
    exceptions.TcpTimeoutException,
    exceptions.AdbTimeoutError,
    exceptions.AdbConnectionError,
    exceptions.InvalidChecksumError,
    exceptions.InvalidCommandError,
    exceptions.InvalidResponseError,
)


class AttentiveTcp(TcpTransport):  # type: ignore[misc]  # adb-shell has no types
    """A TCP connection that notices at once when the other side is gone."""

    def connect(self, transport_timeout_s: float | None) -> None:
        """Connect without the delay that the network puts on small packets."""
        super().connect(transport_timeout_s)
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def bulk_read(self, numbytes: int, transport_timeout_s: float | None) -> bytes:
        """Read; an end of the stream is an error, not an empty packet."""
        data: bytes = super().bulk_read(numbytes, transport_timeout_s)
        if not data and numbytes:
            raise ConnectionResetError("the phone closed the connection")
        return data


class AdbTcp:
    """A phone reached by TCP.

    Args:
        host: Its address.
        port: Where its daemon listens.
        answer_s: Silence after which the link counts as lost.
    """

    def __init__(self, host: str, port: int = PORT, answer_s: float = ANSWER_S) -> None:
        self.host, self.port, self.answer_s = host, port, answer_s
        self._device: AdbDevice | None = None
        self._lock = threading.Lock()  # one connection serves one caller at a time

    @property
    def address(self) -> str:
        """``host:port``."""
        return f"{self.host}:{self.port}"

    def shell(self, command: str, timeout_s: float) -> str:
        """What a command prints; see :class:`nasc.devices.remote.Transport`."""
        with self._lock, self._words("shell"):
            output = self._connected().exec_out(
                command, transport_timeout_s=timeout_s, read_timeout_s=timeout_s, timeout_s=timeout_s, decode=False
            )
            return bytes(output).decode(errors="replace")

    def push(self, files: Sequence[tuple[Path, str]], timeout_s: float) -> None:
        """Copy files to the phone."""
        with self._lock, self._words("push"):
            for local, remote in files:
                self._connected().push(str(local), remote, transport_timeout_s=self.answer_s, read_timeout_s=timeout_s)

    def pull(self, path: str, timeout_s: float) -> bytes:
        """The content of a file on the phone."""
        content = io.BytesIO()
        with self._lock, self._words("pull"):
            self._connected().pull(path, content, transport_timeout_s=self.answer_s, read_timeout_s=timeout_s)
        return content.getvalue()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Drop the connection."""
        device, self._device = self._device, None
        if device is not None:
            with contextlib.suppress(Exception):
                device.close()

    def _connected(self) -> AdbDevice:
        if self._device is None:
            try:
                self._device = self._greet(None, self.answer_s)
            except exceptions.DeviceAuthError:  # it wants to know who is there; a key takes a second to make
                self._device = self._introduce(load_signer())
        return self._device

    def _introduce(self, key: PythonRSASigner) -> AdbDevice:
        """Greet with a key; a phone that does not know it asks its owner, and says nothing until he agreed."""
        try:
            return self._greet(key, max(_AUTHORISE_S, self.answer_s))
        except (exceptions.TcpTimeoutException, exceptions.AdbTimeoutError) as error:
            raise exceptions.DeviceAuthError("nobody agreed") from error

    def _greet(self, key: PythonRSASigner | None, answer_s: float) -> AdbDevice:
        device = AdbDevice(AttentiveTcp(self.host, self.port), default_transport_timeout_s=self.answer_s)
        try:
            device.connect(
                rsa_keys=None if key is None else [key],
                transport_timeout_s=answer_s,
                auth_timeout_s=answer_s,
                read_timeout_s=answer_s,
            )
        except BaseException:
            device.close()
            raise
        return device

    @contextlib.contextmanager
    def _words(self, what: str) -> Iterator[None]:
        """Turn adb-shell's exceptions into nasc's."""
        try:
            yield
        except exceptions.DeviceAuthError as error:
            self.close()
            raise unauthorised(self.address) from error
        except (exceptions.PushFailedError, exceptions.AdbCommandFailureException, KeyError) as error:
            # KeyError: adb-shell cannot read the daemon's complaint when that comes in the middle of a file
            self.close()
            raise refused_file(self.address, what, error) from error
        except _LOST as error:
            self.close()
            raise LinkLost(
                f"{self.address}: expected a phone that answers; {what} failed: {type(error).__name__}: {error}",
                "wake the phone, check that it is on this network with debugging over TCP on "
                f"(adb tcpip {PORT}), then run the same command again",
            ) from error


def load_signer(folder: Path | None = None) -> PythonRSASigner:
    """The key that phones know this machine by: that of the ``adb`` program, or else nasc's own.

    Args:
        folder: Where nasc's own lies; by default the user's folder.
    """
    shared = Path.home() / ".android" / "adbkey"
    path = shared if shared.is_file() and shared.with_suffix(".pub").is_file() else (folder or user_folder()) / "adbkey"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        keygen(str(path))
        path.chmod(0o600)
    return PythonRSASigner(path.with_suffix(".pub").read_text(), path.read_text())


def unauthorised(address: str) -> DeviceError:
    """The error for a phone that does not know this machine yet."""
    return DeviceError(
        f"{address}: the phone has not authorised this computer",
        "unlock the phone, accept 'Allow USB debugging?' with 'Always allow', then run the same command again",
    )


def refused_file(address: str, what: str, error: Exception | str) -> DeviceError:
    """The error for a file that the device would not take or give."""
    given = error.args[0] if isinstance(error, Exception) and error.args else error
    words = bytes(given).decode(errors="replace") if isinstance(given, bytes | bytearray) else str(given)
    if "No space left" in words:
        return DiskFull(f"{address}: the device's disk is full ({words.strip()})", "free space on the device")
    return DeviceError(f"{address}: {what} was refused: {words.strip()}", "check the rights on the device's folder")
