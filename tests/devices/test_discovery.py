import pytest

from nasc.devices.android.discovery import Search, choose_phone, find_phones, open_transport
from nasc.devices.remote import AdbProgram, AdbTcp
from nasc.errors import DeviceError, UsageError


def test_an_address_with_a_port_is_reached_by_tcp_and_a_serial_number_by_adb() -> None:
    assert isinstance(open_transport("192.168.1.7:5555"), AdbTcp)
    assert isinstance(open_transport("1A2B3C4D"), AdbProgram)


def test_phones_on_the_network_are_named_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NASC_PHONES", "10.0.0.1:5555, 10.0.0.2:5555")
    monkeypatch.setenv("PATH", "/nowhere")  # no adb program
    search = find_phones()
    assert search.addresses == ("10.0.0.1:5555", "10.0.0.2:5555")
    assert not search.program


def test_the_only_phone_is_taken() -> None:
    assert choose_phone(Search(("A",), (), program=True), "android") == "A"


def test_of_two_phones_one_must_be_named() -> None:
    with pytest.raises(UsageError, match="expected one phone for android, found 2: A, B") as caught:
        choose_phone(Search(("A", "B"), (), program=True), "android")
    assert caught.value.hint.endswith("--device android@A")


def test_without_a_phone_the_fix_is_named() -> None:
    with pytest.raises(DeviceError, match="no phone for pixel6: adb lists none") as caught:
        choose_phone(Search((), (), program=True), "pixel6")
    assert "USB debugging" in caught.value.hint
    with pytest.raises(DeviceError, match="the adb program is not installed") as caught:
        choose_phone(Search((), (), program=False), "pixel6")
    assert "apt install adb" in caught.value.hint
    assert "--device pixel6@HOST:PORT" in caught.value.hint


def test_a_phone_that_is_there_but_not_usable_tells_more_than_none() -> None:
    problem = DeviceError("A: the phone has not authorised this computer", "unlock it")
    with pytest.raises(DeviceError, match="not authorised"):
        choose_phone(Search((), (problem,), program=True), "pixel6")
