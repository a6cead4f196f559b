"""Trains a recommender: to which gatherings a woman may come, from those that she came to.

The data are real, and ship with the package networkx: who of eighteen women of Natchez, Mississippi, was seen at which of fourteen
gatherings, in the 1930s (A. Davis, B. B. Gardner and M. R. Gardner, Deep South, 1941). Women have the ids 1 to 18 and gatherings 1 to 14,
each in the order of the study.
"""

import sys
from pathlib import Path

import networkx as nx
import numpy as np

from dragoman.storage.digest import digest_of

HERE = Path(__file__).parent
sys.dont_write_bytecode = True  # the model's folder is what is served
sys.path.insert(0, str(HERE / "model"))

from model import SharedCompany  # noqa: E402


def attendance() -> np.ndarray:
    """Shape (18, 14): 1 where a woman came to a gathering."""
    graph = nx.davis_southern_women_graph()
    women, gatherings = (graph.graph[side] for side in ("top", "bottom"))
    return np.array([[float(graph.has_edge(woman, gathering)) for gathering in gatherings] for woman in women])


def train(folder: Path = HERE) -> str:
    """Writes model/chosen.npy, beside the recommender's code; gives the digest of model/."""
    SharedCompany().fit(attendance()).save(folder / "model")
    return digest_of(folder / "model")


if __name__ == "__main__":
    print(train())
