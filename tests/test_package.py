"""What an installation has: a page that only the source tree has answers 500 on every box."""

import tomllib

from tests.support.paths import ROOT


def test_every_file_of_the_packages_is_installed() -> None:
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    for package, patterns in tool["package-data"].items():
        folder = ROOT / package
        there = {path for path in folder.rglob("*") if path.is_file() and path.suffix not in {".py", ".pyc"}}
        installed = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}

        assert sorted(there - installed) == []
