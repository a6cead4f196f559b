"""The datarobot dialect: a request's parameters, media types, charsets, forms and credentials."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.dialects.datarobot.credentials import check_key, credentials
from dragoman.dialects.datarobot.headers import headers_of, request_id
from dragoman.dialects.datarobot.multipart import file_of, parts_of
from dragoman.dialects.datarobot.negotiation import CSV, JSON, Content, accepted, as_utf8, codec_of, content_of
from dragoman.dialects.datarobot.parameters import parameters_of
from dragoman.dialects.datarobot.refusals import Unprocessable
from dragoman.dialects.dialect import Request
from dragoman.errors import BadRequest, NotAcceptable, Unauthorized, UnsupportedMediaType

# --- parameters ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("wd=1", "'wd': wd is not allowed key"),
        ("wd=", "'wd': wd is not allowed key"),
        ("passthroughColumns=", "'passthroughColumns': blank value is not allowed"),
        ("passthroughColumns=a&passthroughColumns=%20", "'passthroughColumns': blank value is not allowed"),
        ("passthroughColumnsSet=some", "'passthroughColumnsSet': value is not exactly 'all'"),
        ("passthroughColumnsSet=", "'passthroughColumnsSet': value is not exactly 'all'"),
        ("passthroughColumnsSet=ALL", "'passthroughColumnsSet': value is not exactly 'all'"),
        ("maxExplanations=three", "'maxExplanations': value can't be converted to int"),
        ("maxExplanations=3.5", "'maxExplanations': value can't be converted to int"),
        ("maxExplanations=1_0", "'maxExplanations': value can't be converted to int"),
        ("maxExplanations=", "'maxExplanations': blank value is not allowed"),
        ("maxExplanations=-1", "'maxExplanations': value is less than 0"),
        ("maxCodes=x", "'maxCodes': value can't be converted to int"),
        ("thresholdLow=low", "'thresholdLow': value can't be converted to float"),
        ("thresholdHigh=nan", "'thresholdHigh': value can't be converted to float"),
        ("excludeAdjustedPredictions=maybe", "'excludeAdjustedPredictions': value can't be converted to Bool"),
        ("passthroughColumns=a&passthroughColumnsSet=all", "'passthroughColumns' and 'passthroughColumnsSet' cannot be used together"),
        ("forecastPoint=2018-01-09", "'forecastPoint': forecastPoint is not allowed key"),
    ],
)
def test_parameters_that_are_wrong(query: str, message: str) -> None:
    with pytest.raises(Unprocessable) as caught:
        parameters_of(query, False, False)
    assert (caught.value.status, caught.value.message) == (422, message)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("forecastPoint=yesterday", "'forecastPoint': value is not a date and time in ISO 8601"),
        ("forecastPoint=", "'forecastPoint': blank value is not allowed"),
        (
            "forecastPoint=2018-01-09&predictionsStartDate=2018-01-01&predictionsEndDate=2018-02-01",
            "'forecastPoint' and 'predictionsStartDate' cannot be used together",
        ),
        ("predictionsStartDate=2018-01-01", "'predictionsEndDate': is required with 'predictionsStartDate'"),
        ("predictionsEndDate=2018-01-01", "'predictionsStartDate': is required with 'predictionsEndDate'"),
        (
            "predictionsStartDate=2018-01-01&predictionsEndDate=2018-01-01",
            "'predictionsEndDate': value must be later than 'predictionsStartDate'",
        ),
        ("relaxKnownInAdvanceFeaturesCheck=1.5", "'relaxKnownInAdvanceFeaturesCheck': value can't be converted to Bool"),
    ],
)
def test_time_series_parameters_that_are_wrong(query: str, message: str) -> None:
    with pytest.raises(Unprocessable) as caught:
        parameters_of(query, False, True)
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {"max_explanations": 0, "adjusted": False, "passthrough": ()}),
        ("passthroughColumns=b&passthroughColumns=a&passthroughColumns=b", {"passthrough": ("b", "a")}),
        ("passthroughColumns=a%26b%2C+c", {"passthrough": ("a&b, c",)}),
        ("passthroughColumnsSet=all", {"passthrough_all": True}),
        ("maxExplanations=5", {"max_explanations": 5}),
        ("maxCodes=5", {"max_explanations": 5}),
        ("maxCodes=5&maxExplanations=2", {"max_explanations": 2}),
        ("maxExplanations=2&maxExplanations=7", {"max_explanations": 2}),
        ("thresholdLow=0.2&thresholdHigh=1e0", {"threshold_low": 0.2, "threshold_high": 1.0}),
        ("thresholdLow=null", {"threshold_low": None}),
        ("excludeAdjustedPredictions=False", {"adjusted": True}),
        ("excludeAdjustedPredictions=true", {"adjusted": False}),
    ],
)
def test_parameters_that_are_right(query: str, expected: dict[str, Any]) -> None:
    found = parameters_of(query, False, False)
    assert {name: getattr(found, name) for name in expected} == expected


def test_explanations_are_three_by_default_where_they_are_what_is_asked_for() -> None:
    assert parameters_of("", True, False).max_explanations == 3
    assert parameters_of("maxExplanations=0", True, False).max_explanations == 0


@pytest.mark.parametrize(
    "query",
    [
        "forecastPoint=2018-01-09T00:00:00",
        "forecastPoint=2018-01-09",
        "forecastPoint=2018-01-09T00:00:00Z",
        "forecastPoint=2018-01-09T02:00:00%2B02:00",
        "forecastPoint=2018-01-09T02:00:00+02:00",
    ],
)
def test_a_moment_is_in_utc(query: str) -> None:
    assert parameters_of(query, False, True).forecast_point == datetime(2018, 1, 9)  # noqa: DTZ001  UTC without a time zone


# --- media types and charsets -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "content"),
    [
        ("text/csv", Content("csv")),
        ("text/plain", Content("csv")),
        ("TEXT/CSV; charset=UTF8", Content("csv")),
        ('text/csv;charset="latin-1"', Content("csv", "iso8859-1")),
        ("text/csv; header=present; charset=cp1252", Content("csv", "cp1252")),
        ("application/json", Content("json")),
        ("text/json", Content("json")),
        ("application/json; charset=utf-16", Content("json", "utf-16")),
        ("multipart/form-data; boundary=----x", Content("multipart", "utf-8", "----x")),
        ('multipart/form-data; boundary="a b"', Content("multipart", "utf-8", "a b")),
    ],
)
def test_content_types(header: str, content: Content) -> None:
    assert content_of(header) == content


@pytest.mark.parametrize("header", ["", "application/xml", "text/html", "application/x-www-form-urlencoded", "csv", "multipart/mixed"])
def test_other_content_types_are_415(header: str) -> None:
    with pytest.raises(UnsupportedMediaType, match="Content-Type must be text/csv"):
        content_of(header)


@pytest.mark.parametrize("charset", ["klingon", "zlib", "rot13", "hex", "idna", "punycode", "undefined", "a\0b", ""])
def test_charsets_that_are_none_are_415(charset: str) -> None:
    with pytest.raises(UnsupportedMediaType, match="charset"):
        codec_of(charset)


def test_a_form_needs_a_boundary() -> None:
    with pytest.raises(BadRequest, match="boundary"):
        content_of("multipart/form-data")


@pytest.mark.parametrize(
    ("body", "charset", "message"),
    [
        (b"a\xff", "utf-8", "the body is not utf-8: byte 1 is 0xff"),
        (b"\xd8\x00", "utf-16-be", "the body is not utf-16-be"),
        (b"+2AA-", "utf-7", "utf-7"),
    ],
)
def test_bytes_that_are_no_text_are_refused(body: bytes, charset: str, message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        as_utf8(body, charset)


@given(st.text(st.characters(codec="utf-8")), st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-7"]))
def test_text_is_the_same_in_every_charset(text: str, charset: str) -> None:
    assert as_utf8(text.encode(charset), codec_of(charset)).decode() == text.removeprefix("\ufeff")


@pytest.mark.parametrize(
    ("header", "media_type"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("application/json", JSON),
        ("text/csv", CSV),
        ("text/*", CSV),
        ("application/*", JSON),
        ("text/csv, */*;q=0.5", CSV),
        ("application/json;q=0.2, text/csv;q=0.9", CSV),
        ("text/html, application/json;q=0.9, */*;q=0.8", JSON),
        ("text/html, */*;q=0.8", JSON),
        ("application/json;q=0, text/csv", CSV),
        ("*/*, application/json;q=0", CSV),
        ("Text/CSV; header=present", CSV),
    ],
)
def test_what_is_accepted(header: str, media_type: str) -> None:
    assert accepted(header) == media_type


@pytest.mark.parametrize("header", ["text/html", "application/xml", "image/*", "application/json;q=0", "application/json;q=x", ","])
def test_what_cannot_be_accepted_is_406(header: str) -> None:
    with pytest.raises(NotAcceptable):
        accepted(header)


# --- forms --------------------------------------------------------------------------------------------------------


def form(*parts: tuple[str, bytes], boundary: str = "XX", preamble: bytes = b"", end: bytes = b"\r\n") -> bytes:
    lines = [b"--" + boundary.encode() + b"\r\n" + head.encode() + b"\r\n\r\n" + content + b"\r\n" for head, content in parts]
    return preamble + b"".join(lines) + b"--" + boundary.encode() + b"--" + end


FILE = 'Content-Disposition: form-data; name="file"; filename="rows.csv"'


@pytest.mark.parametrize(
    ("head", "content", "expected"),
    [
        (FILE + "\r\nContent-Type: text/csv", b"a,b\r\n1,2\r\n", Content("csv")),
        (FILE + "\r\nContent-Type: application/octet-stream", b"a\n1", Content("csv")),
        (FILE, b"a\n1", Content("csv")),
        (FILE + "\r\nContent-Type: text/csv; charset=cp1252", b"a\n\x80", Content("csv", "cp1252")),
        ('content-disposition: form-data; name=file; filename="rows.json"', b"[]", Content("json")),
        (FILE + "\r\nContent-Type: application/json", b"[]", Content("json")),
        (FILE + "\r\nContent-Type: application/octet-stream", b' [{"a": 1}]', Content("json")),
        ('Content-Disposition: form-data; name="file"', b'{"a": 1}', Content("json")),
        (FILE, b"", Content("csv")),
    ],
)
def test_the_file_of_a_form(head: str, content: bytes, expected: Content) -> None:
    other = ('Content-Disposition: form-data; name="comment"', b"hello")
    for body in (form((head, content)), form(other, (head, content), other), form((head, content), preamble=b"hi\r\n", end=b"")):
        assert file_of(body, "XX") == (content, expected)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "does not have the boundary"),
        (form((FILE, b"a"), boundary="YY"), "does not have the boundary"),
        (form(), "the form has no field 'file'"),
        (form(('Content-Disposition: form-data; name="data"', b"a")), "the form has no field 'file'"),
        (form((FILE, b"a"), (FILE, b"b")), "the form has 2 fields 'file'"),
        (form((FILE, b"a"))[:-9], "cut short"),
        (b"--XX", "cut short"),
        (b"--XX\r\nno colon\r\n\r\na\r\n--XX--", "a line in its headers"),
        (b"--XX\r\nContent-Type: x\r\n--XX--", "no end of its headers"),
    ],
)
def test_forms_that_are_none(body: bytes, message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        file_of(body, "XX")


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_whatever_a_form_holds_comes_back(contents: list[bytes]) -> None:
    body = form(*((FILE, content) for content in contents), boundary="a-boundary-that-is-not-in-there")
    assert [part.content for part in parts_of(body, "a-boundary-that-is-not-in-there")] == contents


@given(st.lists(st.sampled_from([b"--XX", b"--", b"\r\n", b"\n", b"a: b", b"x", b"\r\n\r\n"]), max_size=14).map(b"".join))
def test_bytes_that_look_like_a_form_are_read_or_refused(body: bytes) -> None:
    try:
        parts_of(body, "XX")
    except BadRequest:
        return


# --- credentials --------------------------------------------------------------------------------------------------


def asked(**headers: str) -> Request:
    return Request("POST", "/", {name.replace("_", "-"): value for name, value in headers.items()}, b"")


@pytest.mark.parametrize(
    "header",
    ["Bearer secret", "bearer  secret ", "Token secret", "Basic me:secret", "Basic " + base64.b64encode(b"me:secret").decode()],
)
def test_a_token_is_presented_in_three_ways(header: str) -> None:
    assert credentials(asked(authorization=header)) == "secret"


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "secret", "Digest secret", "Basic !!", "Basic bWU=", "Basic me:"])
def test_no_credentials(header: str) -> None:
    with pytest.raises(Unauthorized, match=r"^Invalid Authorization header. No credentials provided.$"):
        credentials(asked(authorization=header))


def test_the_key_is_asked_for_where_one_is_configured() -> None:
    check_key(asked(), None)
    check_key(asked(datarobot_key="a-key"), "a-key")
    with pytest.raises(Unauthorized, match=r"^The datarobot-key header is missing$"):
        check_key(asked(), "a-key")
    with pytest.raises(Unauthorized, match=r"^The datarobot-key header is not that"):
        check_key(asked(datarobot_key="another"), "a-key")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("9e61f97bf07903b8c526f4eb47830a86", "9e61f97bf07903b8c526f4eb47830a86"),
        ("9E61F97B-F079-03B8-C526-F4EB47830A86", "9e61f97bf07903b8c526f4eb47830a86"),
    ],
)
def test_a_request_id_that_has_the_form_is_kept(given: str, expected: str) -> None:
    assert request_id(given) == expected


@given(st.text(st.characters(codec="ascii"), max_size=128))
def test_every_request_id_is_32_hex_digits(given: str) -> None:
    found = request_id(given)
    assert len(found) == 32
    assert int(found, 16) >= 0
    assert request_id(given) == found


def test_headers_of_a_path_that_is_no_deployments() -> None:
    found = dict(headers_of(asked()))
    assert (found["X-DataRobot-Model-Cache-Hit"], found["X-DataRobot-Model-Id"]) == ("false", "")
