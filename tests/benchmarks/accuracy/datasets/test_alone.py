import threading
from pathlib import Path

from benchmarks.accuracy.datasets.alone import alone


def test_a_second_one_waits_until_the_first_is_done(tmp_path: Path) -> None:
    lock, order, is_waiting = tmp_path / "new" / "net.lock", [], threading.Event()

    def second() -> None:
        is_waiting.set()
        with alone(lock):
            order.append("second")

    thread = threading.Thread(target=second)
    with alone(lock):
        thread.start()
        assert is_waiting.wait(5)
        thread.join(0.05)
        order.append("first")
    thread.join(5)
    assert order == ["first", "second"]
