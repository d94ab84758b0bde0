"""What each verb does, in one sentence: for the AsyncAPI document and the reference."""

from collections.abc import Mapping

VERB_TEXTS: Mapping[str, str] = {
    "status": "Everything that the device knows about itself.",
    "recalibrate": "Correct the model for what its streams show now: collect frames, try the candidates, let the gate "
    "decide.",
    "rollback": "Back to the generation before, of the same version.",
    "commission": "What the cameras and sensors show now is healthy: record a baseline.",
    "baselines": "The baselines of a model.",
    "approve": "A baseline is still right, after a look at the site.",
    "bless": "The old name of `approve`, for one release.",
    "expire": "Make no more patches from a baseline.",
    "remove": "Forget a baseline for good.",
    "rollout": "How far a new version is (`status`, `history`); the other actions steer it, and take an operator.",
    "approve-patch": "Use the patch that waits.",
    "reject-patch": "Never use the patch that waits.",
    "logs": "The newest lines of the log of the process, without secrets.",
    "snapshot": "The next picture of a camera as JPEG, where the configuration lets it leave.",
    "install": "Put a version of a bundle into the store, from an address or in chunks.",
    "restart": "End in good order, and be started again by systemd.",
    "get-config": "The configuration file without secrets, whether it is in force, and what is wrong with it.",
    "set-config": "Edit the configuration file; comments stay.",
    "config-history": "Which configurations were in force: number, time, who, and the keys that changed.",
    "undo-config": "Put an earlier configuration back.",
}
"""A test compares its keys with ``request.ARGUMENTS``."""
