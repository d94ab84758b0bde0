"""The configured trust of a model's bundle: before it is opened, and at and after an edit of the trust."""

from pathlib import Path

from edge_runtime.bundles.signing.ec_keys import load_public_key
from edge_runtime.bundles.signing.trust import Trust, load_trust
from edge_runtime.bundles.verify import read_manifest
from edge_runtime.config import Config
from edge_runtime.errors import ConfigError, EdgeRuntimeError, ExtraMissing, KeyUnusable, Problem


def require_trust_keys(config: Config) -> None:
    """Refuse files of ``trust.keys`` that the next start could not use, also where no model needs them yet.

    Raises:
        ConfigError: with every key that cannot be used, or the library that reads them is not installed.
    """
    problems = list[Problem]()
    for index, path in enumerate(config.trust.keys):
        where, line = f"trust.keys.{index}", config.line_of("trust", "keys", str(index))
        try:
            load_public_key(path)
        except ExtraMissing as err:
            problems.append(Problem(where, line, "a key", str(err)))
        except KeyUnusable as err:
            problems.append(Problem(where, line, f"{path}: {err.found}", f"{err.expected}. {err.fix}"))
    if problems:
        raise ConfigError("section trust", tuple(problems))


def find_trust(config: Config, name: str) -> Trust | None:
    """The trust that a model's bundle must satisfy; None for one that was installed with the code.

    Raises:
        KeyUnusable: a key file cannot be used.
        ExtraMissing: there are keys, and the library that reads them is not installed.
    """
    return None if config.models[name].bundle.startswith("demo:") else load_trust(config.trust)


def find_distrust(config: Config, name: str, path: Path) -> str | None:
    """Why a model's bundle in ``path`` would not be opened by this trust; None: it would. Two small files are read."""
    try:
        trust = find_trust(config, name)
        if trust is not None:
            read_manifest(path, trust)
    except EdgeRuntimeError as err:
        return err.reason_text
    return None
