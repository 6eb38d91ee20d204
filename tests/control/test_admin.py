"""The value of --admin."""

import pytest

from tunnelctl.control.admin import parse_admin
from tunnelctl.errors import UsageProblem


def test_only_this_machine_may_reach_the_port_unless_forced() -> None:
    assert str(parse_admin("127.0.0.1:8080", forced=False)) == "127.0.0.1:8080"
    assert str(parse_admin("unix:/run/admin", forced=False)) == "unix:/run/admin"
    with pytest.raises(UsageProblem, match="other machines could read"):
        parse_admin("0.0.0.0:8080", forced=False)
    assert str(parse_admin("0.0.0.0:8080", forced=True)) == "0.0.0.0:8080"
