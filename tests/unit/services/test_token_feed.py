"""Who hears which tokens, and what becomes of a listener that does not read."""

from __future__ import annotations

from control_plane.domain.access import Principal, Role
from control_plane.services.token_feed import WAITING_MAX, TokenFeed
from tests.doubles.repository import text_revision

CODER = text_revision("coder")
ANN, ADMIN = Principal("ann", Role.USER), Principal("root", Role.ADMIN)


async def test_a_listener_hears_its_own_requests_on_its_model_in_order() -> None:
    feed = TokenFeed()
    listening = feed.listen("coder", ANN)
    for revision, caller, text in (
        (CODER, "ann", "a"),
        (CODER, "bob", "b"),
        (text_revision("other"), "ann", "c"),
        (CODER, "", "d"),
        (text_revision("coder", 2), "ann", "e"),
    ):
        feed.publish(revision, caller, (text,))
    listening_texts = [await anext(listening) for _ in range(2)]
    assert listening_texts == [("a",), ("e",)]
    listening.close()
    assert not feed.listening
    assert [texts async for texts in listening] == []


async def test_an_admin_hears_everybody_and_one_revision_alone_if_so_asked() -> None:
    feed = TokenFeed()
    listening = feed.listen("coder", ADMIN, revision=2)
    feed.publish(CODER, "ann", ("a",))
    feed.publish(text_revision("coder", 2), "bob", ("b", "c"))
    assert await anext(listening) == ("b", "c")


async def test_a_listener_that_does_not_read_is_let_go_and_the_others_hear_on() -> None:
    feed = TokenFeed()
    slow, quick = feed.listen("coder", ANN), feed.listen("coder", ANN)
    for _ in range(WAITING_MAX):
        feed.publish(CODER, "ann", ("x",))
        assert await anext(quick) == ("x",)
    assert not slow.was_too_slow
    feed.publish(CODER, "ann", ("x",))
    assert slow.was_too_slow
    assert [texts async for texts in slow] == []
    assert feed.listening == {quick}
    assert await anext(quick) == ("x",)
