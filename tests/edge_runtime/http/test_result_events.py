"""Results as server-sent events: which, what a slow listener loses, and how a listener goes on."""

from contextlib import contextmanager

import httpx
import orjson
import pytest

from edge_runtime.http import bounded_protocol, result_events, stream_response
from edge_runtime.http.result_events import MOST_LISTENERS, MOST_WAITING, MOST_WAITING_BYTES, Listener
from edge_runtime.messaging.commands.roles import Role
from edge_runtime.messaging.delivery import SentResult
from edge_runtime.serving.access import Access
from tests.support.http_bench import Bench
from tests.support.http_tokens import HOLDERS, bearer
from tests.support.results import make_result
from tests.support.waiting import WAIT_S, until

pytestmark = pytest.mark.integration


def make_sent(number, stream="belt", size=10):
    return SentResult(str(number), stream, bytes(size))


def test_a_listener_that_does_not_take_loses_the_oldest_and_knows_how_many():
    woken = []
    listener = Listener([], lambda: woken.append(1))
    for number in range(MOST_WAITING + 7):
        listener.give(make_sent(number))
    found, lost = listener.take()
    assert (len(found), lost, found[0].id) == (MOST_WAITING, 7, "7")
    assert len(woken) == 1  # until it takes
    listener.give(make_sent(0))
    assert (listener.take(), len(woken)) == (([make_sent(0)], 0), 2)


def test_large_results_are_bounded_in_bytes_and_the_newest_always_has_room():
    listener = Listener([], lambda: None)
    for number in range(5):
        listener.give(make_sent(number, size=MOST_WAITING_BYTES))
    found, lost = listener.take()
    assert ([one.id for one in found], lost) == (["4"], 4)


def test_a_listener_gets_its_streams_alone():
    listener = Listener(["belt"], lambda: None)
    listener.give(make_sent(1, "gate"))
    listener.give(make_sent(2))
    assert listener.take() == ([make_sent(2)], 0)


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    yield bench
    bench.close()


@contextmanager
def listen(bench, query="", **headers):
    """Events as (name, id, data); comments as their text."""
    url = f"{bench.url}/results/events{query}"
    with (
        httpx.Client(timeout=WAIT_S, trust_env=False) as client,
        client.stream("GET", url, headers=headers) as answer,
    ):
        assert answer.status_code == 200, answer.read()
        yield read_events(answer.iter_lines())


def read_events(lines):
    fields = {}
    for line in lines:
        if line.startswith(":"):
            yield "comment"
        elif line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "data" in fields:
            yield fields["event"], fields.get("id"), orjson.loads(fields["data"])
            fields = {}
        else:
            fields = {}


def has_followers(bench, count):
    return until(lambda: len(bench.feed._followers) == count)


def ids_of(events, count):
    return [next(events)[1] for _ in range(count)]


def test_results_come_with_their_ids_and_without_listeners_none_is_told(bench):
    with listen(bench, "?stream=belt&stream=yard") as events:
        assert has_followers(bench, 1)
        for seq, stream in ((1, "belt"), (1, "gate"), (2, "yard")):
            bench.feed.add_result(make_result(seq, stream))
        name, _, data = next(events)
        assert (name, data["stream"], data["top"][0]["label"]) == ("result", "belt", "bolt")
        assert ids_of(events, 1) == ["box/yard/000000002"]
    bench.feed.add_result(make_result(3))
    assert has_followers(bench, 0)


def test_who_comes_again_is_told_what_it_missed_and_when_it_cannot_be(bench):
    for seq in range(1, 5):
        bench.feed.add_result(make_result(seq))
        bench.feed.add_result(make_result(seq, "gate"))
    with listen(bench, "?stream=belt", **{"Last-Event-ID": "box/belt/000000002"}) as events:
        assert ids_of(events, 2) == ["box/belt/000000003", "box/belt/000000004"]
    with listen(bench, **{"Last-Event-ID": "box/belt/000000099"}) as events:
        assert next(events) == ("lost", None, {"count": None})
        assert len(ids_of(events, 8)) == 8


def test_silence_has_heartbeats_and_is_no_reason_to_end(bench, monkeypatch):
    monkeypatch.setattr(result_events, "HEARTBEAT_S", 0.2)
    monkeypatch.setattr(bounded_protocol, "STALL_S", 0.1)
    monkeypatch.setattr(bounded_protocol, "_CHECK_S", 0.02)
    with listen(bench) as events:
        assert [next(events) for _ in range(3)] == ["comment"] * 3
        bench.feed.add_result(make_result(1))
        while (event := next(events)) == "comment":
            pass
        assert event[1] == "box/belt/000000001"


def test_listeners_are_bounded_and_their_places_are_given_back(bench):
    client = httpx.Client(timeout=WAIT_S, trust_env=False)
    url = f"{bench.url}/results/events"
    opened = [client.send(client.build_request("GET", url), stream=True) for _ in range(MOST_LISTENERS)]
    assert {one.status_code for one in opened} == {200}
    refused = client.get(url)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    client.close()
    assert has_followers(bench, 0)
    with listen(bench):
        pass


def test_head_has_no_end_to_wait_for(bench):
    answer = httpx.head(f"{bench.url}/results/events", timeout=WAIT_S, trust_env=False)
    assert (answer.status_code, answer.headers["content-type"][:17]) == (200, "text/event-stream")
    assert httpx.get(f"{bench.url}/results/events?{'stream=x&' * 65}", trust_env=False).status_code == 400


def test_the_server_stops_in_spite_of_a_listener(tmp_path):
    bench = Bench(tmp_path)
    with listen(bench) as events:
        assert has_followers(bench, 1)
        bench.close()
        with pytest.raises(httpx.RemoteProtocolError):  # cut, so that the client comes again
            next(events)
    assert bench.crashes.in_a_row() == {}


def test_a_stream_ends_with_the_right_to_it(tmp_path, monkeypatch):
    monkeypatch.setattr(stream_response, "LOOK_AGAIN_S", 0.0)
    holders = list(HOLDERS)
    bench = Bench(tmp_path, access=Access(lambda: holders, needs_token=True))
    try:
        with listen(bench, **bearer(Role.VIEWER)) as events:
            bench.feed.add_result(make_result(1))
            assert next(events)[1] == "box/belt/000000001"
            del holders[0]
            bench.feed.add_result(make_result(2))
            list(events)  # it ends
    finally:
        bench.close()
