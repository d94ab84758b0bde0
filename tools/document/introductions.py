"""The words at the beginning of each page: what it has, and where the how and why are."""

INTRODUCTIONS = {
    "README": """
What others may rely on: every name here keeps its meaning. A name is taken away, or means something else, only with a
line under *Removed* or *Changed* in the [changelog](../../CHANGELOG.md). New ones may come with any release: readers of
JSON must take fields that they do not know. A field of an object that may be null or absent is `always` there where the
object is. All of it is written from the types of the program. `since` is the release
that a name came with; `next` has not been released yet.
""",
    "topics": """
MQTT version 5. `<prefix>` is `mqtt.prefix` of the configuration (`edge`), `<device>` is `device`. How messages are
delivered, and what becomes of those that are not: [operations](../operations.md#mqtt). The same for machines, as
AsyncAPI 3.0: [asyncapi.json](asyncapi.json) of an example, `edge-runtime asyncapi FILE` and `/asyncapi.json` of a
device.

Answers to `status` and `logs`, and results and rejections that are sent to the response topic of a picture, have QoS 0.
""",
    "recordings": """
What `edge-runtime record` writes and `replay` and `compare` read: [recordings](../recordings.md). A line of
`answers.jsonl` is a [result or a rejection](topics.md) as it was published, and `raw`. The same for machines, as JSON
Schema: [recording.schema.json](recording.schema.json).
""",
    "commands": """
Verbs of remote commands over [MQTT](topics.md). How they are sent, signed, repeated and refused, with examples:
[commands](../commands.md).
""",
    "events": """
Where events come from, how long they are kept, and when there is which: [events](../events.md). Fields may be added to
a kind; those that are here keep their names and meaning. A variant is the name of its type in
[asyncapi.json](asyncapi.json).
""",
    "status": """
Everything that a device knows about itself: the page `/status`, and the answer to the command `status`. What its
figures mean for an operator: [operations](../operations.md).
""",
    "http": """
On `http.host`:`http.port` of the configuration (127.0.0.1:8080). How pictures are answered, who may ask, what that
costs: [http](../http.md); what the pages say: [operations](../operations.md#http). The same for machines, as OpenAPI
3.1: [openapi.json](openapi.json), and `/openapi.json` of a device.
""",
    "metrics": """
Of `/metrics`. How to scrape them, how long they count, alert rules and a dashboard: [metrics](../metrics.md).

`process_cpu_seconds_total`, `process_resident_memory_bytes` and the others of the process are those of
[prometheus_client](https://prometheus.github.io/client_python/); they leave out the children that decode cameras
(`edge_runtime_camera_cpu_seconds_total`) and recalibrate.
""",
    "configuration": """
`NAME` is a name of your own: of a model, a camera, a key. What the keys are for, with examples:
[configuration](../configuration.md). The same for editors, as JSON Schema:
[edge-runtime.schema.json](../../configs/edge-runtime.schema.json), and `edge-runtime schema`.
""",
    "exit-codes": """
Of `edge-runtime`, after sysexits(3). What systemd makes of them: [operations](../operations.md#exit-codes).
""",
}
