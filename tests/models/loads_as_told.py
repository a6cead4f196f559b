"""Loads as the environment says, and tells each load: DRAGOMAN_TEST_LOADS names a folder.

There `<pid>-<n>` is written for each load; `slowly` holds the seconds that it takes, `heavy` the MiB; while `broken` is there it raises, in
all processes, or in the one whose pid it holds.
"""

import os
import time
from pathlib import Path

import dragoman


class LoadsAsTold(dragoman.Model):
    inputs = {"value": "number", "seconds": "number"}
    rows_independent = True

    def load(self, folder):  # type: ignore[no-untyped-def]
        told = Path(os.environ["DRAGOMAN_TEST_LOADS"])
        (told / f"{os.getpid()}-{time.monotonic_ns()}").touch()
        if (told / "slowly").exists():
            time.sleep(float((told / "slowly").read_text()))
        if (told / "broken").exists() and (told / "broken").read_text() in ("", str(os.getpid())):
            raise ValueError("broken for now")
        if (told / "heavy").exists():
            self.weights = [bytes(1000) for _ in range(int((told / "heavy").read_text()) * 1024)]

    def predict(self, table):  # type: ignore[no-untyped-def]
        frame = table.to_frame()
        time.sleep(float(frame["seconds"].max()))
        return frame["value"].to_numpy() * 2
