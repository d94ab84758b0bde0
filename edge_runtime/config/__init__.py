"""The configuration of one edge box: YAML in, one frozen, checked ``Config`` out; edits are ``Changes``."""

from edge_runtime.config.bundles import BundlesConfig, VersionPolicy
from edge_runtime.config.changes import Changes, Effect, changes, merge_in_force, must_start_anew
from edge_runtime.config.connections import (
    CameraConfig,
    DemoConfig,
    HomeAssistantConfig,
    HttpConfig,
    MqttConfig,
    TlsConfig,
)
from edge_runtime.config.history import ConfigHistory
from edge_runtime.config.last_good import find_last_good, keep_last_good
from edge_runtime.config.load import load_config, parse_config, secrets_of
from edge_runtime.config.parts import Address, load_address
from edge_runtime.config.reference import ReferenceConfig
from edge_runtime.config.rollout import RolloutConfig, RolloutMetric
from edge_runtime.config.safe_mode import find_safe_config
from edge_runtime.config.sensors import PayloadConfig, SensorConfig
from edge_runtime.config.shape import (
    AuditConfig,
    CommissionConfig,
    Config,
    DriftConfig,
    EngineConfig,
    ModelConfig,
    OutboxConfig,
    PicturesConfig,
    RecalibrationConfig,
    StreamConfig,
)
from edge_runtime.config.tracking import TrackingConfig

__all__ = [
    "Address",
    "AuditConfig",
    "BundlesConfig",
    "CameraConfig",
    "Changes",
    "CommissionConfig",
    "Config",
    "ConfigHistory",
    "DemoConfig",
    "DriftConfig",
    "Effect",
    "EngineConfig",
    "HomeAssistantConfig",
    "HttpConfig",
    "ModelConfig",
    "MqttConfig",
    "OutboxConfig",
    "PayloadConfig",
    "PicturesConfig",
    "RecalibrationConfig",
    "ReferenceConfig",
    "RolloutConfig",
    "RolloutMetric",
    "SensorConfig",
    "StreamConfig",
    "TlsConfig",
    "TrackingConfig",
    "VersionPolicy",
    "changes",
    "find_last_good",
    "find_safe_config",
    "keep_last_good",
    "load_address",
    "load_config",
    "merge_in_force",
    "must_start_anew",
    "parse_config",
    "secrets_of",
]
