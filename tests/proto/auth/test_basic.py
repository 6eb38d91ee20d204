"""Basic credentials. C13: the forms that RFC 7617 allows; V19: everything other than a user and a password gives None."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.proto.feeding import bounded
from tunnelctl.errors import AuthenticationFailed
from tunnelctl.proto.auth.basic import decode_basic, encode_basic, wrong_with

TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20)


def value(octets):
    return "Basic " + base64.b64encode(octets).decode()


def test_c13_examples_of_rfc_7617():
    assert encode_basic("Aladdin", "open sesame") == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
    assert encode_basic("test", "123£") == "Basic dGVzdDoxMjPCow=="
    assert decode_basic("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==") == ("Aladdin", "open sesame")


def test_c13_empty_parts_and_colons_in_the_password():
    assert decode_basic(encode_basic("", "")) == ("", "")
    assert decode_basic(encode_basic("u", "a:b:")) == ("u", "a:b:")


def test_octets_that_are_not_utf_8_are_sent_unchanged():
    password = b"\xff\xe4".decode("utf-8", "surrogateescape")
    assert encode_basic("u", password) == value(b"u:\xff\xe4")


@pytest.mark.parametrize(
    ("user", "password"),
    [("a:b", "c"), ("a\n", "c"), ("a", "c\0"), ("a", "c\x7f"), ("a", "\r\nX: y"), ("a", "\ud800")],
)
def test_c13_v17_credentials_that_basic_cannot_carry_are_refused(user, password):
    with pytest.raises(AuthenticationFailed) as caught:
        encode_basic(user, password)
    assert caught.value.exit_status == 77
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC", "bAsIc"])
@pytest.mark.parametrize("blanks", [" ", "   "])
def test_v19_the_scheme_is_case_insensitive(scheme, blanks):
    assert decode_basic(f"{scheme}{blanks}eDp5") == ("x", "y")


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "Basic", "Basic ", "eDp5", "Bearer eDp5", "Digest eDp5", "Basiceq eDp5", "Basic\teDp5"),
        *(
            "Basic eDp",
            "Basic eDp5=",
            "Basic eD p5",
            "Basic e-p5",
            "Basic !!!!",
            "Basic eDp5\xe4",
            "Basic eDp5, Basic eDp5",
            "Basic ====",
        ),
        *(value(b"no colon"), value(b"x:\xe4"), value(b"x:\0"), value(b"x\n:y"), value(b"x:y\x7f")),
    ],
)
def test_v19_malformed_credentials_give_none(text):
    assert decode_basic(text) is None


@bounded
@given(TEXT.filter(lambda text: ":" not in text), TEXT)
def test_property_encoded_credentials_decode_to_the_same(user, password):
    assert decode_basic(encode_basic(user, password)) == (user, password)


@bounded
@given(st.one_of(st.text(max_size=40), st.binary(max_size=30).map(value)))
def test_fuzz_decoding_gives_a_pair_or_none(text):
    decoded = decode_basic(text)
    assert decoded is None or decode_basic(encode_basic(*decoded)) == decoded


@pytest.mark.parametrize(("scheme", "named"), [("NTLM", "NTLM"), ("ntlm", "NTLM"), ("BEARER", "Bearer")])
def test_the_error_names_a_scheme_that_is_not_offered(scheme, named):
    assert wrong_with(f"{scheme} c2VjcmV0") == f"this proxy does not offer {named} authentication"


@pytest.mark.parametrize("value", ["Basic !", "c2VjcmV0", "c2VjcmV0 x", "", "Digest x"])
def test_the_error_shows_nothing_of_the_credentials(value):
    assert wrong_with(value) == "the credentials are malformed"
