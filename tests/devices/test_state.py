import pytest

from nasc.devices.android.state import PhoneState, heated, parse_state

TEXT = """Thermal Status: 2
  USB powered: true
  level: 87
  temperature: 281
  voltage: 4123
current_ua: -350000
clock 0: 1803000
clock 7: 2802000
clock 8:
"""


def test_heat_battery_and_clocks_are_read() -> None:
    state = parse_state(TEXT)
    assert state.thermal == 2
    assert state.battery_percent == 87
    assert state.battery_celsius == pytest.approx(28.1)
    assert state.voltage_v == pytest.approx(4.123)
    assert state.current_a == pytest.approx(-0.35)
    assert state.clocks_khz == {0: 1803000, 7: 2802000}


@pytest.mark.parametrize("text", ["", "getprop: not found", "current_ua: \nclock 0: "])
def test_a_phone_that_says_nothing_is_not_hot(text: str) -> None:
    assert parse_state(text) == PhoneState()
    assert not heated(parse_state(text), parse_state(text))


@pytest.mark.parametrize(
    ("before", "after", "thrown_away"), [(0, 0, False), (0, 1, True), (2, 0, True), (None, 3, True)]
)
def test_a_session_with_any_heat_is_thrown_away(before: int | None, after: int, thrown_away: bool) -> None:
    assert heated(PhoneState(thermal=before), PhoneState(thermal=after)) is thrown_away
