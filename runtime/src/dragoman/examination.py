"""Examining a model in a process of its own, which loads it, predicts with it, tells what it saw, and ends.

What such a child does to itself (threads that OpenMP starts, memory that it takes, a crash) is gone with it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import msgspec

from dragoman import children
from dragoman.children import Child, ChildDied
from dragoman.errors import LoadTimeout, ModelLoadFailed, OutOfMemory, ServeError
from dragoman.examined import Examined
from dragoman.manifest import ModelDeployment
from dragoman.messages import Boot, Load

CANARY_SECONDS = 60.0  # a forked child must have predicted one row by then

_SHARED = frozenset(["numpy", "scipy", "pandas", "joblib", "sklearn", "xgboost", "lightgbm", "cloudpickle"])  # may be forked once imported


class Examination(Child):
    """One child that tries a model."""

    @classmethod
    def fork(cls, work: Callable[[], Examined], limit_seconds: float | None, leave: Callable[[], None]) -> Examination:
        """`leave` lets go, in the child, of what is its parent's."""

        def answer(out: children.Out) -> None:
            out.write(msgspec.json.encode(examine_safely(work)))

        return cls(*children.forked(answer, leave), limit_seconds)

    @classmethod
    def fresh(cls, boot: Boot, load: Load, limit_seconds: float | None) -> Examination:
        return cls(*children.fresh(msgspec.structs.replace(boot, role="examine", channel_fd=-1, loads=[load])), limit_seconds)

    def result(self) -> Examined:
        """Of one that is done. Raises `ChildDied`."""
        if self.late:
            raise ChildDied(f"a predict in a forked process did not end within {self.limit_seconds:g} s")
        return msgspec.json.decode(self.answer(), type=Examined)

    def verdict(self, name: str) -> Examined:
        """As `result`, and with the reason why there is none. `name`: of the model's file, for messages."""
        try:
            return self.result()
        except ChildDied as died:
            error: ServeError = ModelLoadFailed(f"{name}: the process that loaded it ended: {died}")
            if self.late:
                error = LoadTimeout(f"{name} was not loaded within {self.limit_seconds:g} s (serving.limits.loadTimeoutSeconds)")
            elif self.out_of_memory:
                error = OutOfMemory(f"the kernel ended the process that loaded {name}: give the pod more memory")
            return Examined(reason=error.reason, message=error.message)


def begin(boot: Boot, load: Load, manifest: ModelDeployment, limit_seconds: float | None, leave: Callable[[], None]) -> Examination:
    """Load, and predict, in a child: forked, or fresh where processes are not to be forked."""
    if not boot.settings.fork:
        return Examination.fresh(boot, load, limit_seconds)
    return Examination.fork(lambda: loaded_and_examined(load, manifest, boot), limit_seconds, leave)


def loaded_and_examined(load: Load, manifest: ModelDeployment, boot: Boot) -> Examined:
    from dragoman import loading

    return with_libraries(lambda: loading.examine(load, manifest, loading.load_model(load, manifest, boot.settings)))


def with_libraries(work: Callable[[], Examined]) -> Examined:
    """And what it imported of the libraries that its parent may import, too."""
    before = set(sys.modules)
    examined = work()
    libraries = [name for name in sys.modules if name not in before and name.partition(".")[0] in _SHARED]
    return msgspec.structs.replace(examined, libraries=libraries)


def examine_safely(work: Callable[[], Examined]) -> Examined:
    """The child's result, or its `ServeError` as a value."""
    try:
        return work()
    except ServeError as error:
        return Examined(reason=error.reason, message=error.message)
