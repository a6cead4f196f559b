"""Trains an xgboost classifier: whether a tumour is malignant (0) or benign (1), from thirty measurements of cell nuclei."""

from pathlib import Path

from sklearn.datasets import load_breast_cancer
from xgboost import XGBClassifier

from dragoman.storage.digest import digest_of

HERE = Path(__file__).parent


def train(folder: Path = HERE) -> str:
    """Writes model.json, xgboost's own format, to the folder; gives its digest."""
    nuclei, benign = load_breast_cancer(return_X_y=True, as_frame=True)
    nuclei.columns = [name.replace(" ", "_") for name in nuclei.columns]
    model = XGBClassifier(n_estimators=50, max_depth=3, learning_rate=0.2, n_jobs=1, random_state=0).fit(nuclei, benign)
    model.save_model(folder / "model.json")
    return digest_of(folder / "model.json")


if __name__ == "__main__":
    print(train())
