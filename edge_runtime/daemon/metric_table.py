"""Every metric of ``/metrics``: the contract of rules and dashboards, shown in ``docs/metrics.md``."""

from edge_runtime.http.metric_samples import Kind, Metric

METRICS: list[Metric] = []
"""In the order of the page; the metrics of the process itself come from prometheus_client."""


def _metric(name: str, kind: Kind, text: str, *labels: str) -> Metric:
    metric = Metric(f"edge_runtime_{name}", kind, text, labels)
    METRICS.append(metric)
    return metric


# the box
BUILD = _metric("build", "info", "Version of edge-runtime and of Python.", "version", "python")
DEVICE = _metric("device", "info", "Name of the box, as in the configuration.", "device")
UPTIME = _metric(
    "uptime_seconds", "gauge", "Since the start of the daemon; right also where the clock is not."
)
LIVE = _metric("live", "gauge", "1 while a restart would not help, as /healthz.")
READY = _metric("ready", "gauge", "1 while results may be relied on, as /readyz.")
FINDING = _metric(
    "health_finding",
    "gauge",
    "1 for each part that is not as it should be; weight is dead, unready or note. No series where all is well.",
    "part",
    "weight",
)
SAFE_MODE = _metric(
    "safe_mode", "gauge", "1 while the configuration cannot be used, and no stream and no model runs."
)
CONFIG_EDITS = _metric(
    "config_edits", "counter", "Edits of the configuration; outcome is applied, refused or undone.", "outcome"
)
THREAD_FAILURES = _metric(
    "thread_failures", "counter", "Unexpected exceptions; a thread that never failed has no series.", "thread"
)
DISK_FREE = _metric("state_disk_free_bytes", "gauge", "Free space where the state directory is.")
DISK_SIZE = _metric("state_disk_size_bytes", "gauge", "Size of the file system where the state directory is.")

# models
MODEL = _metric(
    "model",
    "info",
    "What answers now; patch is none for the bundle as it is.",
    "model", "bundle", "version", "patch", "runs_on",
)  # fmt: skip
FRAMES = _metric("frames", "counter", "Frames that came to a model.", "model", "stream")
RESULTS = _metric("results", "counter", "Frames that were answered.", "model", "stream")
REJECTED = _metric(
    "frames_rejected",
    "counter",
    "Frames whose picture, window or answer cannot be used; a reason that never was has no series.",
    "model", "stream", "reason",
)  # fmt: skip
DROPPED = _metric(
    "frames_dropped",
    "counter",
    "Frames that were not answered; reason is oldest (the queue was full) or stale (older than max_age_ms).",
    "model", "reason",
)  # fmt: skip
ENGINE_ERRORS = _metric("engine_errors", "counter", "Batches that the engine failed on.", "model")
LOST = _metric("frames_lost_to_errors", "counter", "Frames whose batch failed.", "model")
LAST_INFERENCE = _metric(
    "last_inference_timestamp_seconds",
    "gauge",
    "When the last batch came back, also with an error; no series before the first.",
    "model",
)
BATCHES = _metric("batches", "counter", "Batches that were inferred.", "model")
BATCHED = _metric("batched_frames", "counter", "Frames in these batches.", "model")
SWAPS = _metric("swaps", "counter", "Generations that were put in while frames were answered.", "model")
QUEUED = _metric("queued_frames", "gauge", "Frames that wait for inference.", "model")

_ANSWERED = ("model", "version", "patch", "arm")
REQUEST_S = _metric(
    "request_duration_seconds", "histogram", "From the capture of a frame to its result.", *_ANSWERED
)
PREPROCESS_S = _metric(
    "preprocess_duration_seconds", "histogram", "To decode and prepare an answered frame.", *_ANSWERED
)
QUEUE_S = _metric(
    "queue_duration_seconds", "histogram", "That an answered frame waited for inference.", *_ANSWERED
)
INFERENCE_S = _metric(
    "inference_duration_seconds",
    "histogram",
    "Of the inference of an answered frame's batch, once for each frame in it.",
    *_ANSWERED,
)
CONFIDENCE = _metric(
    "answer_confidence_ratio",
    "histogram",
    "Score of the best class, or mean score of the boxes, of published answers.",
    *_ANSWERED,
)
ANSWERS = _metric(
    "answers",
    "counter",
    "Published answers by their best class, or that of their strongest box; (nothing) is no box. Of a regression with "
    "limits by the values that are outside (heat above) or inside limits; of anomalies anomalous or normal. (other) is "
    "all classes after the first 20 that came.",
    "model", "class",
)  # fmt: skip

