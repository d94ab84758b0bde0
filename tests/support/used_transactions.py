"""Used transactions in memory."""

from edge_runtime.messaging.commands.records import Used


class UsedInMemory:
    """Forgets nothing; ``fails_with`` is raised instead of noting one."""

    damaged = 0

    def __init__(self, fails_with=None):
        self.fails_with = fails_with
        self.requests, self.answers, self.under_way = {}, {}, set()

    def find(self, transaction):
        request = self.requests.get((type(transaction), transaction))
        is_under_way = transaction in self.under_way
        return None if request is None else Used(request, self.answers.get(transaction), is_under_way)

    def begin(self, transaction, request, expires_wall_s, now_wall_s, *, for_owners):
        if self.fails_with is not None:
            raise self.fails_with
        self.requests[type(transaction), transaction] = request
        self.under_way.add(transaction)

    def finish(self, transaction, answer):
        self.under_way.discard(transaction)
        self.answers[transaction] = answer
