"""From a message of the broker to the queue of a source."""

import time
from collections.abc import Callable
from functools import partial

from edge_runtime.messaging.connection import BrokerConnection
from edge_runtime.messaging.mqtt.message import Message
from edge_runtime.sources.message_queue import MessageQueue
from edge_runtime.sources.mqtt_origin import read_origin


def fill_from_topic(queue: MessageQueue, connection: BrokerConnection, topic: str, retained: str) -> None:
    """Put the messages of a topic into a queue until it is closed; ``retained`` is the problem of a retained one."""
    client = connection.client
    assert client is not None, "the configuration was checked: path mqtt needs a section mqtt"
    post = partial(_post, queue, connection.may_answer, retained)
    # Many senders publish every message with the retain flag: only one that the broker had kept is old.
    queue.on_close = client.subscribe(topic, post, keeps_retain_flag=False)


def _post(queue: MessageQueue, may_answer: Callable[[str], bool], retained: str, message: Message) -> None:
    """Put one message into a queue; a retained one is ignored, since it comes again at every connection."""
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
