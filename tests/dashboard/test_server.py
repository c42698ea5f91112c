"""The live dashboard as a server: what it answers, whom it refuses, and what it says when it cannot start."""

import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nasc.dashboard import Dashboard
from nasc.errors import UsageError
from nasc.records import Record, append_record


@pytest.fixture
def dashboard(tmp_path: Path, make_run: Callable[..., Record]) -> Iterator[Dashboard]:
    append_record(make_run(0, history=None), tmp_path / "records.jsonl")
    served = Dashboard([tmp_path], port=0)
    thread = threading.Thread(target=served.serve)
    thread.start()
    yield served
    served.close()
    thread.join()


def ask(dashboard: Dashboard, path: str, host: str | None = None) -> tuple[int, bytes]:
    address = dashboard.url.removeprefix("http://").rstrip("/")
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.request("GET", path, headers={"Host": host or address})
    answer = connection.getresponse()
    status, content = answer.status, answer.read()
    connection.close()
    return status, content


def test_it_answers_with_page_data_and_details(dashboard: Dashboard) -> None:
    status, page = ask(dashboard, "/")
    assert status == 200
    assert b'data-source="live"' in page
    assert json.loads(ask(dashboard, "/data.json")[1])["count"] == 1
    assert json.loads(ask(dashboard, "/blocks/0")[1])[0]["widths"]


@pytest.mark.parametrize("path", ["/blocks/1", "/blocks/-1", "/blocks/x", "/../../etc/passwd", "/record.json"])
def test_nothing_else_is_served(dashboard: Dashboard, path: str) -> None:
    assert ask(dashboard, path)[0] == 404


def test_a_foreign_name_for_this_machine_is_refused(dashboard: Dashboard) -> None:
    assert ask(dashboard, "/data.json", host="evil.example:80")[0] == 403


def test_a_new_record_makes_a_new_version_and_the_same_files_none(
    dashboard: Dashboard, tmp_path: Path, make_run: Callable[..., Record]
) -> None:
    before = dashboard.version
    dashboard.refresh()
    assert dashboard.version == before
    append_record(make_run(1, history=None), tmp_path / "records.jsonl")
    assert json.loads(ask(dashboard, "/data.json")[1])["count"] == 2
    assert dashboard.version == before + 1


def test_a_port_in_use_is_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
            Dashboard([tmp_path], port=port)
