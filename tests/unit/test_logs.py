from __future__ import annotations

import json
import logging
import sys

from dragoman.logs import JsonFormatter, TextFormatter


def record(**extra: object) -> logging.LogRecord:
    made = logging.makeLogRecord(
        {"name": "dragoman", "levelname": "WARNING", "msg": "took %d s", "args": (3,), "created": 0.25, "msecs": 250.0}
    )
    made.__dict__.update(extra)
    return made


def test_a_line_is_one_json_object_with_what_was_added() -> None:
    line = json.loads(JsonFormatter().format(record(request_id="abc", model="iris")))
    assert line == {
        "time": "1970-01-01T00:00:00.250Z",
        "level": "warning",
        "logger": "dragoman",
        "message": "took 3 s",
        "request_id": "abc",
        "model": "iris",
    }


def test_a_stack_trace_stays_inside_the_line() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        made = record(exc_info=sys.exc_info())
    line = JsonFormatter().format(made)
    assert "\n" not in line
    assert "ValueError: two\nlines" in json.loads(line)["exception"]


def test_text_shows_what_was_added_behind_the_message() -> None:
    assert TextFormatter().format(record(model="iris")).endswith("warning took 3 s model=iris")


def test_what_a_client_sent_neither_breaks_a_line_of_text_nor_speaks_to_the_terminal() -> None:
    shown = TextFormatter().format(record(path="/v1/\nerror all is lost\x1b[2J\u202egnp"))
    assert shown.endswith("took 3 s path=/v1/\\nerror all is lost\\x1b[2J\\u202egnp")
