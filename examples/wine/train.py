"""Learns the average wine of each grower, for the Python model in model/model.py."""

import shutil
from pathlib import Path

import numpy as np
from sklearn.datasets import load_wine

from dragoman.storage.digest import digest_of

HERE = Path(__file__).parent
INPUTS = ["alcohol", "flavanoids", "color_intensity", "proline"]


def train(folder: Path = HERE) -> str:
    """Writes growers.npz into the folder's model/, beside model.py; gives that folder's digest."""
    wines, growers = load_wine(return_X_y=True, as_frame=True)
    rows = wines[INPUTS].to_numpy()
    target = folder / "model"
    target.mkdir(parents=True, exist_ok=True)
    if folder != HERE:
        shutil.copy(HERE / "model" / "model.py", target)
    np.savez(target / "growers.npz", means=[rows[growers == g].mean(axis=0) for g in sorted(set(growers))], scale=rows.std(axis=0))
    return digest_of(target)


if __name__ == "__main__":
    print(train())
