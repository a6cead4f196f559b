"""Kills its process while it loads."""

import os
import signal

import dragoman


class DiesLoading(dragoman.Model):
    inputs = {"a": "number"}

    def load(self, folder):  # type: ignore[no-untyped-def]
        os.kill(os.getpid(), signal.SIGKILL)

    def predict(self, table):  # type: ignore[no-untyped-def]
        return table.to_numpy()[:, 0]
