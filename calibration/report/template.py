"""Report pages as text: what they share, and how their template is filled. Every value is escaped by the engine.

A page is a single HTML file without scripts or outside parts. Pictures lie between two marks, so that they can be
taken out later.
"""

import re
from importlib.resources import files
from typing import Any

_SHARED = ("base.html.jinja", "macros.html.jinja")
_PICTURES = re.compile(r"<!-- pictures begin -->.*?<!-- pictures end -->", re.DOTALL)
_REMOVED = "<!-- pictures removed -->"


def render(source: str, **values: Any) -> str:
    """The page that a template makes of these values.

    ``source`` extends ``base.html.jinja`` and fills its block ``content``; that needs ``title``, ``outcome``,
    ``is_good``, ``headline``, ``reasons`` and ``notes`` as well.
    """
    from jinja2 import DictLoader, Environment, StrictUndefined

    folder = files("calibration.report")
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=DictLoader({name: folder.joinpath(name).read_text(encoding="utf-8") for name in _SHARED}),
    )
    return environment.from_string(source).render(values)


def without_pictures(text: str) -> str:
    """The same page without any picture in it."""
    return _PICTURES.sub(_REMOVED, text)
