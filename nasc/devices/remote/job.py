"""Long work on the device, detached from the link: a break loses nothing, and nothing is started twice."""

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from nasc.devices.remote.link import Link
from nasc.devices.remote.store import Store
from nasc.errors import RunnerError

_FIRST_POLL_S, _LONGEST_POLL_S = 0.05, 2.0
_END = "nasc-end-of-file"
_START_S = 20.0  # a device under load may take this long to start a process ...
_RESTART_S = 3.0  # ... and one that was lost meanwhile may have restarted before it did
_MISSES = 2  # polls in a row that find neither the process nor its result


@dataclass(frozen=True)
class JobResult:
    """What a finished job left: the exit status of its script, and the files it wrote by name."""

    status: int
    files: Mapping[str, bytes]


class JobGone(RunnerError):  # noqa: N818 - reads as the condition it names
    """A job ended without a result: the device restarted, or its process was killed."""


def run_job(
    store: Store, script: str, inputs: Mapping[str, str], outputs: tuple[str, ...], timeout_s: float
) -> JobResult:
    """Run a script on the device to its end.

    Args:
        store: Where on the device; the job has a folder of its own there while it lasts.
        script: For ``sh``; it starts in the job's folder.
        inputs: Texts that it finds there as files, by name; each ends with a line's end.
        outputs: Files to bring back; one that is missing counts as empty.
        timeout_s: The job is stopped when it takes longer.

    Raises:
        JobGone: It ended without a result.
        RunnerError: It did not end in time.
        DeviceError: The device was lost for longer than the link's patience.
    """
    name = f"job-{secrets.token_hex(6)}"
    folder = f"{store.folder}/jobs/{name}"
    _send(store, name, _wrap(folder, {**inputs, "work.sh": script}, outputs))
    breaks = store.link.breaks
    # the folder `started` is made only once: asked again after a break, this line starts nothing
    detached = f"nohup setsid sh {folder}/job.sh </dev/null >/dev/null 2>&1 &"
    # the terminal's hang-up must find it in a session of its own: it is ignored, and the shell stays until it is there
    wait = f"for i in $(seq 50); do [ -e {folder}/pid ] && break; sleep 0.1; done"
    start = f"mkdir {folder}/started 2>/dev/null && {{ trap '' HUP; {detached} }}; {wait}"
    store.link.check(start, "starting the runner")
    try:
        status = _wait(store.link, folder, timeout_s, breaks)
        return JobResult(status, split_files(store.link.pull(f"{folder}/result")))
    finally:
        _remove(store.link, folder)


def stop_orphans(store: Store, cleanup: str = "true") -> None:
    """End what a session that was killed on this side has left running on the device.

    Args:
        store: Where its jobs are.
        cleanup: Shell command to run where one was found.
    """
    jobs = f"{store.folder}/jobs"
    stop = _stop_command('"$job"')
    store.link.run(
        f'found=; for job in {jobs}/job-*; do [ -d "$job" ] || continue; found=1; {stop}; rm -rf "$job"; done; '
        f'if [ -n "$found" ]; then {cleanup}; fi'
    )


def _wrap(folder: str, inputs: Mapping[str, str], outputs: tuple[str, ...]) -> str:
    """The job as one file, for every call over a link costs: it leaves its process id first and the exit status last."""
    writes = [f"cat > {name} <<'{_END}'\n{text.rstrip()}\n{_END}" for name, text in inputs.items()]
    keep = '[ -e $name ] || : > $name; echo "$name $(wc -c < $name)"; cat $name'
    return "\n".join(
        [
            f"cd {folder} || exit 1",
            "echo $$ > pid.part && mv pid.part pid",
            *writes,
            "sh ./work.sh",
            "status=$?",
            f"for name in {' '.join(outputs)}; do {keep}; done > result",
            "echo $status > done.part && mv done.part done",
            "",
        ]
    )


def split_files(content: bytes) -> dict[str, bytes]:
    r"""The files that a job left, from one: a line of name and size before each.

    >>> split_files(b"out 3\nabcerr 0\n")
    {'out': b'abc', 'err': b''}
    """
    files = {}
    while content:
        head, _, content = content.partition(b"\n")
        name, size = head.split()
        files[name.decode()], content = content[: int(size)], content[int(size) :]
    return files


def _send(store: Store, name: str, script: str) -> None:
    with TemporaryDirectory(prefix="nasc-job-") as folder:
        path = Path(folder) / "job.sh"
        path.write_text(script)
        store.ensure({f"jobs/{name}/job.sh": path})


def _wait(link: Link, folder: str, timeout_s: float, breaks: int) -> int:
    begin, wait_s, misses = time.monotonic(), _FIRST_POLL_S, 0
    while True:
        state = link.run(_state_command(folder)).output.split()
        if state[:1] == ["done"]:
            return int(state[1])
        misses = misses + 1 if state == ["gone"] else 0
        elapsed_s = time.monotonic() - begin
        never = state == ["none"] and elapsed_s > (_START_S if link.breaks == breaks else _RESTART_S)
        if misses >= _MISSES or never:
            raise JobGone(
                f"{link.address}: the runner ended without a result; the device restarted or its process was killed",
                "look at the device's memory and battery, then run the same command again",
            )
        if elapsed_s > timeout_s:
            raise RunnerError(
                f"{link.address}: the runner was expected to end within {timeout_s:.0f} s and did not",
                "look for other work on the device, then run the same command again",
            )
        time.sleep(wait_s)
        wait_s = min(1.5 * wait_s, _LONGEST_POLL_S)


def _state_command(folder: str) -> str:
    """Prints none, running, gone or done; asks for life before the result, so that what ends in between is done."""
    known = f"a=none; [ -d {folder} ] || a=gone; p=$(cat {folder}/pid 2>/dev/null) && a=gone"
    alive = f"grep -q {Path(folder).name} /proc/$p/cmdline 2>/dev/null && a=running"
    return f'{known} && {alive}; [ -e {folder}/done ] && a="done $(cat {folder}/done)"; echo $a'


def _stop_command(folder: str) -> str:
    """Ends a job and all its processes; a process id that now belongs to somebody else is left alone."""
    return (
        f"p=$(cat {folder}/pid 2>/dev/null) && "
        f'grep -q "$(basename {folder})" /proc/$p/cmdline 2>/dev/null && '
        "{ kill -9 -- -$p || kill -9 -$p; } 2>/dev/null"  # not every shell knows the two dashes
    )


def _remove(link: Link, folder: str) -> None:
    link.run(f"{_stop_command(folder)}; rm -rf {folder}")
