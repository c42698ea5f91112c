import itertools
import threading
import time
from pathlib import Path

from nasc.quiet import Quiet, alone, give_way, working


def test_who_measures_waits_for_the_others_to_give_way_and_they_wait_for_the_end(tmp_path: Path) -> None:
    """Two workers step all the time; while one measures, no step of the other may happen."""
    steps: list[float] = []
    spans: list[tuple[float, float]] = []
    over = threading.Event()

    def work() -> None:
        quiet = Quiet(tmp_path)
        quiet.enter()
        while not over.is_set():
            steps.append(time.monotonic())
            time.sleep(0.001)
            quiet.give_way()
        quiet.close()

    thread = threading.Thread(target=work)
    thread.start()
    mine = Quiet(tmp_path)
    mine.enter()
    for _ in range(5):
        with mine.alone():
            began = time.monotonic()
            time.sleep(0.02)
            spans.append((began, time.monotonic()))
        time.sleep(0.01)
    mine.close()
    over.set()
    thread.join()
    assert len(steps) > 5
    # The step that was running when the measurer asked ends before it begins: its start may not lie inside.
    assert not [step for step in steps for began, ended in spans if began < step < ended]


def test_two_that_measure_come_one_after_the_other(tmp_path: Path) -> None:
    spans: list[tuple[float, float]] = []

    def measure() -> None:
        quiet = Quiet(tmp_path)
        quiet.enter()
        for _ in range(3):
            with quiet.alone():
                began = time.monotonic()
                time.sleep(0.01)
                spans.append((began, time.monotonic()))
        quiet.close()

    threads = [threading.Thread(target=measure) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spans.sort()
    assert len(spans) == 9
    assert all(ended <= began for (_, ended), (began, _) in itertools.pairwise(spans))


def test_outside_of_a_trial_nothing_is_locked(nasc_home: Path) -> None:
    with alone():
        give_way()
    assert not (nasc_home / "quiet").exists()


def test_a_trial_may_stand_inside_a_trial(nasc_home: Path) -> None:
    with working(), working(), alone():
        give_way()
    assert (nasc_home / "quiet").is_dir()
