"""The secrets among the environment's variables, and an environment without them for children that need none."""

from collections.abc import Mapping

SECRET_PREFIX = "EDGE_"  # noqa: S105 - the name of variables, not a secret


def secrets_in(env: Mapping[str, str]) -> frozenset[str]:
    """The values of all variables whose names begin with ``EDGE_``."""
    return frozenset(value for name, value in env.items() if name.startswith(SECRET_PREFIX) and value)


def without_secrets(env: Mapping[str, str]) -> dict[str, str]:
    """All other variables."""
    return {name: value for name, value in env.items() if not name.startswith(SECRET_PREFIX)}
