"""ssh by the ``ssh`` program: the user's own configuration, keys and agents hold, and one connection serves all calls."""

import contextlib
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import mkdtemp

from nasc.devices.remote.link import DiskFull, LinkLost
from nasc.errors import DeviceError

_LINK_FAILED = 255  # ssh's own exit status, as against the command's
_CONNECT_S = 10


class Ssh:
    """A machine reached by ssh.

    Args:
        destination: ``host``, ``user@host`` or ``user@host:port``.
        options: Further arguments of ``ssh``.
    """

    def __init__(self, destination: str, options: Sequence[str] = ()) -> None:
        self.destination = destination
        host, colon, port = destination.rpartition(":")
        named = bool(colon) and port.isdigit()
        self._target = host if named else destination
        self._options = [*options, *(["-p", port] if named else [])]
        self._control: Path | None = None

    @property
    def address(self) -> str:
        """The destination."""
        return self.destination

    def shell(self, command: str, timeout_s: float) -> str:
        """What a command prints; see :class:`nasc.devices.remote.Transport`."""
        return self._run(f"sh -c {shlex.quote(command)}", b"", timeout_s).decode(errors="replace")

    def push(self, files: Sequence[tuple[Path, str]], timeout_s: float) -> None:
        """Copy files to the machine."""
        for local, remote in files:
            self._run(f"cat > {shlex.quote(remote)}", local.read_bytes(), timeout_s)

    def pull(self, path: str, timeout_s: float) -> bytes:
        """The content of a file on the machine."""
        return self._run(f"cat {shlex.quote(path)}", b"", timeout_s)

    def close(self) -> None:
        """End the shared connection."""
        control, self._control = self._control, None
        if control is not None:
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run(
                    ["ssh", "-o", f"ControlPath={control / 'c'}", "-O", "exit", self._target],
                    capture_output=True,
                    timeout=_CONNECT_S,
                    check=False,
                )
                (control / "c").unlink(missing_ok=True)
                control.rmdir()

    def _command(self) -> list[str]:
        if self._control is None:
            self._control = Path(mkdtemp(prefix="nasc-ssh-"))
        settings = {
            "BatchMode": "yes",  # never ask for a password: nobody may be there
            "ConnectTimeout": str(_CONNECT_S),
            "ServerAliveInterval": "5",
            "ServerAliveCountMax": "3",
            "ControlMaster": "auto",
            "ControlPath": str(self._control / "c"),
            "ControlPersist": "60",
        }
        flags = [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]
        return ["ssh", *flags, *self._options, self._target]

    def _run(self, command: str, content: bytes, timeout_s: float) -> bytes:
        try:
            done = subprocess.run(
                [*self._command(), command], input=content, capture_output=True, timeout=timeout_s, check=False
            )
        except FileNotFoundError as error:
            raise DeviceError("expected the program ssh, found none", "apt install openssh-client") from error
        except subprocess.TimeoutExpired as error:
            raise LinkLost(f"{self.address}: no answer within {timeout_s:.0f} s", "check the network") from error
        words = (done.stderr.decode(errors="replace").strip() or "no message").splitlines()[-1]
        if done.returncode == _LINK_FAILED:
            raise self._link_failure(words)
        if done.returncode != 0:
            kind = DiskFull if "No space left" in words else DeviceError
            raise kind(f"{self.address}: the machine refused: {words}", "check its disk and the rights on its folder")
        return done.stdout

    def _link_failure(self, words: str) -> DeviceError:
        if "Permission denied" in words or "Host key verification" in words:
            return DeviceError(
                f"{self.address}: ssh was refused: {words}",
                f"make this work without a password first: ssh {self._target}",
            )
        return LinkLost(f"{self.address}: ssh failed: {words}", f"try it by hand: ssh {self._target} true")
