"""Trains the iris pipeline under Seldon's feature names, f1 to f4, beside a handler for rows that come in messages of its own.

The data ship with scikit-learn. `iris_pb2.py` is what protoc makes of `iris.proto` (pip install grpcio-tools).
"""

import shutil
import subprocess
import sys
from pathlib import Path

from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dragoman.seldon import save_pipeline
from dragoman.storage.digest import digest_of

HERE = Path(__file__).parent


def train(folder: Path = HERE) -> str:
    """Writes model/pipeline/ and model/iris_pb2.py; gives the digest of model/."""
    model = folder / "model"
    measurements, species = load_iris(return_X_y=True, as_frame=True)
    measurements.columns = ["f1", "f2", "f3", "f4"]
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(measurements, species)
    shutil.rmtree(model / "pipeline", ignore_errors=True)
    save_pipeline(pipeline, model / "pipeline", example=measurements)
    protoc = [sys.executable, "-m", "grpc_tools.protoc", f"-I{model}", f"--python_out={model}", "iris.proto"]
    subprocess.run(protoc, check=True)
    return digest_of(model)


if __name__ == "__main__":
    print(train())
