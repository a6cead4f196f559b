"""Seldon's Classify, asked by plain grpcio with messages made of the contract's page, as a process of its own (see triton_ask.py).

`python classify_ask.py HOST < rows.json` prints, for each row, [[score, class], …].
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import grpc

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a program, started from anywhere

from tests.support.seldon_page import classify, request_with, values

if __name__ == "__main__":
    with grpc.insecure_channel(f"{sys.argv[1]}:9000") as channel:
        answers = [classify(channel, request_with(values(*row))) for row in json.load(sys.stdin)]
    print(json.dumps([[(found.prediction, found.predictedClass) for found in answer.predictions] for answer in answers]))
