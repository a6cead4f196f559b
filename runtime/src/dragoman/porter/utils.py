"""Encoding and logging as JSON, under the names that code for the porter API knows."""

from __future__ import annotations

import datetime
import json
import logging
from collections.abc import Mapping
from types import TracebackType
from typing import Any


class PythonEncoder(json.JSONEncoder):
    """JSON's encoder, and dates, sets, exceptions and tracebacks."""

    def default(self, o: Any) -> Any:
        if isinstance(o, datetime.date | datetime.time):
            return o.isoformat()
        if isinstance(o, set | frozenset):
            return list(o)
        if isinstance(o, BaseException):
            return repr(o)
        if isinstance(o, TracebackType):
            import traceback

            return "".join(traceback.format_tb(o))
        return super().default(o)


class NumpyEncoder(json.JSONEncoder):
    """JSON's encoder, and what numpy and pandas hold."""

    def default(self, o: Any) -> Any:
        for name in ("tolist", "to_dict"):  # scalars and arrays; frames
            method = getattr(o, name, None)
            if callable(method):
                return method()
        return super().default(o)


class AppEncoder(NumpyEncoder, PythonEncoder):
    """Both; anything else as its own text."""

    def default(self, o: Any) -> Any:
        try:
            return super().default(o)
        except TypeError:
            return str(o)


class JSONLogFormatter(logging.Formatter):
    """One JSON object a line, of the fields named: attributes of the record, `message`, `asctime`, what a call passed as `extra`.

    A field that a record does not have is null. An exception adds `exc_info` and `exc_text`.
    """

    def __init__(self, *fields: str, indent: int | None = None, encoder: type[json.JSONEncoder] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fields, self.indent, self.encoder = tuple(dict.fromkeys(fields)), indent, encoder or AppEncoder

    def format(self, record: logging.LogRecord) -> str:
        line = {field: self._value(field, record) for field in self.fields}
        if record.exc_info:
            record.exc_text = record.exc_text or self.formatException(record.exc_info)
            line |= {"exc_info": record.exc_info, "exc_text": record.exc_text}
        if record.stack_info:
            line["stack_info"] = record.stack_info
        return json.dumps(line, cls=self.encoder, indent=self.indent)

    def _value(self, field: str, record: logging.LogRecord) -> Any:
        if field == "message":
            return record.msg if isinstance(record.msg, Mapping) else record.getMessage()
        return self.formatTime(record, self.datefmt) if field == "asctime" else getattr(record, field, None)


JSONFormatter = JSONLogFormatter  # its earlier name
