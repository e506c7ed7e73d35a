"""The chain over the verdicts: whatever is done to the rows shows, erasing a customer does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from context.audit import Break, Link, append, breaks, erased

KEY = b"0123456789abcdef0123456789abcdef"


def _chain(length: int = 6) -> list[Link]:
    links: list[Link] = []
    for number in range(length):
        record = {"action": "hold", "reasons": [{"rule": "term:1", "span": [1, 2]}], "note": f"第{number}"}
        links.append(append(KEY, record, at=1_800_000_000.5 + number, after=links[-1] if links else None))
    return links


def _found(links: list[Link], *, head: Link | None = None, key: bytes = KEY) -> list[Break]:
    return list(breaks(key, links, head=head))


def test_untouched_chain_is_whole() -> None:
    chain = _chain()
    assert _found(chain, head=chain[-1]) == []
    assert _found([]) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda link: replace(link, payload=link.payload.replace("hold", "allow")),
        lambda link: replace(link, at=link.at + 1),
        lambda link: replace(link, salt="00" * 16),
        lambda link: replace(link, digest="00" * 32),
        lambda link: replace(link, seal="00" * 32),
        lambda link: replace(link, payload=None),
    ],
    ids=["payload", "time", "salt", "digest", "seal", "half erased"],
)
def test_edited_row_is_named(change: object) -> None:
    chain = _chain()
    assert callable(change)
    chain[2] = change(chain[2])
    assert Break(3, "edited") in _found(chain)
    assert {broken.number for broken in _found(chain)} <= {3, 4}


def test_row_rewritten_with_its_own_digest_is_named() -> None:
    chain = _chain()
    forged = append(b"another key", {"action": "allow"}, at=chain[2].at, after=chain[1])
    chain[2] = forged
    assert _found(chain)[0] == Break(3, "edited")


def test_missing_row_is_named() -> None:
    chain = _chain()
    del chain[2]
    assert _found(chain) == [Break(3, "missing")]


def test_missing_first_rows_are_named() -> None:
    assert _found(_chain()[2:]) == [Break(1, "missing"), Break(2, "missing")]


def test_inserted_row_is_named() -> None:
    chain = _chain()
    chain.insert(3, chain[2])
    assert _found(chain) == [Break(3, "inserted")]


def test_cut_end_shows_against_a_noted_head() -> None:
    chain = _chain()
    assert _found(chain[:-1]) == []
    assert _found(chain[:-1], head=chain[-1]) == [Break(6, "cut off")]
    assert _found([], head=chain[-1]) == [Break(1, "cut off")]


def test_rewritten_end_shows_against_a_noted_head() -> None:
    chain = _chain()
    rewritten = [*chain[:-1], append(KEY, {"action": "allow"}, at=chain[-1].at, after=chain[-2])]
    assert _found(rewritten) == []
    assert _found(rewritten, head=chain[-1]) == [Break(6, "edited")]


def test_erased_customer_leaves_the_chain_whole_and_nothing_readable() -> None:
    chain = _chain()
    chain[1:4] = [erased(link) for link in chain[1:4]]
    assert _found(chain, head=chain[-1]) == []
    assert all(link.payload is None and link.salt is None for link in chain[1:4])


def test_equal_records_have_unequal_digests() -> None:
    first = append(KEY, {"action": "hold"}, at=1.0, after=None)
    second = append(KEY, {"action": "hold"}, at=1.0, after=None)
    assert first.digest != second.digest


def test_wrong_key_finds_every_row() -> None:
    assert len(_found(_chain(), key=b"x")) == 6


def test_rows_in_another_order_are_named() -> None:
    chain = _chain()
    one, other = chain[2], chain[3]
    # Their numbers too, or the database would put them back in order.
    chain[2], chain[3] = replace(other, number=3), replace(one, number=4)
    assert {Break(3, "edited"), Break(4, "edited")} <= set(_found(chain))


def test_erasing_hides_no_edit_of_another_row() -> None:
    chain = [erased(link) if link.number % 2 else link for link in _chain()]
    assert _found(chain) == []
    chain[3] = replace(chain[3], payload="{}")
    assert _found(chain) == [Break(4, "edited")]
    del chain[2]
    assert Break(3, "missing") in _found(chain)
