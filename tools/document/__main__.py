"""``python -m tools.document``: writes every file; a test says when that is needed."""

from tools.document.reference import REFERENCE, make_files

if __name__ == "__main__":
    files = make_files()
    for path in set(REFERENCE.iterdir()) - files.keys():
        path.unlink()
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
