"""Keeps Home Assistant informed of the box: its discovery message, and the figures that its entities show.

The main thread looks at the configuration in force at each tick, so an edit counts at once. Without
``mqtt.home_assistant`` nothing is subscribed and nothing sent. An entity that goes is marked in the message as removed;
which ones there were is also read from the message that the broker keeps, since the edit may have been made while the
daemon was down. In safe mode nothing is said: what Home Assistant knows of the box is still right.
"""

import random
from collections import deque
from collections.abc import Callable, Mapping
from math import inf

import structlog

from edge_runtime.config import Config, HomeAssistantConfig
from edge_runtime.daemon.figures import Rates, count_results, describe_figures
from edge_runtime.daemon.running import Running
from edge_runtime.inference.specs import PostprocessSpec, RegressionSpec, RegressionValue
from edge_runtime.messaging.encoding import encode_object
from edge_runtime.messaging.home_assistant.discovery import (
    describe_device,
    describe_removed,
    discovery_topic,
    find_components,
    mark_removed,
)
from edge_runtime.messaging.home_assistant.entities import OpenModel
from edge_runtime.messaging.mqtt.client import MqttClient
from edge_runtime.messaging.mqtt.message import Message
from edge_runtime.messaging.mqtt.topics import Topics
from edge_runtime.system.supervised_thread import Crashes

log = structlog.get_logger()

SPREAD_S = 2.0
"""Within this time after Home Assistant's start the boxes of a site describe themselves, not all at once."""
SETTLE_S = 2.0
"""After its message the figures wait so long: by then Home Assistant listens to them."""
AT_ONCE = 4
"""Pictures that are asked for at a tick: those of dozens of cameras would not find room, and be copied all at once."""
BORN = b"online"


class _Link:
    """What is heard over one connection. Its handlers run in the network thread, and only note."""

    def __init__(self, client: MqttClient, section: HomeAssistantConfig, topics: Topics, topic: str) -> None:
        self.client, self.section, self.topics, self.topic = client, section, topics, topic
        self.connects = 0
        self.births: deque[bytes] = deque(maxlen=1)
        self.found: deque[bytes] = deque(maxlen=1)
        """The message that the broker kept when it was asked."""
        self._ends = (
            client.subscribe(section.status_topic, self._note_status, keeps_retain_flag=False),
            client.subscribe(topic, self._note_found, keeps_retain_flag=False),
        )

    def end(self) -> None:
        """Hear nothing more."""
        for end in self._ends:
            end()

    def _note_status(self, message: Message) -> None:
        if message.payload == BORN and not message.is_retained:
            self.births.append(message.payload)

    def _note_found(self, message: Message) -> None:
        if message.is_retained:
            self.found.append(message.payload)


