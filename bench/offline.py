"""Case F: 100,000 rows of CSV through `dragoman predict`, against a script of pandas and the model. Both from the command to the file."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
from bench import models
from bench.contest import WORK
from bench.findings import Results
from bench.quiet import Quiet

ROWS = 100_000
_SCRIPT = """
import sys, joblib, pandas as pd
model, source, target = sys.argv[1:]
pd.DataFrame({"predict": joblib.load(model).predict(pd.read_csv(source).to_numpy())}).to_csv(target, index=False)
"""


def file_of_rows() -> Path:
    path = WORK / f"rows-{ROWS}.csv"
    if not path.exists():
        table = models.rows_of("hist", ROWS)
        pd.DataFrame(table, columns=[f"x{i}" for i in range(table.shape[1])]).to_csv(path, index=False)
    return path


def predict_file(results: Results, quiet: Quiet, rounds: int) -> None:
    source, model = file_of_rows(), models.model("hist")
    answers = {name: WORK / f"answers-{name}.csv" for name in ("ours", "pandas")}
    commands = {
        "pandas": [sys.executable, "-c", _SCRIPT, str(model), str(source), str(answers["pandas"])],
        "ours": [sys.executable, "-m", "dragoman", "predict", str(model), "--input", str(source), "--output", str(answers["ours"])],
    }
    for turn in range(rounds + 1):
        with quiet.alone():
            for name, command in commands.items():
                answers[name].unlink(missing_ok=True)
                began = time.monotonic()
                subprocess.run(["taskset", "-c", "0", *command], check=True, capture_output=True, timeout=120)
                if turn:  # the first warms the page cache
                    results.offline.setdefault(name, []).append(round(time.monotonic() - began, 3))
    ours, theirs = (pd.read_csv(answers[name]).iloc[:, -1].tolist() for name in ("ours", "pandas"))
    if ours != theirs:
        raise SystemExit("dragoman predict and pandas do not agree")
    print(f"F: {results.offline}", flush=True)
