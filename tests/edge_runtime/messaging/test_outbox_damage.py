"""outbox: what happens to its files outside the program costs what cannot be read, which is counted and said."""

import random
from collections import Counter
from dataclasses import replace

import pytest

from edge_runtime.messaging.outbox.account import Commit
from edge_runtime.messaging.outbox.file_format import StoreTooNew
from edge_runtime.messaging.outbox.ledger import Row
from edge_runtime.messaging.outbox.salvage import open_or_replace
from tests.support.outbox_accounts import assert_balanced, assert_file_agrees

pytestmark = pytest.mark.integration

ROWS = 60
"""Of 500 bytes: some pages of rows below an inner one."""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "outbox.db"


def write(found, count):
    """Write so many rows; gives the ledger."""
    ledger = found.store.ledger()
    first = ledger.next_id
    rows = [Row(first + number, "t", b"%500d" % (first + number), 1.0) for number in range(count)]
    after = replace(ledger, enqueued=ledger.enqueued + count, next_id=first + count)
    return found.store.commit(Commit(after, Counter(enqueued=count), rows, {}), 2**30, -1.0)


@pytest.fixture
def content(path):
    """The bytes of a closed file with rows; it is still there."""
    found = open_or_replace(path, 1.0, None)
    write(found, ROWS)
    found.store.close()
    return path.read_bytes()


def remove_files(path):
    for one in path.parent.glob(f"{path.name}*"):
        one.unlink()


def open_again(path):
    """Open the file, use it, and close it; gives what was found with the numbers of the rows, in order."""
    found = open_or_replace(path, 2.0, None)
    numbers = [int(row.payload) for row in found.store.read(0, 10 * ROWS).rows]
    write(found, 1)
    found.store.close()
    assert_balanced(found.ledger)
    assert_file_agrees(path)
    assert numbers == sorted(set(numbers))
    return found, numbers


def test_one_bit_of_the_header_loses_no_row(path, content):
    for place in (0, 7, *range(15, 72), 80, *range(91, 100)):
        bit = place % 8
        remove_files(path)
        damaged = bytearray(content)
        damaged[place] ^= 1 << bit
        path.write_bytes(damaged)
        if place == 63:  # a format version that may well come
            with pytest.raises(StoreTooNew):
                open_or_replace(path, 2.0, None)
            assert path.read_bytes() == damaged
            continue
        found, numbers = open_again(path)
        assert len(numbers) == ROWS, place
        assert found.ledger.dropped_by_damage == 0, place


@pytest.mark.parametrize(
    ("first", "last"),
    [(0, 16), (0, 18), (0, 100), (16, 28), (28, 40), (40, 64), (56, 100), (100, 4096), (0, 4096)],
)
@pytest.mark.parametrize("value", [0, 0xFF])
def test_a_first_page_that_is_overwritten_loses_no_row(path, content, first, last, value):
    path.write_bytes(content[:first] + bytes([value]) * (last - first) + content[last:])
    found, numbers = open_again(path)
    assert len(numbers) == ROWS
    assert found.ledger.dropped_by_damage == 0


@pytest.mark.parametrize("flips", [1, 2, 5, 20])
def test_random_bits_cost_what_they_hit_and_it_is_counted(path, content, flips):
    for seed in range(10):
        remove_files(path)
        chance = random.Random(100 * seed + flips)
        damaged = bytearray(content)
        for _ in range(flips):
            damaged[chance.randrange(4096)] ^= 1 << chance.randrange(
                8
            )  # the first page, which all others need
        path.write_bytes(damaged)
        found, numbers = open_again(path)
        assert len(numbers) == ROWS, seed
        assert found.ledger.dropped_by_damage == 0


@pytest.mark.parametrize("share", [0.001, 0.05, 0.15, 0.3, 0.5, 0.7, 0.9, 0.99])
def test_a_file_that_was_cut_off_gives_its_rows_and_counts_the_others(path, content, share):
    kept = int(share * len(content))
    path.write_bytes(b"X" + content[1:kept])
    found, numbers = open_again(path)
    assert len(numbers) < ROWS
    assert found.ledger.dropped_by_damage == ROWS - len(numbers)
    assert str(ROWS - len(numbers)) in found.damage
    assert path.with_name("outbox.db.damaged-2").read_bytes() == b"X" + content[1:kept]


