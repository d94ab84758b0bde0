"""Where things are in the source tree."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "edge_runtime" / "sources" / "demo"
