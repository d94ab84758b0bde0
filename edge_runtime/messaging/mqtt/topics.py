"""MQTT topics of this device. Pure text.

A :class:`Topics` checks its parts once; every topic built from it is then valid.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from edge_runtime.errors import ConfigError, Problem

MAX_PART_BYTES = 128
MAX_TOPIC_BYTES = 65_535
"""A UTF-8 string has a 16-bit length; MQTT v5 section 1.5.4."""


def check_part(name: str, where: str) -> str:
    """The name itself when it can be one level of a topic.

    Raises:
        ConfigError: it is empty, too long, starts with ``$``, or holds a wildcard, ``/``, a control character, a
            surrogate or a non-character (MQTT v5 sections 1.5.4 and 4.7).
    """
    is_text = all(char not in "+#/" and _is_text(char) for char in name)
    if is_text and not name.startswith("$") and 0 < len(name.encode()) <= MAX_PART_BYTES:
        return name
    forbidden = "'/', '+', '#', control characters or a leading '$', which brokers keep for themselves"
    expected = f"1-{MAX_PART_BYTES} bytes of text without {forbidden}"
    raise ConfigError("MQTT topic", (Problem(where, None, repr(name), expected),))


def _is_text(char: str) -> bool:
    """False for control characters, surrogates and non-characters; a broker may close the connection on these."""
    code = ord(char)
    is_control = code < 0x20 or 0x7F <= code <= 0x9F
    is_surrogate = 0xD800 <= code <= 0xDFFF
    is_noncharacter = 0xFDD0 <= code <= 0xFDEF or code & 0xFFFE == 0xFFFE
    return not (is_control or is_surrogate or is_noncharacter)


@dataclass(frozen=True, slots=True)
class Topics:
    """All topics of one device: ``<prefix>/<device>/…``. The prefix may have several levels (``plant/edge``).

    Raises:
        ConfigError: prefix or device cannot be part of a topic.
    """

    prefix: str
    device: str

    def __post_init__(self) -> None:
        for level in self.prefix.split("/"):
            check_part(level, "mqtt.prefix")
        check_part(self.device, "device")

    @property
    def root(self) -> str:
        """``<prefix>/<device>``."""
        return f"{self.prefix}/{self.device}"

    @property
    def availability(self) -> str:
        """Retained ``online`` or ``offline``; also the last will."""
        return f"{self.root}/availability"

    @property
    def state(self) -> str:
        """Retained JSON object with the state of the device."""
        return f"{self.root}/state"

    @property
    def event(self) -> str:
        """Things an operator may want to know."""
        return f"{self.root}/event"

    @property
    def figures(self) -> str:
        """How the cameras and models do, every few seconds; with Home Assistant only."""
        return f"{self.root}/figures"

    @property
    def requests(self) -> str:
        """The subscription for commands to this device."""
        return f"{self.root}/request/+"

    def group_requests(self, group: str) -> str:
        """The subscription for commands to all devices of a group."""
        return f"{self.prefix}/groups/{check_part(group, 'commands.groups')}/request/+"

    def group_request(self, group: str, verb: str) -> str:
        """Where a command to a group is sent."""
        return f"{self.prefix}/groups/{check_part(group, 'group')}/request/{check_part(verb, 'verb')}"

    def result(self, stream: str) -> str:
        """Results of one stream."""
        return f"{self.root}/result/{check_part(stream, 'stream')}"

    def rejected(self, stream: str) -> str:
        """Frames of one stream that have no result, and why."""
        return f"{self.root}/rejected/{check_part(stream, 'stream')}"

    def objects(self, stream: str) -> str:
        """What becomes of the objects of one stream, where they are followed."""
        return f"{self.root}/objects/{check_part(stream, 'stream')}"

    def snapshot(self, stream: str) -> str:
        """Pictures of one camera, as JPEGs."""
        return f"{self.root}/snapshot/{check_part(stream, 'stream')}"

    def picture(self, stream: str) -> str:
        """Where pictures of a stream come in, when its camera's path is ``mqtt``."""
        return f"{self.root}/picture/{check_part(stream, 'stream')}"

    def signal(self, stream: str) -> str:
        """Where samples of a sensor come in, when its path is ``mqtt`` and it names no other topic."""
        return f"{self.root}/signal/{check_part(stream, 'stream')}"

    def request(self, verb: str) -> str:
        """Where a command is sent."""
        return f"{self.root}/request/{check_part(verb, 'verb')}"

    def response(self, verb: str) -> str:
        """Where its answer goes when the caller names no response topic."""
        return f"{self.root}/response/{check_part(verb, 'verb')}"

    @property
    def uploads(self) -> str:
        """The subscription for chunks of a bundle."""
        return f"{self.root}/upload/+"

    def upload(self, chunk: str) -> str:
        """Where the chunk with this name is sent."""
        return f"{self.root}/upload/{check_part(chunk, 'chunk')}"

    def allows_response_to(self, topic: str, prefixes: Sequence[str] = ()) -> bool:
        """Whether a response topic named by a caller may be published to.

        A caller must not make the device speak as something else, such as another device or a lock that listens on the
        same broker: only topics below ``<root>/response/`` and below ``prefixes``. The latter open nothing else below
        the device's root, and no request of any device: answers would become results or commands there.
        """
        if not topic or topic.startswith("$") or len(topic.encode(errors="replace")) > MAX_TOPIC_BYTES:
            return False
        if any(char in "+#" or not _is_text(char) for char in topic):
            return False
        if f"{topic}/".startswith(f"{self.root}/"):
            return topic.startswith(f"{self.root}/response/")
        if topic.startswith(f"{self.prefix}/") and "request" in topic.split("/"):
            return False
        return any(f"{topic}/".startswith(f"{prefix}/") for prefix in prefixes)


def progress_topic(response: str) -> str:
    """Where the progress of a command goes: not where its answer goes, of which callers take the first message."""
    return f"{response}/progress"


def matches(topic_filter: str, topic: str) -> bool:
    """Whether a topic falls under a subscription with ``+`` and ``#`` (MQTT v5 section 4.7)."""
    wanted, levels = topic_filter.split("/"), topic.split("/")
    if topic.startswith("$") and wanted[0] in ("+", "#"):
        return False
    for depth, level in enumerate(wanted):
        if level == "#":
            return True
        if depth >= len(levels) or level not in ("+", levels[depth]):
            return False
    return len(wanted) == len(levels)
