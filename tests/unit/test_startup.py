from __future__ import annotations

from pathlib import Path

import pytest

from dragoman.errors import InvalidSpec, ModelNotFound
from dragoman.startup import manifests_of, name_of


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("s3://models/iris/", "iris"),
        ("s3://models/Iris v2.joblib", "iris-v2"),
        ("https://example.org/a/model.tar.gz?token=secret", "model"),
        ("/home/me/2024_model.onnx", "model-2024-model"),
        ("./_.pkl", "model"),
    ],
)
def test_a_models_name_is_made_of_its_uri(uri: str, name: str) -> None:
    assert name_of(uri) == name


def test_two_models_of_one_name_are_refused_with_both_named(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for folder in ("a", "b"):
        (tmp_path / folder / "model.onnx").write_bytes(b"")
    with pytest.raises(InvalidSpec, match=r"two models are called 'model': .*a/model\.onnx.* and .*b/model\.onnx"):
        manifests_of([str(tmp_path / "a/model.onnx"), str(tmp_path / "b/model.onnx")])


def test_a_missing_target_says_what_could_be_meant() -> None:
    with pytest.raises(ModelNotFound, match=r"models/iris: no such file or folder; to serve from object storage, write the whole URI"):
        manifests_of(["models/iris"])


def test_a_folder_of_manifests_is_several_models_and_a_folder_without_one_is_a_model(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (one,) = manifests_of([str(tmp_path / "weights")])
    assert (one.name, one.spec.model.uri) == ("weights", f"{tmp_path}/weights/")
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text(
            f"apiVersion: dragoman.dev/v1alpha1\nkind: ModelDeployment\nmetadata: {{name: {name}}}\nspec: {{model: {{uri: x}}}}\n"
        )
    assert [m.name for m in manifests_of([str(tmp_path)])] == ["a", "b"]
