"""Requests to the side loop from other threads, and their answers through futures."""

import queue
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from edge_runtime.errors import EdgeRuntimeError
from edge_runtime.recalibration.task import TaskRequest

Answer = dict[str, Any]


class RequestInbox:
    """Asked by any thread, answered by one."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[tuple[TaskRequest, Future[Answer]]] = queue.SimpleQueue()

    def ask(self, asked: TaskRequest) -> "Future[Answer]":
        """The future answer; it holds an :class:`EdgeRuntimeError` when the answer is no."""
        answer: Future[Answer] = Future()
        self._waiting.put((asked, answer))
        return answer

    def answer_all(self, obey: Callable[[TaskRequest], Answer]) -> None:
        """Have everything that waits obeyed."""
        while not self._waiting.empty():
            asked, answer = self._waiting.get()
            try:
                answer.set_result(obey(asked))
            except EdgeRuntimeError as err:
                answer.set_exception(err)
