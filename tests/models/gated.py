"""Writes down each call in $GATED_HOME/calls and waits there while the file `closed` exists; raises at a negative value."""

import json
import os
import time
from pathlib import Path

import dragoman


class Gated(dragoman.Model):
    def predict(self, X, scale=1.0):  # type: ignore[no-untyped-def]
        home = Path(os.environ["GATED_HOME"])
        rows = X.to_numpy()
        with (home / "calls").open("a") as calls:
            calls.write(json.dumps([rows.tolist(), scale]) + "\n")
        time.sleep(0.02)  # never fast enough to be called on the event loop
        while (home / "closed").exists():
            time.sleep(0.01)
        with (home / "ended").open("a") as ended:
            ended.write(json.dumps(rows.tolist()) + "\n")
        if (rows < 0).any():
            raise RuntimeError("told to raise,\nat length")
        return rows[:, 0] * scale
