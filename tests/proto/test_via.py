"""Names in Via."""

import pytest

from tunnelctl.proto import via

NAME = via.name(bytes(range(8)))


def test_a_name_is_a_token_with_the_number() -> None:
    assert NAME == "tunnelctl-0001020304050607"


@pytest.mark.parametrize(
    ("values", "passed"),
    [
        ((), False),
        (("1.1 other",), False),
        ((f"1.1 {NAME}",), True),
        (("1.0 fred", f"1.1 p.example (Apache/1.1),1.1 {NAME}, 1.1 last"), True),
        ((f"1.1 {NAME}0",), False),
        ((f"1.1 x{NAME}",), False),
    ],
)
def test_rfc_9110_7_6_3_the_own_name_is_recognised(values: tuple[str, ...], passed: bool) -> None:
    assert via.has_passed(NAME, values) is passed
