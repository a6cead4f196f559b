"""An inspection as a person reads it, in the width of the terminal."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator, Sequence
from typing import IO, Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from dragoman.call import EXPLAIN
from dragoman.inspection import Inspection
from dragoman.signature import Field, Output, Signature

SHOWN_INPUTS = 30
_WIDE = 10_000  # where nobody looks, nothing is wrapped


def written(told: Inspection, out: IO[bytes]) -> bytes:
    """As text for `out`: in colour and in its width where it is a terminal."""
    terminal = os.isatty(out.fileno())
    text = io.StringIO()
    width = shutil.get_terminal_size().columns if terminal else _WIDE
    Console(file=text, highlight=False, width=width, force_terminal=terminal).print(report(told))
    return "".join(line.rstrip() + "\n" for line in text.getvalue().splitlines()).encode()


def report(told: Inspection) -> RenderableType:
    facts = Table.grid(padding=(0, 1, 0, 0), pad_edge=False)
    facts.add_column(style="bold")
    facts.add_column(overflow="fold")
    for label, value in _facts(told):
        facts.add_row(label, Text(value))
    parts: list[RenderableType] = [facts]
    for warning in told.warnings:
        parts.append(Text(f"warning: {warning}", style="yellow"))
    if told.not_loaded is not None:
        parts.append(Text(f"not loaded: {told.not_loaded}", style="yellow" if told.failure is None else "red"))
    if told.signature is not None:
        parts += _signature(told.signature, saved=told.not_loaded is not None)
    return Group(*parts)


def _facts(told: Inspection) -> Iterator[tuple[str, str]]:
    yield "model", told.name
    yield "from", told.uri
    yield "digest", told.digest
    yield "", "pinned by the manifest" if told.pinned else "not pinned: spec.model.digest can hold it"
    yield "size", f"{_size(told.size)}, {told.files} file{'s' if told.files != 1 else ''}"
    if told.format is not None:
        yield "format", f"{told.format}: {told.file} is {told.what}"
    if told.kind is not None:
        yield "kind", _KINDS[told.kind]
    if told.not_loaded is None:
        yield "rows", _ROWS[bool(told.rows_independent)]
    explained = _explained(told)
    if explained is not None:
        yield "", f"explanations: {explained}"
    if told.versions:
        yield "versions", ", ".join(f"{name} {version}" for name, version in sorted(told.versions.items()))
    if told.saved_with:
        yield "saved", "with " + ", ".join(f"{name} {version}" for name, version in sorted(told.saved_with.items()))


_KINDS = {"data": "data: loading it runs none of its own code", "code": "code: loading it runs code that its bytes carry"}
_KNOWN = {True: "by name, in any order", False: "known by position only, in this order"}
_ROWS = {
    True: "independent: requests are batched together",
    False: "not known to be independent: each request is predicted alone",
}


def _explained(told: Inspection) -> str | None:
    """How, where it was loaded: only then is it known."""
    if told.signature is None or told.not_loaded is not None:
        return None
    output = next((o for o in told.signature.outputs if o.name == EXPLAIN), None)
    if output is None:
        return "none: the model's inputs are not known, or it has no predict"
    return output.how or "the model's own"


def _signature(signature: Signature, *, saved: bool) -> Iterator[RenderableType]:
    yield Text()
    if not signature.inputs:
        yield Text("inputs: not known; every table is passed on as it is. spec.model.inputs can declare them")
    else:
        what = _KNOWN[signature.named] if not saved else "as saved with the model"
        yield Text.assemble((f"inputs ({len(signature.inputs)})", "bold"), f" {what}")
        yield Padding(_inputs(signature.inputs[:SHOWN_INPUTS]), (0, 0, 0, 2))
        if len(signature.inputs) > SHOWN_INPUTS:
            yield Text(f"  … and {len(signature.inputs) - SHOWN_INPUTS} more: --json has them all")
    if signature.outputs:
        yield Text()
        yield Text.assemble(("outputs", "bold"), f" of {signature.target}" if signature.target else "")
        yield Padding(_outputs(signature), (0, 0, 0, 2))


def _inputs(fields: Sequence[Field]) -> Table:
    table = _table("name", "type", "accepts", "example")
    for field in fields:
        table.add_row(Text(field.name), field.type, Text(_accepts(field)), Text("" if field.example is None else _value(field.example)))
    return table


def _outputs(signature: Signature) -> Table:
    table = _table("name", "type", "values a row")
    for output in signature.outputs:
        table.add_row(Text(output.name), output.type, Text(_values(output, signature.classes)))
    return table


def _values(output: Output, classes: Sequence[Any] | None) -> str:
    named = "" if classes is None else ", ".join(str(c) for c in classes[:10]) + (", …" if len(classes) > 10 else "")
    if output.width is None:
        return f"one of {named}" if named and output.name == "predict" else "one"
    if output.width < 0:
        return "not known"
    return f"{output.width}: {named}" if classes is not None and len(classes) == output.width else str(output.width)


def _accepts(field: Field) -> str:
    said = []
    if field.enum:
        said.append(", ".join(_value(v) for v in field.enum[:8]) + (", …" if len(field.enum) > 8 else ""))
    if field.minimum is not None and field.maximum is not None:
        said.append(f"{_value(field.minimum)} to {_value(field.maximum)}")
    elif field.minimum is not None:
        said.append(f"at least {_value(field.minimum)}")
    elif field.maximum is not None:
        said.append(f"at most {_value(field.maximum)}")
    if field.nullable:
        said.append("may be missing")
    if not field.required:
        said.append("may be left out")
    return "; ".join(said)


def _value(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _table(*headers: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=False)
    for header in headers:
        table.add_column(header, overflow="fold")
    return table


def _size(count: int) -> str:
    amount, units = float(count), iter(("B", "KiB", "MiB", "GiB", "TiB"))
    unit = next(units)
    while amount >= 1024 and unit != "TiB":
        amount, unit = amount / 1024, next(units)
    return f"{count} B" if unit == "B" else f"{amount:.1f} {unit}"
