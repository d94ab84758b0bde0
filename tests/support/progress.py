"""What a command that is answered later reports."""


class Heard:
    """Keeps the reports; ``is_ending`` is set by the test."""

    def __init__(self):
        self.reports, self.is_ending = [], False

    def report(self, data):
        self.reports.append(data)