def test_a_second_damage_says_what_it_cost_itself(path, content):
    path.write_bytes(content[: len(content) // 2])
    found, numbers = open_again(path)
    first_lost = ROWS - len(numbers)
    content = path.read_bytes()
    path.write_bytes(content[:-4096] + b"\xff" * 4096)
    found, again = open_again(path)
    lost = len(numbers) + 1 - len(again)
    assert found.ledger.dropped_by_damage == first_lost + lost
    assert f" {lost} " in found.damage
    assert f" {first_lost + lost} " not in found.damage


@pytest.mark.parametrize("count", [0, ROWS])
def test_a_kill_soon_after_the_first_start_is_no_damage(path, tmp_path_factory, count):
    found = open_or_replace(path, 1.0, None)
    write(found, count)
    killed = tmp_path_factory.mktemp("killed") / path.name
    for one in path.parent.glob(f"{path.name}*"):  # the tables and rows are in the journal alone
        (killed.parent / one.name).write_bytes(one.read_bytes())
    found.store.close()
    assert killed.stat().st_size == 4096

    again, numbers = open_again(killed)

    assert len(numbers) == count
    assert again.damage is None
    assert not list(killed.parent.glob("*.damaged-*"))


def test_a_journal_that_holds_all_rows_beside_an_empty_file_is_used(path):
    found = open_or_replace(path, 1.0, None)
    write(found, ROWS)
    copies = {one: one.read_bytes() for one in path.parent.glob("outbox.db-*")}
    found.store.close()
    for one, copied in copies.items():
        one.write_bytes(copied)
    path.write_bytes(b"")
    found, numbers = open_again(path)
    assert len(numbers) == ROWS
    assert found.damage is not None
    assert found.ledger.dropped_by_damage == 0


@pytest.fixture
def killed(path):
    """The files of a program that was killed; ten rows are in the file itself, all others in its journal."""
    found = open_or_replace(path, 1.0, None)
    write(found, 10)
    found.store.close()
    found = open_or_replace(path, 1.0, None)
    for _ in range(ROWS // 10 - 1):
        write(found, 10)
    copies = {one: one.read_bytes() for one in path.parent.glob(f"{path.name}*")}
    found.store.close()
    for one, copied in copies.items():
        one.write_bytes(copied)
    return path.with_name(f"{path.name}-wal")


def test_a_kill_is_no_damage(path, killed):
    found, numbers = open_again(path)
    assert len(numbers) == ROWS
    assert (found.damage, found.ledger.files_damaged) == (None, 0)


def test_a_missing_index_of_the_journal_is_no_damage(path, killed):
    path.with_name(f"{path.name}-shm").unlink()
    found, numbers = open_again(path)
    assert len(numbers) == ROWS
    assert (found.damage, found.ledger.files_damaged) == (None, 0)


def garble(share):
    def change(content):
        at = int(share * len(content))
        return content[:at] + bytes(byte ^ 0x55 for byte in content[at : at + 64]) + content[at + 64 :]

    return change


@pytest.mark.parametrize(
    "change",
    [
        *(
            lambda content, share=share: content[: int(share * len(content))]
            for share in (0, 0.001, 0.1, 0.5, 0.9, 0.99)
        ),
        *(garble(share) for share in (0, 0.001, 0.2, 0.5, 0.8, 0.99)),
        lambda content: b"\xff" * len(content),
        lambda content: bytes(len(content)),
        None,
    ],
)
@pytest.mark.parametrize("has_index", [True, False])
def test_rows_that_a_damaged_journal_costs_are_counted_and_said(path, killed, change, has_index):
    if change is None:
        killed.unlink()
    else:
        killed.write_bytes(change(killed.read_bytes()))
    if not has_index:
        path.with_name(f"{path.name}-shm").unlink()
    found, numbers = open_again(path)
    lost = ROWS - len(numbers)
    assert 10 <= len(numbers) < ROWS
    assert (found.ledger.enqueued, found.ledger.pending) == (ROWS, len(numbers))
    assert (found.ledger.dropped_by_damage, found.ledger.files_damaged) == (lost, 1)
    assert f" {lost} " in found.damage
    again, numbers = open_again(path)
    assert again.damage is None
    assert len(numbers) == ROWS - lost + 1


@pytest.mark.parametrize("damage", [b"", b"garbage" * 100, None])
def test_without_the_account_beside_it_a_file_works_as_before(path, killed, damage):
    account = path.with_name(f"{path.name}.account")
    if damage is None:
        account.unlink()
    else:
        account.write_bytes(damage)
    found, numbers = open_again(path)
    assert len(numbers) == ROWS
    assert found.damage is None


def test_rows_that_were_delivered_after_the_cut_are_not_counted_as_lost(path, killed):
    found = open_or_replace(path, 1.0, None)
    ledger = found.store.ledger()
    before = {one: one.read_bytes() for one in (path, killed)}
    outcomes = dict.fromkeys(range(1, 21), "delivered")
    found.store.commit(Commit(ledger, Counter(), [], outcomes), 2**30, -1.0)
    write(found, 10)
    found.store.close()
    for one, copied in before.items():
        one.write_bytes(copied)
    found, numbers = open_again(path)
    assert len(numbers) == ROWS  # twenty of them come again
    assert (found.ledger.delivered, found.ledger.dropped_by_damage) == (20, 10)


def test_a_file_that_was_moved_away_on_purpose_begins_anew(path, content):
    path.unlink()
    found, numbers = open_again(path)
    assert (numbers, found.damage, found.ledger.enqueued) == ([], None, 0)


@pytest.mark.parametrize("number", [2, 20, 31, 59])
def test_a_row_that_was_overwritten_with_zeros_is_the_only_one_lost(path, content, number):
    at = content.index(b"%500d" % number)  # behind 13 bytes of the row's own header, size and topic
    path.write_bytes(content[: at - 13] + bytes(513) + content[at + 500 :])
    found = open_or_replace(path, 2.0, "a row holds impossible values")
    numbers = [int(row.payload) for row in found.store.read(0, 10 * ROWS).rows]
    found.store.close()
    assert len(numbers) == ROWS - 1
    assert found.ledger.dropped_by_damage == 1
    assert_file_agrees(path)
