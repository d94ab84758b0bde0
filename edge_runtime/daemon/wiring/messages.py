"""From a message of the broker to the queue of a source."""

import time
from collections.abc import Callable

from edge_runtime.messaging.mqtt.session import Message
from edge_runtime.sources.message_queue import MessageQueue
from edge_runtime.sources.mqtt_origin import read_origin


def post_message(
    queue: MessageQueue, may_answer: Callable[[str], bool], retained: str, message: Message
) -> None:
    """Put a message into a queue; a retained one is ignored, since it comes again at every connection.

    Args:
        queue: Where it goes.
        may_answer: Whether this device may publish to a response topic.
        retained: The problem that a retained one is.
        message: As it came.
    """
    if message.is_retained:
        queue.ignore(retained)
        return
    origin = read_origin(
        correlation=message.correlation,
        content_type=message.content_type,
        properties=message.properties,
        response_topic=message.response_topic,
        may_answer=may_answer,
    )
    queue.offer(message.payload, time.monotonic(), origin)