class HomeAssistant:
    """See the module. All methods are the main thread's."""

    def __init__(
        self,
        running: Running,
        send_picture: Callable[[str], None],
        crashes: Crashes,
        pick: Callable[[], float] = random.random,
    ) -> None:
        """``send_picture`` sends the next one of a camera, if it may leave; ``pick`` gives a random number in 0..1."""
        self._send_picture = send_picture
        self._running, self._crashes, self._pick = running, crashes, pick
        self._link: _Link | None = None
        self._described: tuple[Config, dict[str, OpenModel]] | None = None
        self._sent: bytes | None = None
        """The message that Home Assistant has; None when it may have another."""
        self._known: dict[str, str] = {}
        """Platforms by key of the entities that it may have."""
        self._due_s: float | None = None
        """When the message is to be sent; None when it need not be."""
        self._stale: dict[str, bytes] = {}
        """Topics on which the box describes itself no longer, and the message that removes its entities."""
        self._figures_due_s, self._rates = 0.0, Rates()
        self._pictures_due_s = 0.0
        self._to_show: deque[str] = deque()
        """Cameras of which a picture is due."""
        self._alarms: frozenset[str] = frozenset()
        """Models whose drift alarm was on."""

    def tick(self, now_s: float) -> None:
        """Send what is due; never waits."""
        with self._crashes.contain("home-assistant", log_once=True):
            self._look(now_s)

    def _look(self, now_s: float) -> None:
        config, connection = self._running.config, self._running.connection
        client = connection.client
        section = None if config.mqtt is None else config.mqtt.home_assistant
        if config.is_safe_mode or client is None:
            return
        self._follow(client, section, connection.topics)
        if client.session is None:
            return
        self._clear_stale(client)
        if self._link is not None:
            self._notice(self._link, config, now_s)
            if self._due_s is not None and now_s >= self._due_s:
                self._describe(self._link, config, connection.topics, now_s)
            if now_s >= self._figures_due_s:
                self._send_figures(self._link, config, connection.topics, now_s)
            if now_s >= self._pictures_due_s:
                self._plan_pictures(self._link, config, now_s)
            self._send_pictures()

    def _follow(self, client: MqttClient, section: HomeAssistantConfig | None, topics: Topics) -> None:
        """Listen by the settings in force."""
        link = self._link
        topic = None if section is None else discovery_topic(section.discovery_prefix, topics)
        if link is not None and (link.client, link.section, link.topic) != (client, section, topic):
            link.end()
            self._link = None
            if link.topic != topic:
                self._stale[link.topic] = encode_object(describe_removed(link.topics, self._known))
                self._known = {}
        if self._link is None and section is not None and topic is not None:
            self._link = _Link(client, section, topics, topic)
            self._stale.pop(topic, None)

    def _clear_stale(self, client: MqttClient) -> None:
        """Have Home Assistant forget the entities, and the broker the message."""
        for topic, removal in tuple(self._stale.items()):
            client.publish_retained(topic, removal)
            if client.publish_retained(topic, b""):
                del self._stale[topic]

    def _notice(self, link: _Link, config: Config, now_s: float) -> None:
        """Whether something has happened after which the message is sent (again)."""
        models = self._find_models()
        if self._described is None or config is not self._described[0] or models != self._described[1]:
            self._described, self._due_s = (config, models), now_s
        if link.connects != link.client.connects:  # a broker may have forgotten what it was to keep
            link.connects, self._sent, self._due_s = link.client.connects, None, now_s
        if link.births:
            link.births.clear()
            self._sent, self._due_s = None, now_s + SPREAD_S * self._pick()
        if link.found and (found := find_components(link.found.pop())).keys() - self._known.keys():
            self._known |= found
            self._due_s = now_s

    def _find_models(self) -> dict[str, OpenModel]:
        return {
            name: OpenModel(
                runtime.bundle.manifest.postprocess.task,
                is_watched=runtime.controller is not None,
                tries_versions=runtime.rollout is not None,
                values=find_values(runtime.bundle.manifest.postprocess),
            )
            for name, runtime in dict(self._running.models).items()
        }

    def _describe(self, link: _Link, config: Config, topics: Topics, now_s: float) -> None:
        message = describe_device(config, self._find_models(), topics)
        payload = encode_object(mark_removed(message, self._known))
        if payload != self._sent and not link.client.publish_retained(link.topic, payload):
            room = link.client.find_room(link.topic)
            if room is None or len(payload) <= room:
                return  # the connection has just been lost; it is sent over the next one
            log.error("Home Assistant is not told of the box: the broker takes no message of this size",
                      size_bytes=len(payload), most_bytes=room)  # fmt: skip
        self._sent, self._due_s = payload, None
        self._figures_due_s = self._pictures_due_s = now_s + SETTLE_S
        self._known = {key: one["platform"] for key, one in message["components"].items()}

    def _send_figures(self, link: _Link, config: Config, topics: Topics, now_s: float) -> None:
        self._figures_due_s = now_s + link.section.figures_every_s
        models = {name: runtime.status() for name, runtime in dict(self._running.models).items()}
        rates = self._rates.update(count_results(models), now_s)
        shown: Mapping[str, float | None] = {
            name: rates.get(name) for name, section in config.streams.items() if section.enabled
        }
        rollouts = {name: model.rollout for name, model in config.models.items()}
        figures = describe_figures(models, rollouts, shown)
        link.client.publish(topics.figures, encode_object(figures), is_light=True)
        alarms = frozenset(name for name, one in figures["models"].items() if one["drift_alarm"])
        if alarms - self._alarms:
            self._pictures_due_s = now_s
        self._alarms = alarms

    def _plan_pictures(self, link: _Link, config: Config, now_s: float) -> None:
        every_s = link.section.pictures_every_s
        self._pictures_due_s = inf if every_s is None else now_s + every_s
        if every_s is not None:
            shown = [name for name, camera in config.cameras.items() if camera.enabled and camera.snapshots]
            self._to_show.extend(name for name in shown if name not in self._to_show)

    def _send_pictures(self) -> None:
        for _ in range(min(AT_ONCE, len(self._to_show))):
            self._send_picture(self._to_show.popleft())


def find_values(spec: PostprocessSpec) -> tuple[RegressionValue, ...]:
    """The values of a regression, of which each is an entity."""
    return spec.values if isinstance(spec, RegressionSpec) else ()
