"""Files on the device, named by what is in them: sent once, checked by sha256, never half there."""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from nasc.devices.remote.link import DiskFull, Link
from nasc.errors import DeviceError

_TRIES = 3
_HASH_S = 120.0


class Store:
    """A folder on the device.

    Args:
        link: How to reach it.
        folder: Its path there; nobody else writes below it.
    """

    def __init__(self, link: Link, folder: str) -> None:
        self.link, self.folder = link, folder

    def ensure(self, files: Mapping[str, Path]) -> int:
        """Make sure that files are on the device, whole.

        What is there already with the right content is not sent again. A file is sent under another name, checked there,
        and only then renamed, so that no break leaves a torn one.

        Args:
            files: Local file by path below the folder.

        Returns:
            How many had to be sent.

        Raises:
            DeviceError: The device cannot be reached, or its disk is full even after the models of earlier sessions
                were removed.
        """
        digests = {name: digest(path) for name, path in files.items()}
        missing = self._differing(digests)
        sent, pruned = len(missing), False
        for _ in range(_TRIES):
            if not missing:
                return sent
            try:
                missing = self._send({name: files[name] for name in missing}, digests)
            except DiskFull as full:
                if pruned:
                    raise self._full(files) from full
                self.prune()
                pruned, missing = True, list(files)
        if missing:
            raise DeviceError(
                f"{self.link.address}: {', '.join(missing)} arrived changed {_TRIES} times in {self.folder}",
                "check the device's storage and the cable",
            )
        return sent

    def prune(self) -> None:
        """Remove the models and jobs of earlier sessions; they are sent again when they are needed."""
        self.link.run(f"rm -rf {self.folder}/models {self.folder}/jobs; find {self.folder} -name '*.part' -delete")

    def _differing(self, digests: Mapping[str, str]) -> list[str]:
        names = " ".join(digests)
        text = self.link.run(f"cd {self.folder} && sha256sum {names} 2>/dev/null", _HASH_S).output
        there = {words[1]: words[0] for words in map(str.split, text.splitlines()) if len(words) == 2}
        return [name for name, expected in digests.items() if there.get(name) != expected]

    def _send(self, files: Mapping[str, Path], digests: Mapping[str, str]) -> list[str]:
        """Send files; those that arrived changed, and were not kept."""
        folders = sorted({f"{self.folder}/{Path(name).parent}" for name in files})
        self.link.check(f"mkdir -p {' '.join(folders)}", f"making {self.folder}")
        self._require_room(sum(path.stat().st_size for path in files.values()))
        self.link.push([(path, f"{self.folder}/{name}.part") for name, path in files.items()])
        checks = [
            f'case "$(sha256sum {name}.part)" in {digests[name]}*) '
            f"chmod {'755' if files[name].stat().st_mode & 0o100 else '644'} {name}.part && mv {name}.part {name};; "
            f"*) [ -e {name}.part ] && rm -f {name}.part {name};; esac"  # none there: this command ran before
            for name in files
        ]
        keep = "\n".join([f"cd {self.folder} || exit 1", *checks, f"ls {' '.join(files)} 2>/dev/null; true"])
        kept = self.link.check(keep, "keeping files", _HASH_S).split()
        return [name for name in files if name not in kept]

    def _require_room(self, needed: int) -> None:
        """Refuse to fill the disk: a full one harms more than this session."""
        free = self._free_bytes()
        if free is not None and free < needed:
            raise DiskFull(f"{self.link.address}: {free} of {needed} bytes are free", "free space on the device")

    def _free_bytes(self) -> int | None:
        words = self.link.run(f"df -k {self.folder} | tail -n 1").output.split()
        return int(words[3]) * 1024 if len(words) > 3 and words[3].isdigit() else None

    def _full(self, files: Mapping[str, Path]) -> DeviceError:
        needed = sum(path.stat().st_size for path in files.values())
        free = self._free_bytes()
        there = "its disk is full" if free is None else f"{free:,} are free"
        return DiskFull(
            f"{self.link.address}: expected room for {needed:,} bytes in {self.folder}; {there}",
            "free space on the device, then run the same command again: what was measured so far is kept",
        )


def digest(path: Path) -> str:
    """sha256 of a file."""
    status = path.stat()
    return _digest(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4096)
def _digest(path: Path, modified_ns: int, size: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
