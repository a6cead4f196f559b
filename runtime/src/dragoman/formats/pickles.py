"""What a pickle holds, read from its opcodes: it is never run.

It tells which format a file is, and nothing about whether it is safe: every pickle runs code when it is loaded.
"""

from __future__ import annotations

import bz2
import io
import lzma
import pickletools
import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import msgspec

_MAX_OPCODES = 20_000
_MAX_HEAD_BYTES = 1024 * 1024  # after decompression
_PROSE_OPCODES = 50
_NEWEST_PROTOCOL = 5

# joblib's compressors (and gzip, bzip2 and xz as the tools of those names write them), by their first bytes
_COMPRESSIONS: tuple[tuple[str, bytes, Callable[[bytes], bytes]], ...] = (
    ("gzip", b"\x1f\x8b", lambda head: zlib.decompressobj(31).decompress(head, _MAX_HEAD_BYTES)),
    ("zlib", b"\x78", lambda head: zlib.decompressobj().decompress(head, _MAX_HEAD_BYTES)),
    ("bz2", b"BZh", lambda head: bz2.BZ2Decompressor().decompress(head, _MAX_HEAD_BYTES)),
    ("xz", b"\xfd7zXZ\x00", lambda head: lzma.LZMADecompressor().decompress(head, _MAX_HEAD_BYTES)),
    ("lzma", b"\x5d\x00\x00", lambda head: lzma.LZMADecompressor(lzma.FORMAT_ALONE).decompress(head, _MAX_HEAD_BYTES)),
)

_STRINGS = frozenset({"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE", "SHORT_BINSTRING", "BINSTRING", "STRING"})
_RECONSTRUCTORS = frozenset({"copyreg._reconstructor", "copy_reg._reconstructor", "copyreg.__newobj_ex__"})


class Pickle(msgspec.Struct, frozen=True):
    """What the first opcodes of a pickle name."""

    root: str | None  # the class (or function) that makes the object: "sklearn.pipeline.Pipeline"; None for a plain list or dict
    names: frozenset[str]  # every global named so far
    compression: str | None = None

    @property
    def packages(self) -> frozenset[str]:
        """The top-level packages that are named: {"sklearn", "numpy"}."""
        return frozenset(name.partition(".")[0] for name in self.names)


def read_pickle(head: bytes) -> Pickle | None:
    """What the first bytes of a file say, if they are a pickle's, compressed or not; None if they are not."""
    for name, magic, decompress in _COMPRESSIONS:
        if head.startswith(magic):
            try:
                inner = decompress(head)
            except (zlib.error, OSError, lzma.LZMAError):
                return None
            found = _scan(inner)
            return None if found is None else Pickle(found.root, found.names, name)
    return _scan(head)


def _scan(head: bytes) -> Pickle | None:
    binary = len(head) > 2 and head[0] == 0x80 and 2 <= head[1] <= _NEWEST_PROTOCOL
    opcodes = list(islice(_opcodes(head), _MAX_OPCODES))
    names = list(_globals(opcodes))
    if not binary and not _is_text_pickle(opcodes, names):
        return None
    return Pickle(next((name for name in names if name not in _RECONSTRUCTORS), None), frozenset(names))


def _is_text_pickle(opcodes: Sequence[tuple[str, Any]], names: Sequence[str]) -> bool:
    """Protocols 0 and 1 have no magic, and prose may begin as they do: but it does not go on for long, nor end as they do."""
    return (bool(names) and len(opcodes) >= _PROSE_OPCODES) or (len(opcodes) > 1 and opcodes[-1][0] == "STOP")


def _globals(opcodes: Sequence[tuple[str, Any]]) -> Iterator[str]:
    """The globals, in the order in which the opcodes name them."""
    recent: list[str | None] = []
    memo: dict[int, str | None] = {}
    for opcode, argument in opcodes:
        if opcode == "MEMOIZE":
            memo[len(memo)] = recent[-1] if recent else None
        elif opcode in ("BINPUT", "LONG_BINPUT", "PUT"):
            memo[int(argument)] = recent[-1] if recent else None
        elif opcode in ("BINGET", "LONG_BINGET", "GET"):
            recent.append(memo.get(int(argument)))
        elif opcode in _STRINGS:
            recent.append(argument)
        elif opcode in ("GLOBAL", "INST"):
            yield str(argument).replace(" ", ".")
            recent.append(None)
        elif opcode == "STACK_GLOBAL":
            module, name = recent[-2:] if len(recent) > 1 else (None, None)
            if module and name:
                yield f"{module}.{name}"
            recent.append(None)
        elif opcode not in ("PROTO", "FRAME"):
            recent.append(None)
        del recent[:-8]


def _opcodes(head: bytes) -> Iterator[tuple[str, Any]]:
    """Until the head ends, or stops being a pickle: joblib puts arrays between."""
    try:
        for opcode, argument, _ in pickletools.genops(io.BytesIO(head)):
            yield opcode.name, argument
    except Exception:  # noqa: BLE001 - genops reports bytes that are no opcodes in many ways; what was read so far stands
        return
