"""The limits of a first opening follow the model and the picture."""

import pytest

from edge_runtime.bundles.opening_limits import choose_limits

MIB, GIB = 1 << 20, 1 << 30


@pytest.mark.parametrize(
    ("runtime", "model_bytes", "shape", "box_gib", "memory_mib", "least_mib", "most_mib"),
    [
        ("onnxruntime", 400, (3, 32, 32), 64, None, 768, 800),
        ("onnxruntime", 20 * MIB, (3, 224, 224), 64, None, 1000, 1100),
        ("onnxruntime", 100 * MIB, (3, 640, 640), 64, None, 2500, 2800),
        ("onnxruntime", 100 * MIB, (3, 640, 640), 4, None, 2048, 2048),
        ("onnxruntime", 100 * MIB, (3, 640, 640), 1, None, 768, 768),
        ("onnxruntime", 400, (3, 4096, 4096), 16, None, 8192, 8192),
        ("onnxruntime", 400, (3, 4096, 4096), 16, 300, 300, 300),
        ("onnxruntime", 400, (3, 32, 32), 4, 12_000, 12_000, 12_000),
        ("openvino", 400, (3, 32, 32), 64, None, 1024, 1060),
        ("torch", 100 * MIB, (3, 640, 640), 64, None, 3300, 3600),
        ("torch", 1 << 40, (3, 640, 640), 8, None, 4096, 4096),
    ],
)
def test_memory_follows_model_picture_and_box(
    runtime, model_bytes, shape, box_gib, memory_mib, least_mib, most_mib
):
    limits = choose_limits(runtime, model_bytes, shape, 4, box_gib * GIB, memory_mib)
    assert least_mib <= limits.memory_bytes / MIB <= most_mib


def test_time_grows_with_the_model_up_to_a_limit_and_each_picture_has_its_own():
    small = choose_limits("onnxruntime", 0, (3, 32, 32), 4, GIB)
    large = choose_limits("onnxruntime", 50 * MIB, (3, 32, 32), 4, GIB)
    huge = choose_limits("onnxruntime", 1 << 40, (3, 32, 32), 4, GIB)
    assert small.step_s < large.step_s == small.step_s + 50 < huge.step_s == 160
    assert small.in_all_s == 6 * small.step_s
