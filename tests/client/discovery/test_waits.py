"""What is waited for, with a clock of its own."""

from tunnelctl.client.discovery.waits import Awaited, Waits, words_for


def test_waits_count_side_by_side_and_end_with_their_bodies() -> None:
    now = [10.0]
    waits = Waits(lambda: now[0])
    with waits.on("proxy", "http://p:1", "h:443"):
        now[0] = 11.0
        with waits.on("proxy", "", "h:443"):
            now[0] = 13.5
            assert waits.now() == [Awaited("proxy", "http://p:1", "h:443", 3.5), Awaited("proxy", "", "h:443", 2.5)]
        assert [wait.name for wait in waits.now()] == ["http://p:1"]
    assert waits.now() == []


def test_the_words_for_what_had_not_come() -> None:
    proxies = [Awaited("proxy", "http://p:1", "h:443", 1.0), Awaited("proxy", "", "h:443", 1.0)]
    assert words_for(proxies[:1]) == "http://p:1 had not answered"
    assert words_for(proxies) == "http://p:1 and the path without a proxy had not answered"
    assert (
        words_for([Awaited("settings", "the settings of this machine", "", 1.0)])
        == "the settings of this machine had not been read"
    )
    assert words_for([]) == "the search had not ended"
