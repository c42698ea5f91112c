import signal
import threading

import pytest

from nasc.training.interrupt import deferred_interrupt


def press():
    signal.raise_signal(signal.SIGINT)


def work(presses, done):
    """Note what was reached, with Ctrl-C pressed so many times in the middle."""
    with deferred_interrupt() as pressed:
        done.append(pressed())
        for _ in range(presses):
            press()
        done.append(pressed())


def test_the_first_ctrl_c_is_held_back_to_the_end():
    done = []
    with pytest.raises(KeyboardInterrupt):
        work(1, done)
    assert done == [False, True]


def test_a_second_ctrl_c_takes_effect_at_once():
    done = []
    with pytest.raises(KeyboardInterrupt):
        work(2, done)
    assert done == [False]


def test_the_handler_from_before_is_put_back_whatever_happens():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="inside"), deferred_interrupt():
        raise ValueError("inside")
    assert signal.getsignal(signal.SIGINT) is before


def test_another_thread_is_left_alone():
    seen = []

    thread = threading.Thread(target=work, args=(0, seen))
    thread.start()
    thread.join()
    assert seen == [False, False]
