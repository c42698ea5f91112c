"""Building the bundle: the same inputs give the same bytes, and what went in is written down beside it."""

import hashlib
import importlib.metadata
import json
import platform
import shutil
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType

from filelock import FileLock

from nasc.devices.bundle.packages import PackageShelf, run_tool
from nasc.errors import DeviceError
from nasc.paths import data_folder, user_cache

MANIFEST = "manifest.json"
COMMAND = "nasc devices --build-bundle"
PHONES = "aarch64"
"""The architecture of phones."""

_LIBRARIES = ("libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "libstdc++.so.6", "libgcc_s.so.1")
_PACKAGES = ("libc6", "libstdc++6", "libgcc-s1")
_FLAGS = ("-std=gnu11", "-O2", "-s", "-Wl,--build-id=none")


@dataclass(frozen=True)
class Architecture:
    """A kind of processor that bundles are built for.

    Args:
        name: As ``uname -m`` says.
        triple: As compilers say.
        debian: As Debian says.
        loader: The C library's loader.
    """

    name: str
    triple: str
    debian: str
    loader: str


ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {
        "aarch64": Architecture("aarch64", "aarch64-linux-gnu", "arm64", "ld-linux-aarch64.so.1"),
        "x86_64": Architecture("x86_64", "x86_64-linux-gnu", "amd64", "ld-linux-x86-64.so.2"),
    }
)
"""What bundles can be built for, by ``uname -m``."""


@dataclass(frozen=True)
class Bundle:
    """A built bundle.

    Args:
        folder: Where its files are.
        architecture: Name in :data:`ARCHITECTURES`.
        litert: Version of LiteRT in it.
        files: sha256 of every file by name.
        sources: sha256 of every package and wheel it was made from, by file name.
    """

    folder: Path
    architecture: str
    litert: str
    files: Mapping[str, str]
    sources: Mapping[str, str]

    @property
    def identity(self) -> str:
        """Twelve digits that stand for all its bytes."""
        text = "".join(f"{name} {self.files[name]}\n" for name in sorted(self.files))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def command(self) -> str:
        """What starts its runner in its folder, ready for a plan on standard input."""
        return f"./{ARCHITECTURES[self.architecture].loader} --library-path . ./runner ./libLiteRt.so"


def build_command(architecture: str) -> str:
    """The command that builds the bundle of an architecture."""
    return COMMAND if architecture == PHONES else f"{COMMAND} --architecture {architecture}"


def bundle_folder(architecture: str, litert: str) -> Path:
    """Where the bundle of an architecture and a version of LiteRT belongs."""
    return user_cache() / "bundles" / f"{architecture}-litert-{litert}"


def litert_version() -> str:
    """The version of LiteRT on this machine; phones run the same.

    Raises:
        DeviceError: It is not installed.
    """
    try:
        return importlib.metadata.version("ai-edge-litert")
    except importlib.metadata.PackageNotFoundError as error:
        raise DeviceError(
            "expected the Python package ai-edge-litert, found none", "pip install ai-edge-litert"
        ) from error


def find_bundle(architecture: str = PHONES) -> Bundle | None:
    """The bundle that was built for an architecture, or None.

    Raises:
        DeviceError: LiteRT is not installed here, or the bundle's files were changed.
    """
    folder = bundle_folder(architecture, litert_version())
    try:
        values = json.loads((folder / MANIFEST).read_text())
    except FileNotFoundError:
        return None
    bundle = Bundle(folder, values["architecture"], values["litert"], values["files"], values["sources"])
    changed = [name for name, digest in bundle.files.items() if not _has_digest(folder / name, digest)]
    if changed:
        raise DeviceError(
            f"{folder}: expected the files that were built; {', '.join(changed)} is missing or was changed",
            f"remove the folder and build it again: {build_command(architecture)}",
        )
    return bundle


def build_bundle(architecture: str = PHONES) -> Bundle:
    """The bundle of an architecture, built where it is not there yet.

    Args:
        architecture: Name in :data:`ARCHITECTURES`.

    Raises:
        DeviceError: A package, the wheel or the compiler cannot be had; the message says which.
    """
    if architecture not in ARCHITECTURES:
        raise DeviceError(
            f"bundles are built for {', '.join(ARCHITECTURES)}; got {architecture!r}",
            "time models there with a benchmark_model of your own: see the page on phones",
        )
    version = litert_version()
    folder = bundle_folder(architecture, version)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f"{folder.name}.lock"):
        found = find_bundle(architecture)
        if found is not None:
            return found
        with TemporaryDirectory(dir=folder.parent, prefix="building-") as scratch:
            made = put_together(ARCHITECTURES[architecture], version, Path(scratch))
            shutil.rmtree(folder, ignore_errors=True)  # a folder without a manifest is what a killed build left
            made.rename(folder)
    built = find_bundle(architecture)
    assert built is not None
    return built


