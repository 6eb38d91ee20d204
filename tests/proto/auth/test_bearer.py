"""Bearer tokens."""

import pytest

from tunnelctl.errors import AuthenticationFailed
from tunnelctl.proto.auth.bearer import encode_bearer


@pytest.mark.parametrize("token", ["a", "mF_9.B5f-4.1JqM", "YWJj==", "a/b+c~d"])
def test_valid_tokens_are_encoded(token: str) -> None:
    assert encode_bearer(token) == f"Bearer {token}"


@pytest.mark.parametrize("token", ["", "=", "a b", "a\r\nX: y", "a=b", "ü", 'a"b', "a,b"])
def test_an_invalid_token_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(AuthenticationFailed) as caught:
        encode_bearer(token)
    assert token.strip("=") == "" or token not in str(caught.value)
