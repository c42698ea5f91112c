from typing import Any

import pytest

from nasc.devices.bundle import Bundle
from nasc.devices.status import list_devices


def statuses() -> dict[str, Any]:
    return {status.name: status for status in list_devices()}


@pytest.fixture
def no_adb(monkeypatch: pytest.MonkeyPatch) -> None:
    """No adb program, so that no phone of whoever runs the tests is asked."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("NASC_PHONES", raising=False)


def test_without_adb_and_phones_every_phone_says_what_to_install(no_adb: None) -> None:
    status = statuses()["pixel6"]
    assert not status.ready
    assert status.missing == "no phone for pixel6: the adb program is not installed"
    assert status.fix == "apt install adb, or use a phone on the network: --device pixel6@HOST:PORT"


def test_a_remote_machine_says_how_it_is_named(no_adb: None) -> None:
    assert statuses()["ssh"].fix == "--device ssh@user@host"


def test_a_phone_that_does_not_answer_is_not_waited_for(no_adb: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NASC_PHONES", "127.0.0.1:1")
    status = statuses()["android"]
    assert not status.ready
    assert "127.0.0.1:1: expected a phone that answers" in status.missing


def test_a_phone_in_reach_is_listed_under_its_own_name(
    arm_phone: Any, arm_bundle: Bundle, no_adb: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NASC_PHONES", arm_phone.address)
    found = statuses()
    for name in ("pixel6", "android"):
        assert found[name].ready
        assert found[name].addresses == (arm_phone.address,)
        assert found[name].facts["origin"] == "emulated"
    assert found["pixel7"].missing == f"no Pixel 7 or its Pro in reach; found Pixel 6 at {arm_phone.address}"


def test_without_the_bundle_the_command_that_builds_it_is_named(
    arm_phone: Any, tmp_path: Any, no_adb: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NASC_PHONES", arm_phone.address)
    monkeypatch.setenv("NASC_CACHE", str(tmp_path))
    status = statuses()["pixel6"]
    assert status.missing == "the bundle for aarch64 is not built yet"
    assert status.fix == "nasc devices --build-bundle"
