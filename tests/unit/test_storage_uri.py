"""Where a model is: URIs and paths, taken apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from dragoman.errors import InvalidSpec, UnsupportedFormat
from dragoman.storage.names import disk_name, relative_name
from dragoman.storage.uri import parse, redacted


@pytest.mark.parametrize(
    ("uri", "scheme", "bucket", "key", "folder", "name"),
    [
        ("s3://models/iris/model.joblib", "s3", "models", "iris/model.joblib", False, "model.joblib"),
        ("s3://models/iris/", "s3", "models", "iris", True, "iris"),
        ("s3://models", "s3", "models", "", True, "models"),
        ("S3://models/a b#?%41.onnx", "s3", "models", "a b#?%41.onnx", False, "a b#?%41.onnx"),
        ("gs://m.o-d_els/x.tar.gz", "gs", "m.o-d_els", "x.tar.gz", False, "x.tar.gz"),
        ("az://container/path/model.ubj", "az", "container", "path/model.ubj", False, "model.ubj"),
        ("https://host:8443/a%20b/model.zip?sig=1", "https", "", "a b/model.zip", False, "model.zip"),
        ("http://host/models/", "http", "", "models", True, "models"),
        ("./model.joblib", "file", "", "./model.joblib", False, "model.joblib"),
        ("/models/iris/", "file", "", "/models/iris/", True, "iris"),
        ("file:///models/a%20b.onnx", "file", "", "/models/a b.onnx", False, "a b.onnx"),
        ("file://localhost/models/x", "file", "", "/models/x", False, "x"),
        ("file://./x", "file", "", "./x", False, "x"),
        ("C:model", "file", "", "C:model", False, "C:model"),
    ],
)  # fmt: skip
def test_a_uri_has_these_parts(uri: str, scheme: str, bucket: str, key: str, folder: bool, name: str) -> None:
    location = parse(uri)
    assert (location.scheme, location.bucket, location.key, location.folder, location.name) == (scheme, bucket, key, folder, name)


@pytest.mark.parametrize(
    ("uri", "mend"),
    [
        ("", "give a path"),
        ("gcs://models/x", "did you mean gs://?"),
        ("s3a://models/x", "did you mean s3://?"),
        ("htps://host/x", "did you mean https://?"),
        ("pvc://claim/x", "give the folder's path"),
        ("ftp://host/x", "known: a path"),
        ("quux://host/x", "known: a path, s3://"),
        ("file://models/x", "file:///models/x for an absolute path or ./models/x"),
        ("s3:///x", "s3://bucket/path"),
        ("s3://models//x", "copy the model"),
        ("s3://models/a/../x", "copy the model"),
        ("s3://models/a\nx", "copy the model"),
        ("http:///x", "http://host/path"),
        ("http://host:port/x", "not a URL"),
    ],
)
def test_what_cannot_be_is_refused_with_its_mend(uri: str, mend: str) -> None:
    with pytest.raises(InvalidSpec) as refused:
        parse(uri)
    assert mend in refused.value.message


@pytest.mark.parametrize(
    "uri", ["s3://key:hush@models/x", "https://me:hush@host/x?sig=hush#hush", "http://host?sig=hush", "ftp://me:hush@host/x"]
)
def test_secrets_in_a_uri_are_not_repeated(uri: str) -> None:
    try:
        shown = repr(parse(uri)) + parse(uri).uri
    except InvalidSpec as error:
        shown = error.message
    assert "hush" not in shown + redacted(uri)


def test_user_and_password_of_a_url_are_taken_out_of_it() -> None:
    location = parse("https://me:p%40ss@host:1234/x%20y?a=b")
    assert (location.url, location.user) == ("https://host:1234/x%20y?a=b", "me:p@ss")


def test_a_local_location_tells_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"")
    assert [parse(str(tmp_path / name)).on_disk() for name in ("", "model", "none")] == ["folder", "file", None]


@pytest.mark.parametrize("name", ["/etc/passwd", "a/../b", "..", "a\\b", "a\nb", "x" * 256, "", ".", "C:\\x", "a\udcffb"])
def test_names_that_mean_different_things_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(UnsupportedFormat, match=r"^models\.zip: the file name"):
        relative_name(name, "models.zip")


def test_leading_dots_are_no_part_of_a_name() -> None:
    assert relative_name("./a/./b..c", "x") == "a/b..c"


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("model.joblib", "model.joblib"),
        ("a" * 300 + ".json", "model.json"),
        ("a/b.ubj", "model.ubj"),
        ("..", "model"),
        ("x\ny.onnx", "model.onnx"),
    ],
)
def test_a_file_keeps_its_name_on_disk_where_it_can_and_else_its_suffix(name: str, there: str) -> None:
    assert disk_name(name) == there
