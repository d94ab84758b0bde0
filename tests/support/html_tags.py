"""The tags of a report page: whether all are closed, what they link to, whether one has a style or a script."""

from html.parser import HTMLParser


class Tags(HTMLParser):
    VOID = frozenset({"meta", "image", "line", "rect", "br"})

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.links, self.styles = [], set(), [], []

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]
        self.styles += [name for name, _ in attrs if name == "style" or name.startswith("on")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


def parse(text):
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    return tags