# drift, recalibration, versions
BASELINE = _metric(
    "baseline_present", "gauge", "1 where there is a baseline, so that drift is seen.", "model"
)
DRIFT = _metric("drift_score", "gauge", "Distance of the newest frames from the baseline.", "model")
DRIFT_THRESHOLD = _metric("drift_threshold", "gauge", "Score that is alarming.", "model")
DRIFT_ANSWERS = _metric(
    "drift_answers_score",
    "gauge",
    "Distance of the newest answers from those of the baseline; no series where it holds none.",
    "model",
)
DRIFT_ALARM = _metric("drift_alarm", "gauge", "1 from an alarm until the frames are healthy again.", "model")
DRIFT_CORRECTED = _metric(
    "drift_corrected", "gauge", "1 while the active patch answers the drift of now.", "model"
)
DRIFT_ALARMS = _metric("drift_alarms", "counter", "Alarms.", "model")
RECALIBRATIONS = _metric(
    "recalibrations",
    "counter",
    "Recalibrations but for dry runs; outcome is accepted, proposed, observed, refused (by the gate or in the shadow) "
    "or failed.",
    "model", "outcome",
)  # fmt: skip
ROLLBACKS = _metric("rollbacks", "counter", "Patches that were taken back.", "model")
WAITS = _metric("patch_waiting", "gauge", "1 while a patch waits for approve-patch or reject-patch.", "model")
STAGE = _metric(
    "rollout_stage",
    "gauge",
    "1 for the stage of the version that is on its way; no series while there is none.",
    "model", "version", "stage",
)  # fmt: skip
PAUSED = _metric("rollout_paused", "gauge", "1 while that version waits for a person.", "model")
ROLLOUTS = _metric(
    "rollouts", "counter", "Versions that came to an end of their way: active or refused.", "model", "outcome"
)
REFUSED_VERSIONS = _metric(
    "refused_versions", "gauge", "Versions that are not tried again by themselves.", "model"
)

# cameras
CAPTURED = _metric("camera_frames", "counter", "Frames that the device gave.", "stream")
CAMERA_DROPPED = _metric(
    "camera_frames_dropped",
    "counter",
    "Frames for which a newer one was taken, or above the limit fps.",
    "stream",
)
SAMPLES = _metric("sensor_samples", "counter", "Samples that came in messages that could be read.", "stream")
SAMPLES_LEFT_OUT = _metric(
    "sensor_samples_left_out",
    "counter",
    "Those of them that are in no window: late, or a duplicate of another one.",
    "stream",
    "reason",
)
NEW_BEGINS = _metric(
    "sensor_windows_begun_anew",
    "counter",
    "How often a window of a sensor was given up: after a gap, or since its clock was put back (clock).",
    "stream",
    "cause",
)
RESTARTS = _metric("camera_restarts", "counter", "How often the device was opened again.", "stream")
CAMERA_CPU = _metric(
    "camera_cpu_seconds",
    "counter",
    "CPU time of the processes that open and decode it; 0 where the daemon itself reads it.",
    "stream",
)
LAST_FRAME = _metric(
    "camera_last_frame_timestamp_seconds",
    "gauge",
    "When the newest frame came; no series before the first.",
    "stream",
)

# delivery
ENQUEUED = _metric("outbox_enqueued", "counter", "Messages that were put into the outbox.", "channel")
DELIVERED = _metric("outbox_delivered", "counter", "Messages that the destination has confirmed.", "channel")
OUTBOX_DROPPED = _metric(
    "outbox_dropped",
    "counter",
    "Messages that are lost; reason is size (outbox full), age, queue (the disk is too slow), refusal or damage.",
    "channel", "reason",
)  # fmt: skip
PENDING = _metric("outbox_pending", "gauge", "Messages that wait.", "channel")
PENDING_BYTES = _metric("outbox_pending_bytes", "gauge", "Their size.", "channel")
DURABLE = _metric("outbox_durable", "gauge", "0 while the outbox cannot be written.", "channel")
DELIVERY_READY = _metric("delivery_ready", "gauge", "1 while the destination is there.", "channel")
STALLED = _metric(
    "delivery_stalled_seconds",
    "gauge",
    "For how long it has been there and messages have waited in vain.",
    "channel",
)
CONNECTED = _metric(
    "broker_connected", "gauge", "1 while connected; no series where no broker is configured."
)
COMMANDS = _metric("commands", "counter", "Requests by what became of them.", "outcome")
UNDER_WAY = _metric("commands_under_way", "gauge", "Commands that are being carried out.")

# objects
OBJECTS_SKIPPED = _metric(
    "objects_skipped_results",
    "counter",
    "Results in which objects were not followed, since they came faster than the tracker took them.",
)

# HTTP
HTTP_REQUESTS = _metric(
    "http_requests",
    "counter",
    "Answered requests; code 429 is a full queue of inputs, route other an address that does not exist.",
    "route",
    "code",
)
CERTIFICATE = _metric(
    "certificate_expiry_timestamp_seconds",
    "gauge",
    "When the servers' certificate expires; no series without http.tls.",
)
WRONG_TOKENS = _metric("http_wrong_tokens", "counter", "Requests with a token that no caller has.")
GRPC_REQUESTS = _metric(
    "grpc_requests",
    "counter",
    "Answered calls; code RESOURCE_EXHAUSTED is a full queue of inputs.",
    "call",
    "code",
)
