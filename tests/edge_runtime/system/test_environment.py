"""Which variables are secrets."""

from edge_runtime.system.environment import secrets_in, without_secrets

ENV = {
    "EDGE_BROKER": "needle-1",
    "OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Bearer%20needle-2, api-key = needle-3,broken,x=%20",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "x-token=needle-4",
    "PATH": "/bin",
    "EDGE_EMPTY": "",
}


def test_those_of_the_box_and_what_a_collector_takes_callers_by_are_secrets() -> None:
    found = secrets_in(ENV)
    assert {"needle-1", "needle-2", "needle-3", "needle-4", "Bearer%20needle-2"} <= found
    assert not {"", "Bearer", "Authorization", "x-token"} & found


def test_children_get_none_of_them() -> None:
    assert without_secrets(ENV) == {"PATH": "/bin"}
