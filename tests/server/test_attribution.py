"""Attribution tokens cannot be forged, and the key is made once and kept private."""

import base64
import hmac
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastemaker.artefacts.v1.state_pb2 import Attribution
from tastemaker_server.attribution import AttributionSigner, load_or_make_key

_SIGNER = AttributionSigner(b"k" * 32)


def test_token_reads_back() -> None:
    attribution = Attribution(request_id="r", surface="home", served_time_micros=12, tier=3)
    assert _SIGNER.read(_SIGNER.sign(attribution)) == attribution


@given(st.data())
def test_token_with_any_character_changed_is_refused(data: st.DataObject) -> None:
    token = _SIGNER.sign(Attribution(request_id="request", surface="home"))
    body = token.rstrip("=")
    index = data.draw(st.integers(0, len(body) - 2))  # the last character may hold unused bits
    other = data.draw(st.characters().filter(lambda character: character != token[index]))
    with pytest.raises(ValueError, match=r"not a token|does not match"):
        _SIGNER.read(token[:index] + other + token[index + 1 :])


def test_signature_is_hmac_sha256() -> None:
    raw = base64.urlsafe_b64decode(_SIGNER.sign(Attribution(request_id="r", surface="home")))
    assert raw[:16] == hmac.digest(b"k" * 32, raw[16:], "sha256")[:16]


def test_token_of_another_key_is_refused() -> None:
    token = AttributionSigner(b"x" * 32).sign(Attribution(surface="home"))
    with pytest.raises(ValueError, match="does not match"):
        _SIGNER.read(token)


def test_longest_ids_fit_into_the_promised_length() -> None:
    longest = Attribution(request_id="x" * 128, surface="y" * 128, served_time_micros=2**62, tier=3)
    assert len(_SIGNER.sign(longest)) <= 512


def test_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "key"
    key = load_or_make_key(path)
    assert load_or_make_key(path) == key
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["key"]


def test_damaged_key_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"short")
    with pytest.raises(ValueError, match="has 5 bytes, not 32; move it away"):
        load_or_make_key(path)
    assert path.read_bytes() == b"short"
