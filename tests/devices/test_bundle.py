import json
import shutil
from pathlib import Path

import pytest

from nasc.devices.bundle import ARCHITECTURES, Bundle, build_bundle, find_bundle
from nasc.devices.bundle.build import MANIFEST, bundle_folder, compile_runner, litert_version, put_together
from nasc.devices.bundle.packages import PackageShelf, run_tool
from nasc.errors import DeviceError


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here_bundle: Bundle) -> Bundle:
    """A bundle in a cache of its own."""
    monkeypatch.setenv("NASC_CACHE", str(tmp_path / "cache"))
    folder = bundle_folder(here_bundle.architecture, litert_version())
    shutil.copytree(here_bundle.folder, folder)
    manifest = {
        "architecture": here_bundle.architecture,
        "litert": litert_version(),
        "files": dict(here_bundle.files),
        "sources": {},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest))
    found = find_bundle(here_bundle.architecture)
    assert found is not None
    return found


def test_a_bundle_that_is_there_is_not_built_again(kept: Bundle) -> None:
    assert build_bundle(kept.architecture) == kept


def test_a_changed_file_is_noticed(kept: Bundle) -> None:
    (kept.folder / "runner").write_bytes(b"another program")
    with pytest.raises(DeviceError, match="runner is missing or was changed") as caught:
        find_bundle(kept.architecture)
    assert "nasc devices --build-bundle" in caught.value.hint


def test_a_build_that_was_killed_counts_as_none(kept: Bundle) -> None:
    (kept.folder / MANIFEST).unlink()
    assert find_bundle(kept.architecture) is None


def test_the_identity_changes_with_any_byte(kept: Bundle) -> None:
    names = dict(kept.files)
    first = sorted(names)[0]
    other = Bundle(kept.folder, kept.architecture, kept.litert, {**names, first: "0" * 64}, {})
    assert other.identity != kept.identity
    assert Bundle(kept.folder, kept.architecture, "9.9", dict(reversed(names.items())), {}).identity == kept.identity


def test_another_processor_is_refused() -> None:
    with pytest.raises(DeviceError, match="bundles are built for aarch64, x86_64; got 'armv7l'"):
        build_bundle("armv7l")


def test_without_apt_the_way_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(DeviceError, match="expected the program apt-get, found none") as caught:
        PackageShelf(tmp_path).update()
    assert "Debian or Ubuntu" in caught.value.hint


def test_a_tool_that_fails_is_told_with_its_error() -> None:
    with pytest.raises(DeviceError, match=r"expected to try; sh ended with status 4: error: no such thing"):
        run_tool(
            ["sh", "-c", "echo warning; echo error: no such thing >&2; echo bye >&2; exit 4"], "expected to try", ""
        )


def test_the_same_sources_give_the_same_bytes(tmp_path: Path) -> None:
    import os

    machine = os.uname().machine
    if machine not in ARCHITECTURES or shutil.which("cc") is None:
        pytest.skip("needs a C compiler")
    outputs = []
    for name in ("one", "another"):
        (tmp_path / name).mkdir()
        outputs.append(tmp_path / name / "runner")
        compile_runner(ARCHITECTURES[machine], PackageShelf(tmp_path / "none"), outputs[-1], native=True)
    assert outputs[0].read_bytes() == outputs[1].read_bytes()


def test_the_arm64_bundle_holds_what_its_command_starts(arm_bundle: Bundle) -> None:
    assert {"ld-linux-aarch64.so.1", "runner", "libLiteRt.so", "libc.so.6"} <= set(arm_bundle.files)
    assert arm_bundle.command.startswith("./ld-linux-aarch64.so.1 --library-path . ./runner")
    header = (arm_bundle.folder / "runner").read_bytes()[:20]
    assert header[:4] == b"\x7fELF"
    assert header[18] == 0xB7  # EM_AARCH64
    assert any(name.endswith(".whl") for name in arm_bundle.sources)


@pytest.mark.slow
def test_the_arm64_bundle_is_the_same_when_built_again(arm_bundle: Bundle, tmp_path: Path) -> None:
    folder = put_together(ARCHITECTURES["aarch64"], arm_bundle.litert, tmp_path)
    again = json.loads((folder / MANIFEST).read_text())
    assert again["files"] == dict(arm_bundle.files)
