"""Compiling a model in a process of its own, which gives way to the others, proves the result, keeps it, and ends."""

from __future__ import annotations

import ctypes
import gc
import hashlib
import logging
import os
import platform
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

import dragoman
from dragoman import children
from dragoman.children import Child, ChildDied
from dragoman.compiled import Made
from dragoman.errors import ServeError
from dragoman.manifest import ModelDeployment
from dragoman.messages import Boot, Compile
from dragoman.storage.compiled import CompiledModels

if TYPE_CHECKING:
    from dragoman.predictors import Predictor

_BEGINS = b"compiling\n"  # comes first where there is nothing in the cache
_NICE = 10  # a tenth of a core where workers want all of it; at 19, a hundredth, a busy server would not be done in time
_PR_SET_PDEATHSIG = 1  # Linux, sys/prctl.h

logger = logging.getLogger("dragoman.loader")


class Compilation(Child):
    """One child that compiles a model."""

    _told = False

    def begins(self) -> bool:
        """Whether it makes something, and does not just find it: true once."""
        if self._told or not self.said.startswith(_BEGINS):
            return False
        self._told = True
        return True

    def verdict(self) -> Made:
        """Of one that is done."""
        if self.late:
            return Made(failure=f"compiling was not done within {self.limit_seconds:g} s")
        try:
            return msgspec.json.decode(self.answer().removeprefix(_BEGINS), type=Made)
        except ChildDied as died:
            why = f"the kernel ended it for memory ({died})" if self.out_of_memory else str(died)
            return Made(failure=f"the process that compiled it ended: {why}", died=True)


def begin(boot: Boot, asked: Compile, manifest: ModelDeployment, predictor: Predictor | None, leave: children.Leave) -> Compilation:
    """`predictor`: the original, where this process has it; else the child loads it for itself."""
    if not boot.settings.fork:
        role = msgspec.structs.replace(boot, role="compile", channel_fd=-1, compile=asked)
        return Compilation(*children.fresh(role), asked.timeout_seconds)
    return Compilation(*children.forked(lambda out: answer(out, boot, asked, manifest, predictor), leave), asked.timeout_seconds)


def answer(out: children.Out, boot: Boot, asked: Compile, manifest: ModelDeployment, predictor: Predictor | None) -> None:
    """In the child: all that it does."""
    gc.freeze()  # what the loader, which does not collect, made; it stays shared
    gc.enable()
    os.close(boot.listener_fd)  # a drain closes it; this process must not keep it open
    _give_way(boot.lifeline_fd)
    try:
        made = _made(out, boot, asked, manifest, predictor)
    except ServeError as error:
        made = Made(failure=f"{error.reason}: {error.message}")
    except Exception as error:
        logger.exception("compiling failed", extra={"model": asked.load.model})
        made = Made(failure=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
    out.write(msgspec.json.encode(made))


def _made(out: children.Out, boot: Boot, asked: Compile, manifest: ModelDeployment, predictor: Predictor | None) -> Made:
    from dragoman import compiling

    kept = CompiledModels(Path(asked.cache), asked.cache_bytes, Path(asked.scratch))
    key = key_of(manifest, asked.load.digest, compiling.versions())
    found = kept.find(key)
    if found is not None:
        return Made(folder="" if found[1].reason else str(found[0]), compiled=found[1], kept=True)
    out.write(_BEGINS)
    out.flush()
    if predictor is None:
        from dragoman import loading

        predictor = loading.load_model(asked.load, manifest, boot.settings).predictor
    with kept.draft() as draft:
        compiled = compiling.compile_model(predictor, draft)
        folder = kept.publish(draft, key, compiled)
    return Made(folder="" if compiled.reason else str(folder), compiled=compiled)


def key_of(manifest: ModelDeployment, digest: str, versions: Mapping[str, str]) -> str:
    """64 hex digits: what a compiled model depends on, besides the code of this version."""
    model, batching = manifest.spec.model, manifest.spec.serving.batching
    depends: list[object] = [dragoman.__version__, digest, model.format, model.inputs, model.outputs, batching.rows_independent]
    depends += [sorted(versions.items()), platform.python_version(), platform.machine()]
    return hashlib.sha256(msgspec.json.encode(depends)).hexdigest()


def _give_way(lifeline: int) -> None:
    """Behind the workers for the CPU, first to be ended for memory, and gone when its parent or the server is."""
    os.nice(_NICE)
    if sys.platform == "linux":
        try:
            Path("/proc/self/oom_score_adj").write_text("1000")
        except OSError:  # a sandbox without it
            logger.debug("oom_score_adj cannot be written")
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

    def watch() -> None:
        os.read(lifeline, 1)  # nothing ever comes: it returns when the supervisor has ended
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
