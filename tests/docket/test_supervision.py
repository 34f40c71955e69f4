"""The blame of a key, and a worker that nobody supervises."""

from docket.supervision import EVERYONE, NOBODY, Alone, blame_for


def test_the_blame_of_a_key_is_no_word_for_all_or_none() -> None:
    assert blame_for("nobody") not in {EVERYONE, NOBODY}
    assert blame_for("a:b") == "key:a:b"


def test_a_worker_alone_may_say_anything() -> None:
    alone = Alone()

    alone.ready()
    alone.waiting("gone")
    alone.redelivered("w.1", 1.0)
    alone.draining()
    alone.beat(0.0, None)
