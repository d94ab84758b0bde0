"""The configuration of one edge box: YAML in, one frozen, checked ``Config`` out; edits are ``Changes``."""

from edge_runtime.config.changes import Change, Changes, Effect, changes, merge_in_force
from edge_runtime.config.connections import CameraConfig, DemoConfig, HttpConfig, MqttConfig, TlsConfig
from edge_runtime.config.load import Address, load_address, load_config, parse_config, secrets_of
from edge_runtime.config.shape import (
    BatchConfig,
    CommissionConfig,
    Config,
    DriftConfig,
    EngineConfig,
    LogConfig,
    ModelConfig,
    OutboxConfig,
    RecalibrationConfig,
    ReferenceConfig,
    SinkConfig,
)

__all__ = [
    "Address",
    "BatchConfig",
    "CameraConfig",
    "Change",
    "Changes",
    "CommissionConfig",
    "Config",
    "DemoConfig",
    "DriftConfig",
    "Effect",
    "EngineConfig",
    "HttpConfig",
    "LogConfig",
    "ModelConfig",
    "MqttConfig",
    "OutboxConfig",
    "RecalibrationConfig",
    "ReferenceConfig",
    "SinkConfig",
    "TlsConfig",
    "changes",
    "load_address",
    "load_config",
    "merge_in_force",
    "parse_config",
    "secrets_of",
]
