import threading
from pathlib import Path

from benchmarks.accuracy.datasets.alone import alone
from tests.support.waiting import WAIT_S


def test_a_second_one_waits_until_the_first_is_done(tmp_path: Path) -> None:
    lock, order, is_waiting = tmp_path / "new" / "net.lock", [], threading.Event()

    def second() -> None:
        is_waiting.set()
        with alone(lock):
            order.append("second")

    thread = threading.Thread(target=second)
    with alone(lock):
        thread.start()
        assert is_waiting.wait(WAIT_S)
        thread.join(0.05)
        order.append("first")
    thread.join(WAIT_S)
    assert order == ["first", "second"]
