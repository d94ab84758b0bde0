"""What axe-core finds in a page, in the rules of WCAG 2.1 AA."""

import gzip

from tests.support.paths import ROOT

AXE = ROOT / "tests" / "data" / "axe-core-4.14.1.min.js.gz"
"""Of npm, Mozilla Public License 2.0: the licence and where the source is are in its first lines."""
_RUN = "axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa'], resultTypes: ['violations']})"


def find_serious(page):
    """Each serious or critical violation with its places."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(gzip.decompress(AXE.read_bytes()).decode())
    return [
        (one["id"], [node["html"][:150] for node in one["nodes"]])
        for one in page.evaluate(_RUN)["violations"]
        if one["impact"] in ("serious", "critical")
    ]
