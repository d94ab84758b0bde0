"""The argument BUNDLE of a command: a folder, one that ships, or the name of an installed one, as ``run`` finds it."""

import os
from pathlib import Path
from typing import Any

import click

SERVICE_CONFIG = Path("/etc/edge-runtime/config.yaml")


class BundlePath(click.Path):
    """Gives the folder of one version.

    What is there as a file or folder comes first. A name is looked for in the store of ``--config``, where the command
    has that option; else in that of the service, or where a configuration that names no ``state_dir`` has it.
    """

    def __init__(self) -> None:
        super().__init__(file_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The folder of the newest version, or the one that is named; whether it is whole is not looked at.

        Raises:
            click.BadParameter: there is none.
            ConfigError: the configuration does not say where bundles are.
        """
        if os.path.exists(value):  # noqa: PTH110 - a folder that may not be entered is no error here
            return _find_newest(Path(value))
        from edge_runtime.config.bundles import DEMO_PREFIX, find_bundle_root

        text = str(value)
        store = None if text.startswith(DEMO_PREFIX) else _find_store(ctx)
        home = find_bundle_root(DEMO_PREFIX, Path()) if store is None else store
        folder = _find_named(home, text.removeprefix(DEMO_PREFIX))
        if folder is None or not folder.is_dir():
            self.fail(_describe_missing(text, store), param, ctx)
        return _find_newest(folder)


def find_service_config() -> Path | None:
    """The configuration of the service, where there is one."""
    return SERVICE_CONFIG if os.path.exists(SERVICE_CONFIG) else None  # noqa: PTH110 - as above


def _find_newest(folder: Path) -> Path:
    """Of the versions in it; itself when it has none: opening it then says what is wrong."""
    from edge_runtime.bundles.manifest import MANIFEST_FILE
    from edge_runtime.deployment.versions import read_versions

    versions = read_versions(folder)
    if (folder / MANIFEST_FILE).exists() or not versions:
        return folder
    return folder / str(max(versions))


def _find_store(ctx: click.Context | None) -> Path:
    from edge_runtime.config import Config
    from edge_runtime.config.parts import load_state_dir

    named = None if ctx is None else ctx.params.get("config_path")
    config = named if isinstance(named, Path) else find_service_config()  # click has a mark for "not given"
    state_dir = None if config is None else load_state_dir(config, os.environ)
    return (state_dir or Path(Config.model_fields["state_dir"].default)) / "bundles"


def _find_named(store: Path, text: str) -> Path | None:
    """Of NAME or NAME/VERSION; None for what is neither."""
    from edge_runtime.deployment.store.installed import NAME
    from edge_runtime.deployment.versions import VERSION

    name, mark, version = text.partition("/")
    is_id = NAME.fullmatch(name) is not None and (not mark or VERSION.fullmatch(version) is not None)
    return store / text if is_id else None


def _describe_missing(text: str, store: Path | None) -> str:
    from edge_runtime.config.bundles import find_bundle_root

    shipped = find_bundle_root("demo:", Path())
    ships = ", ".join(f"demo:{folder.name}" for folder in sorted(shipped.glob("[!.]*/")))
    if store is None:
        return f"{text} does not ship; expected {ships}, a folder, or the name of an installed bundle"
    try:
        installed = (
            ", ".join(f"{one.parent.name}/{one.name}" for one in sorted(store.glob("[!.]*/[0-9]*/"))[:20])
            or "none"
        )
    except OSError as err:
        installed = f"cannot be listed: {err.strerror}"
    return (
        f"{text}: there is no such folder, and no installed bundle of that name in {store} (there: {installed}); "
        f"with {ships} one that ships is taken"
    )
