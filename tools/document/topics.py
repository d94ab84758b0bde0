"""The pages of MQTT: topics and payloads, and commands. From the AsyncAPI document."""

from collections.abc import Iterator, Mapping
from typing import Any

from edge_runtime.messaging.commands.request import ARGUMENTS, CLAIMS
from edge_runtime.messaging.commands.roles import find_least_role
from edge_runtime.messaging.commands.verb_texts import VERB_TEXTS
from tools.document.fields import OF_REQUESTS, list_fields, make_rows
from tools.document.markdown import code, page, prose, table
from tools.document.since import Since

Document = Mapping[str, Any]

_PAYLOADS = {
    "result": "[below](#result)",
    "rejected": "[below](#rejected)",
    "objects": "[below](#objects)",
    "snapshot": "a JPEG",
    "event": "[events](events.md)",
    "availability": "text: `online` or `offline`",
    "state": "[below](#state)",
    "figures": "[below](#figures)",
    "progress": "[commands](commands.md#answers)",
    "discovery": "as [Home Assistant](../home-assistant.md) wants it",
    "home-assistant": "text: `online` or `offline`",
    "upload": "bytes of an archive",
    "picture": "the bytes of a picture or of a `.npy` array",
    "signal": "[samples](../signals.md) in the declared format",
    "request": "[commands](commands.md)",
    "response": "[commands](commands.md#answers)",
}


def make_topics_page(document: Document, since: Since) -> str:
    """Topics, and the payloads that are no events, commands or answers."""
    rows = [*_list_topics(document, since), *_list_command_topics(document, since)]
    head = ("topic", "from the device's view", "QoS", "retained", "payload", "", "since")
    parts = [
        "## Topics",
        table(head, rows),
    ]
    definitions = document["components"]["schemas"]
    for name in ("result", "rejected", "objects", "state", "figures"):
        message = document["components"]["messages"][name]
        fields = list(list_fields(message["payload"], definitions))
        parts += [f"## {name.capitalize()}", message["summary"], make_rows(fields, since, f"topic {name}")]
    return page("MQTT topics and payloads", "topics", *parts)


def _list_topics(document: Document, since: Since) -> Iterator[tuple[str, ...]]:
    for key, operation in document["operations"].items():
        action, name = key.split("-", 1)
        if operation["channel"]["$ref"] != f"#/channels/{name}" or name.startswith("group-"):
            continue  # a command, which may have the name of a topic
        channel = document["channels"][name]
        mqtt = operation["bindings"]["mqtt"]
        yield (
            code(_angled(channel["address"])),
            f"{action}s",
            str(mqtt["qos"]),
            "yes" if mqtt["retain"] else "",
            _PAYLOADS[name],
            prose(channel["description"]),
            since.of(f"topic {name}"),
        )


def _list_command_topics(document: Document, since: Since) -> Iterator[tuple[str, ...]]:
    of_status = {kind: document["channels"][f"{kind}-status"]["address"] for kind in ("request", "response")}
    group = next(key for key in document["channels"] if key.startswith("group-"))
    addresses = (
        ("request", of_status["request"], "receives", "A command, where `mqtt.commands` is true."),
        ("request", document["channels"][group]["address"], "receives", "The same to a group of devices."),
        ("response", of_status["response"], "sends", "Its answer, where the caller names no other topic."),
    )
    for kind, address, action, what in addresses:
        topic = _angled(f"{address.rsplit('/', 1)[0]}/{{verb}}")
        yield code(topic), action, "1", "", _PAYLOADS[kind], what, since.of(f"topic {topic}")


def _angled(address: str) -> str:
    """Names in angle brackets; the topic of Home Assistant has the prefix with other signs."""
    return address.replace("{", "<").replace("}", ">").replace("_prefix_", "<prefix>")


def make_commands_page(document: Document, since: Since) -> str:
    """Verbs, their arguments, and answers."""
    definitions, messages = document["components"]["schemas"], document["components"]["messages"]
    verbs = [
        (
            f"[`{verb}`](#{verb})",
            str(find_least_role(verb)),
            prose(VERB_TEXTS[verb]),
            since.of(f"command {verb}"),
        )
        for verb in ARGUMENTS
    ]
    common = _arguments(document, "status")
    parts = [
        "## Verbs",
        table(("verb", "least role", "", "since"), verbs),
        "## Arguments of every command",
        make_rows(list(list_fields(common, definitions)), since, "command", words=OF_REQUESTS),
        "## Answers",
        "An answer, and before it, of commands that take long, progress:",
        make_rows(list(list_fields(_envelope(document), definitions)), since, "answer"),
        make_rows(list(list_fields(messages["progress"]["payload"], definitions)), since, "progress"),
    ]
    for verb in ARGUMENTS:
        parts += [f"## `{verb}`", *_describe_verb(document, verb, since)]
    return page("Commands", "commands", *parts)


def _describe_verb(document: Document, verb: str, since: Since) -> Iterator[str]:
    definitions = document["components"]["schemas"]
    arguments = [
        one for one in list_fields(_arguments(document, verb), definitions) if one.name not in CLAIMS
    ]
    if arguments:
        yield make_rows(arguments, since, f"command {verb}", words=OF_REQUESTS)
    else:
        yield "No arguments but those of every command."
    if verb == "status":
        yield "`data` of the answer: the [status](status.md)."
        return
    data = document["components"]["messages"][f"response-{verb}"]["payload"]["properties"]["data"]
    fields = list(list_fields(data, definitions))
    if fields:
        yield "`data` of the answer:"
        yield make_rows(fields, since, f"answer {verb}")


def _arguments(document: Document, verb: str) -> Mapping[str, Any]:
    """Of a request that is no token."""
    found: Mapping[str, Any] = document["components"]["messages"][f"request-{verb}"]["payload"]["oneOf"][0]
    return found


def _envelope(document: Document) -> Mapping[str, Any]:
    """An answer without what is in its data."""
    answer = document["components"]["messages"]["response-restart"]["payload"]
    return {
        **answer,
        "properties": {**answer["properties"], "data": {"type": "object", "description": "Only of `ok`."}},
    }


def make_status_page(document: Document, since: Since) -> str:
    """The answer to ``status``, and the page ``/status``."""
    definitions = document["components"]["schemas"]
    name = document["components"]["messages"]["response-status"]["payload"]["properties"]["data"]["$ref"]
    fields = list(list_fields(definitions[name.rsplit("/", 1)[1]], definitions))
    return page(
        "Status",
        "status",
        make_rows(fields, since, "status"),
    )
