from dataclasses import replace

import pytest

from nasc.devices import LocalCpu, Session, SimulatedDevice, VisitResult
from nasc.measurement import Environment, find_warnings, record_environment
from nasc.measurement.environment import time_taken


def session(wall_s: float, cpu_s: float | None, core: int | None = 0) -> Session:
    return Session((VisitResult(0, (wall_s,), wall_s, cpu_s),), {"core": core})


def test_the_environment_survives_a_round_trip() -> None:
    environment = record_environment(LocalCpu())
    assert Environment.from_dict(environment.to_dict()) == environment
    assert environment.runtime_version != "unknown"


def test_an_unknown_key_is_refused() -> None:
    values = record_environment(SimulatedDevice()).to_dict()
    with pytest.raises(ValueError, match="expected the keys"):
        Environment.from_dict({**values, "weather": "fine"})


def test_time_that_other_programs_took_is_seen() -> None:
    assert time_taken([session(2.0, 1.0), session(2.0, 2.0)]) == pytest.approx(0.25)
    assert time_taken([session(2.0, None)]) is None


def test_a_busy_machine_lost_time_and_no_pinned_core_are_warned_of() -> None:
    environment = replace(record_environment(LocalCpu()), facts={"load_1m": 3.0, "cores": 2})
    warnings = " / ".join(find_warnings(environment, [session(2.0, 1.0, core=None)]))
    assert "load 3.0 on 2 cores" in warnings
    assert "took 50% of the time" in warnings
    assert "did not allow pinning" in warnings


def test_a_quiet_machine_is_not_warned_of() -> None:
    environment = replace(record_environment(LocalCpu()), facts={"load_1m": 0.1, "cores": 2})
    assert find_warnings(environment, [session(2.0, 2.0)]) == ()