def put_together(target: Architecture, version: str, scratch: Path) -> Path:
    """Make a bundle in a scratch folder; the folder of its files."""
    folder = scratch / "bundle"
    folder.mkdir()
    shelf = PackageShelf(scratch / "packages")
    shelf.update()
    native = platform.machine() == target.name
    names = _PACKAGES if native else tuple(f"{name}-{target.debian}-cross" for name in _PACKAGES)
    sources = shelf.fetch(names)
    for name in (target.loader, *_LIBRARIES):
        shutil.copyfile(_find_library(shelf.root, target, name), folder / name)
    wheel = download_wheel(version, target, scratch)
    with zipfile.ZipFile(wheel) as archive:
        (folder / "libLiteRt.so").write_bytes(archive.read("ai_edge_litert/libLiteRt.so"))
    compile_runner(target, shelf, folder / "runner", native=native)
    for name in (target.loader, "runner"):
        (folder / name).chmod(0o755)
    manifest = {
        "architecture": target.name,
        "litert": version,
        "files": {path.name: _digest(path) for path in sorted(folder.iterdir())},
        "sources": {path.name: _digest(path) for path in [*sources, wheel]},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
    return folder


def download_wheel(version: str, target: Architecture, folder: Path) -> Path:
    """LiteRT's wheel for an architecture, through pip."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--platform", f"manylinux_2_27_{target.name}", "--dest", str(folder), f"ai-edge-litert=={version}"]
    run_tool(command, f"expected to fetch the wheel of ai-edge-litert {version}", "check the connection and pip")
    return next(folder.glob("ai_edge_litert-*.whl"))


def compile_runner(target: Architecture, shelf: PackageShelf, output: Path, *, native: bool) -> None:
    """Compile the runner with this machine's compiler, or else with Debian's, unpacked for the purpose."""
    source = data_folder("profilers") / "runners" / "litert_native" / "runner.c"
    names = ("cc", "gcc") if native else (f"{target.triple}-gcc",)
    compiler = next((found for name in names if (found := shutil.which(name))), None)
    command = [compiler] if compiler else unpack_compiler(target, shelf, native=native)
    hint = "report it with this message"
    arguments = [*_FLAGS, "-o", str(output), source.name, "-ldl"]
    run_tool([*command, *arguments], f"expected to compile {source}", hint, folder=source.parent)


def unpack_compiler(target: Architecture, shelf: PackageShelf, *, native: bool) -> list[str]:
    """Debian's compiler for an architecture, and how to start it where it lies."""
    names = ("gcc", "libc6-dev") if native else (f"gcc-{target.triple}", f"libc6-dev-{target.debian}-cross")
    shelf.fetch(names, dependencies=True)
    libraries = shelf.root / "usr" / "lib" / ARCHITECTURES[platform.machine()].triple
    system = shelf.root / "usr" if native else shelf.root / "usr" / target.triple
    programs = list((shelf.root / "usr" / "bin").glob(f"{target.triple}-gcc-[0-9]*"))
    if not programs:
        raise DeviceError(f"expected a compiler for {target.triple} in Debian's packages, found none", "install one")
    environment = ["env", f"LD_LIBRARY_PATH={libraries}", f"PATH={shelf.root / 'usr' / 'bin'}:/usr/bin:/bin"]
    return [
        *environment,
        str(max(programs)),
        f"--sysroot={shelf.root}",
        "-isystem",
        str(system / "include"),
        "-B",
        str(system / "lib"),
        "-L",
        str(system / "lib"),
    ]


def _find_library(root: Path, target: Architecture, name: str) -> Path:
    folders = [root / "usr" / target.triple / "lib"]  # of packages for another architecture
    folders += [root / prefix / target.triple for prefix in ("usr/lib", "lib")]
    folders += [root / "lib64", root / "usr/lib64"]
    for folder in folders:
        path = folder / name
        if path.exists():
            return path.resolve()
    raise DeviceError(f"expected {name} in Debian's packages for {target.debian}, found none", "report it")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _has_digest(path: Path, digest: str) -> bool:
    return path.is_file() and _digest(path) == digest
