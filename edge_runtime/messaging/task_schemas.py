"""JSON Schemas of answers to commands that steer models: what ``recalibration`` and ``deployment`` give. Pure."""

from edge_runtime.messaging.type_schemas import REF, Schema

_TEXT: Schema = {"type": "string"}
_TEXTS: Schema = {"type": "array", "items": _TEXT}
_TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_DISTANCE: Schema = {"type": ["number", "null"], "minimum": 0}
_TIME: Schema = {"type": ["number", "null"], "x-unit": "s since 1970"}
_GENERATION: Schema = {**_TEXT, "description": "Active now: `bundle/version+patch`."}
_ROLLED_BACK: Schema = {
    "type": "object",
    "properties": {"generation": _GENERATION},
    "required": ["generation"],
}
_RESTARTING: Schema = {
    "type": "object",
    "properties": {
        "restarting": {"const": True, "description": "It ends in good order, and systemd starts it."}
    },
    "required": ["restarting"],
}
_APPROVED: Schema = {
    "type": "object",
    "properties": {
        "generation": {**_GENERATION, "description": "With the patch, active now."},
        "shadow": {**_TEXT, "description": "Id of the patch, which is tried in the shadow first."},
        "frames_wanted": {**_COUNT, "description": "Only with `shadow`: that it answers there."},
    },
    "oneOf": [{"required": ["generation"]}, {"required": ["shadow", "frames_wanted"]}],
}
_REJECTED: Schema = {
    "type": "object",
    "properties": {"rejected": {**_TEXT, "description": "Id of the patch."}},
    "required": ["rejected"],
}
_BASELINE: Schema = {
    "type": "object",
    "properties": {
        "name": _TEXT,
        "id": {**_TEXT, "description": "Digest of its figures; an approval leaves it as it is."},
        "bundle": {**_TEXT_OR_NULL, "description": "Name and version of that whose model it is of."},
        "model_sha256": _TEXT,
        "preprocessing": {
            **_TEXT_OR_NULL,
            "description": "Digest of how pictures or windows became samples.",
        },
        "streams": {**_TEXTS, "description": "Cameras that its frames came from."},
        "sample_period_s": {
            "type": ["number", "null"],
            "description": "Mean time between two of its frames.",
        },
        "blessed_by": {
            **_TEXT_OR_NULL,
            "description": "By whom or by what the site was approved as healthy.",
        },
        "blessed_wall_s": {**_TIME, "description": "When."},
        "expires_wall_s": {**_TIME, "description": "From then on no patch is made from it; null: no end."},
        "is_expired": {"type": "boolean"},
        "recorded_wall_s": {"type": "number"},
        "frames": {**_COUNT, "description": "That it was made from."},
        "effective_frames": {
            "type": "number",
            "minimum": 0,
            "description": "As many independent frames would tell as much.",
        },
        "taps": {**_COUNT, "description": "Places in the model where moments were measured."},
        "channels": {**_COUNT, "description": "Of all taps."},
        "input_shape": {"type": "array", "items": _COUNT, "description": "Of the model, without the batch."},
        "library": {**_TEXT, "description": "Name and version of what recorded it."},
    },
}
_BASELINE["required"] = list(_BASELINE["properties"])
_SCORED: Schema = {
    **_BASELINE,
    "properties": {
        **_BASELINE["properties"],
        "score": {
            **_DISTANCE,
            "description": "Of what is seen from it; null before the first frame.",
        },
        "threshold": {**_DISTANCE, "description": "The score at which it no longer fits."},
    },
    "required": [*_BASELINE["required"], "score", "threshold"],
}
_BASELINES: Schema = {
    "type": "object",
    "properties": {
        "in_use": {**_TEXT_OR_NULL, "description": "Name of the one that frames are compared with."},
        "baselines": {"type": "object", "additionalProperties": _SCORED, "description": "By name."},
        "problems": {
            "type": "object",
            "additionalProperties": _TEXT,
            "description": "By name of one that cannot be used, why.",
        },
    },
    "required": ["in_use", "baselines", "problems"],
}
_BEGUN: Schema = {
    "frames_wanted": {**_COUNT, "description": "That are collected before the work begins."},
}
_ENDED: Schema = {
    "reasons": {**_TEXTS, "description": "Why, for people."},
    "is_lasting": {
        "type": "boolean",
        "description": "Only of `failed`: not tried again until model or configuration change, or on command.",
    },
}
_WHEN_ENDED = "Only with `timeout_s`. `given_up`: ended without a result. `goes_on`: the time was too short."
_COMMISSION: Schema = {
    "type": "object",
    "properties": {
        "begun": {"const": "commission"},
        **_BEGUN,
        "outcome": {"enum": ["recorded", "failed", "given_up", "goes_on"], "description": _WHEN_ENDED},
        "name": {**_TEXT, "description": "Of the baseline that was recorded."},
        "frames": {**_COUNT, "description": "That it was made from."},
        "taps": {**_COUNT, "description": "Places in the model where moments were measured."},
        **_ENDED,
    },
    "required": ["begun", "frames_wanted"],
}
_RECALIBRATE: Schema = {
    "type": "object",
    "properties": {
        "begun": {"const": "recalibrate"},
        **_BEGUN,
        "reference": {**_TEXT, "description": "The frames: `live`, `folder`, or a set's name."},
        "dry_run": {"const": True, "description": "Only of one."},
        "outcome": {
            "enum": [
                "accepted", "proposed", "observed", "dry_run", "refused", "failed", "given_up", "goes_on",
            ],
            "description": f"{_WHEN_ENDED} The others are those of the event `recalibration`.",
        },
        "accepted": {"type": "boolean", "description": "By the gate."},
        "candidate": {**_TEXT, "description": "That was chosen; `identity`: nothing is changed."},
        **_ENDED,
        "notes": {**_TEXTS, "description": "Limits of the answer."},
        "seconds": {"type": "number", "minimum": 0, "x-unit": "s", "description": "How long the work took."},
        "report": {**_TEXT, "description": "`model/id` of its page below `/reports`, where there is one."},
        "patch": {
            "type": ["string", "null"],
            "description": "Only of `accepted` and `proposed`: its id; null: the model as it is.",
        },
        "generation": {**_GENERATION, "description": "Only of `accepted`: active now."},
    },
    "required": ["begun", "frames_wanted", "reference"],
}  # fmt: skip
_STEP: Schema = {
    "type": "object",
    "properties": {
        "at_wall_s": {"type": "number"},
        "bundle": {**_TEXT, "description": "The candidate, name and version."},
        "active": {**_TEXT, "description": "The version that answers unless the candidate does."},
        "before": {**_TEXT, "description": "The stage that it was in."},
        "stage": {**_TEXT, "description": "The stage from then on."},
        "reason": _TEXT,
        "paused": {**_TEXT_OR_NULL, "description": "Why it waits for a person."},
        "findings": {
            "type": "object",
            "additionalProperties": {"$ref": f"{REF}EventFinding"},
            "description": "By metric, of the stage before.",
        },
        "comparisons": {
            "type": "array",
            "items": {"$ref": f"{REF}EventComparison"},
            "description": "Of the stage before.",
        },
        "report": {**_TEXT_OR_NULL, "description": "`model/id` of the page below `/reports`."},
        "figures": {"type": ["object", "null"], "description": "Of both versions in the stage before."},
    },
    "required": ["at_wall_s", "bundle", "stage", "reason"],
}
_STEPS: Schema = {
    "type": "object",
    "properties": {"steps": {"type": "array", "items": _STEP, "description": "Of `history`, oldest first."}},
    "required": ["steps"],
}
_ROLLOUT: Schema = {"type": "object", "anyOf": [{"$ref": f"{REF}RolloutStatus"}, _STEPS]}
TASK_DATA: dict[str, Schema] = {
    "commission": _COMMISSION,
    "recalibrate": _RECALIBRATE,
    "rollback": _ROLLED_BACK,
    "baselines": _BASELINES,
    "approve": _BASELINE,
    "bless": _BASELINE,
    "expire": _BASELINE,
    "remove": _BASELINES,
    "approve-patch": _APPROVED,
    "reject-patch": _REJECTED,
    "rollout": _ROLLOUT,
    "restart": _RESTARTING,
}
"""By verb."""
