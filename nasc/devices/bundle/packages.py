"""Debian packages, fetched from this machine's own sources and unpacked beside them; nothing is installed."""

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nasc.errors import DeviceError

_FETCH_S = 900.0  # bound on one download


@dataclass(frozen=True)
class PackageShelf:
    """A private apt state in a folder; no rights of the administrator are needed.

    Args:
        folder: Where its lists, archives and unpacked files go.
    """

    folder: Path

    @property
    def root(self) -> Path:
        """What was unpacked, as it would lie under ``/``."""
        return self.folder / "root"

    def update(self) -> None:
        """Read the lists of what there is.

        Raises:
            DeviceError: apt is not there, or cannot reach its sources.
        """
        for tool in ("apt-get", "dpkg-deb"):
            if shutil.which(tool) is None:
                raise DeviceError(
                    f"expected the program {tool}, found none: the bundle is put together from Debian packages",
                    "build it once on a Debian or Ubuntu machine or container and copy the folder that "
                    "`nasc devices --build-bundle` names, or give a benchmark_model: see the page on phones",
                )
        for name in ("state/lists/partial", "cache/archives/partial", "root"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "status").touch()
        self._run(["apt-get", *self._options(), "-qq", "update"], "the lists of packages")

    def fetch(self, names: Sequence[str], *, dependencies: bool = False) -> list[Path]:
        """Download packages and unpack them under :attr:`root`.

        Args:
            names: Package names.
            dependencies: Also what they depend on.

        Returns:
            The archives.

        Raises:
            DeviceError: They cannot be had.
        """
        archives = self.folder / "cache" / "archives"
        if dependencies:
            verb = ["install", "--download-only", "--no-install-recommends", "--yes", *names]
        else:
            verb = ["download", *names]
        before = set(archives.glob("*.deb"))
        self._run(["apt-get", *self._options(), "-qq", *verb], f"the packages {', '.join(names)}", folder=archives)
        made = sorted(set(archives.glob("*.deb")) - before)
        for archive in made:
            self._run(["dpkg-deb", "-x", str(archive), str(self.root)], archive.name)
        return made

    def _options(self) -> list[str]:
        settings = {
            "Dir::State": self.folder / "state",
            "Dir::State::status": self.folder / "status",
            "Dir::Cache": self.folder / "cache",
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
            "Debug::NoLocking": "1",
        }
        return [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]

    def _run(self, command: Sequence[str], what: str, folder: Path | None = None) -> None:
        run_tool(command, f"expected to fetch {what}", "check the connection and apt's sources", folder=folder)


def run_tool(command: Sequence[str], aim: str, hint: str, *, folder: Path | None = None) -> str:
    """Run a program to its end; what it printed.

    Args:
        command: Program and arguments.
        aim: How the error begins: what was expected of it.
        hint: What to do when it fails.
        folder: Where it runs.

    Raises:
        DeviceError: It failed or is not there; the message carries its last words.
    """
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_FETCH_S, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DeviceError(f"{aim}; got: {error}", hint) from error
    if done.returncode != 0:
        words = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()
        telling = next((line for line in words if "error" in line.lower()), words[-1])
        raise DeviceError(f"{aim}; {Path(command[0]).name} ended with status {done.returncode}: {telling}", hint)
    return done.stdout
