"""Does what a row's `order` says: raises, kills its process, sleeps, answers too little. Else it doubles `value`."""

import os
import signal
import time

import dragoman


class OnOrder(dragoman.Model):
    inputs = {"order": "string", "value": "number"}
    rows_independent = True

    def predict(self, table):  # type: ignore[no-untyped-def]
        frame = table.to_frame()
        orders = set(frame["order"])
        if "raise" in orders:
            raise RuntimeError("told to raise")
        if "die" in orders:
            os.kill(os.getpid(), signal.SIGKILL)
        if "sleep" in orders:
            time.sleep(float(frame["value"].max()))
        if "short" in orders:
            return frame["value"].to_numpy()[1:]
        return frame["value"].to_numpy() * 2
