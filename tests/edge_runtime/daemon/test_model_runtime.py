"""One model takes over from another: what the old one had under way is given up with a reason."""

from types import SimpleNamespace

import pytest

from edge_runtime.daemon.model_runtime import ModelRuntime
from tests.support.pipeline_bench import make_pipeline


class Controller:
    def __init__(self):
        self.replaced = []

    def start(self):
        pass

    def stop(self, timeout_s, replaced=None):
        self.replaced.append(replaced)


def runtime(bundle):
    pipeline, _, _ = make_pipeline()
    return ModelRuntime("parts", SimpleNamespace(id=bundle), None, pipeline, (), Controller())


@pytest.mark.parametrize(("after", "named"), [("parts/2", "parts/2"), ("parts/1", "opened again")])
def test_the_controller_of_the_model_that_is_replaced_is_told_why(after, named):
    old, new = runtime("parts/1"), runtime(after)
    new.take_over(old)
    (reason,) = old.controller.replaced
    assert named in reason
    assert new.controller.replaced == []
    new.stop()
    assert new.controller.replaced == [None]  # the daemon ends
