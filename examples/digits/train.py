"""Trains a reader of handwritten digits (8 by 8 pixels, 0 to 16) and exports it to ONNX."""

from pathlib import Path

import numpy as np
from skl2onnx import to_onnx
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from dragoman.storage.digest import digest_of

HERE = Path(__file__).parent


def train(folder: Path = HERE) -> str:
    """Writes model.onnx to the folder; gives its digest."""
    pixels, digits = load_digits(return_X_y=True)
    model = MLPClassifier(hidden_layer_sizes=(32,), max_iter=200, early_stopping=True, random_state=0).fit(pixels, digits)
    graph = to_onnx(model, pixels[:1].astype(np.float32), options={"zipmap": False})
    (folder / "model.onnx").write_bytes(graph.SerializeToString())
    return digest_of(folder / "model.onnx")


if __name__ == "__main__":
    print(train())
