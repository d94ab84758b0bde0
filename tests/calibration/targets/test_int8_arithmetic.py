"""Which CPUs cut sums of int8 products, and which weights make such sums."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from calibration.targets import int8_arithmetic
from calibration.targets.int8_arithmetic import can_exceed, cuts_int8_sums
from calibration.targets.onnx.int8_weights import needs_exact_sums

OLD = "fpu sse sse2 ssse3 sse4_1 sse4_2 avx"
CPUS = {
    "Intel Atom C3000 (Goldmont)": (OLD.removesuffix(" avx") + " rdrand", False),
    "Intel Core i7-2600 (Sandy Bridge)": (OLD, False),
    "AMD FX-8350 (Piledriver)": (OLD + " f16c fma xop fma4", False),
    "Intel Core i5-4590 (Haswell)": (OLD + " f16c fma avx2 bmi2", True),
    "Intel Xeon D-1541 (Broadwell)": (OLD + " fma avx2 adx", True),
    "Intel Core i7-8700 (Coffee Lake)": (OLD + " fma avx2 mpx", True),
    "Intel Xeon Gold 6148 (Skylake-SP)": (OLD + " avx2 avx512f avx512dq avx512cd avx512bw avx512vl", True),
    "Intel Xeon Gold 6248 (Cascade Lake)": (OLD + " avx2 avx512f avx512bw avx512vl avx512_vnni", False),
    "Intel Core i7-1065G7 (Ice Lake)": (OLD + " avx2 avx512f avx512ifma avx512_vbmi2 avx512_vnni", False),
    "Intel Core i5-12400 (Alder Lake)": (OLD + " avx2 gfni avx_vnni serialize", False),
    "Intel N100 (Alder Lake-N)": (OLD + " avx2 gfni avx_vnni", False),
    "AMD EPYC 7302 (Zen 2)": (OLD + " avx2 sha_ni clwb", True),
    "AMD Ryzen 7 5800X (Zen 3)": (OLD + " avx2 vaes vpclmulqdq", True),
    "AMD EPYC 9354 (Zen 4)": (OLD + " avx2 avx512f avx512_bf16 avx512_vnni", False),
    "Intel Celeron N5105 (Jasper Lake)": (OLD.removesuffix(" avx") + " gfni sha_ni", False),
}


def cpuinfo(*cores: tuple[str, str]) -> str:
    return "\n".join(
        f"processor\t: {i}\nmodel name\t: {name}\nflags\t\t: {flags}\nbugs\t\t: spectre_v1\n"
        for i, (name, flags) in enumerate(cores)
    )


@pytest.mark.parametrize("name", CPUS)
def test_a_cpu_with_avx2_and_no_vnni_cuts(name: str) -> None:
    flags, expected = CPUS[name]
    assert cuts_int8_sums(cpuinfo((name, flags), (name, flags))) is expected


@pytest.mark.parametrize(
    "text",
    [
        "processor : 0\nBogoMIPS : 108.00\nFeatures : fp asimd evtstrm crc32 cpuid\nCPU part : 0xd08\n",
        "processor : 0\nFeatures : fp asimd asimddp sve i8mm bf16\nCPU part : 0xd40\n",
        "processor : 0\nmodel name : ARMv7 Processor rev 3 (v7l)\nFeatures : half thumb neon vfpv4\n",
        "processor : 0\nhart : 0\nisa : rv64imafdc\n",
        "",
        "flags",
        "notflags : avx2\n",
        "vmx flags : avx2 vnmi\n",
        "flags : avx2_like\n",
        "\x00\xff flags\n",
    ],
)
def test_what_is_no_such_x86_does_not(text: str) -> None:
    assert not cuts_int8_sums(text)


def test_one_old_core_is_enough() -> None:
    new, old = OLD + " avx2 avx512_vnni", OLD + " avx2"
    assert cuts_int8_sums(cpuinfo(("new", new), ("old", old)))


def test_this_machine_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    int8_arithmetic.does_this_cpu_cut.cache_clear()
    monkeypatch.setattr(int8_arithmetic, "cuts_int8_sums", lambda _: True)
    assert int8_arithmetic.does_this_cpu_cut()
    monkeypatch.setattr(int8_arithmetic, "cuts_int8_sums", lambda _: False)
    assert int8_arithmetic.does_this_cpu_cut()
    int8_arithmetic.does_this_cpu_cut.cache_clear()


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ([127, 127], True),
        ([-128, -128], True),
        ([64, 64], False),  # 32,640
        ([64, 65], True),  # 32,895
        ([-64, -64], False),
        ([-64, -65], True),
        ([127, -128], False),  # they cancel
        ([127], False),
        ([], False),
        ([127, 1], False),  # 32,640
        ([127, 2], True),
        ([-128, 0, 127], False),
        ([-128, -1, 3], True),  # -32,895
        ([0, 0, 0], False),
    ],
)
def test_the_bound_is_that_of_16_bits(weights: list[int], expected: bool) -> None:
    assert can_exceed(np.array(weights, np.int8)) is expected
    pairs = [
        255 * (a * (a * s > 0) + b * (b * s > 0))
        for s in (1, -1)
        for i, a in enumerate(weights)
        for b in weights[:i]
    ]
    assert any(not -32768 <= one <= 32767 for one in pairs) is expected


@pytest.mark.parametrize("seed", range(10))
def test_the_bound_holds_for_every_pair(seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.integers(-rng.integers(1, 129), rng.integers(1, 128), (4, 3, 3), dtype=np.int8)
    flat = weights.ravel().astype(int)
    sums = [
        255 * (a * u + b * v) for i, a in enumerate(flat) for b in flat[:i] for u in (0, 1) for v in (0, 1)
    ]
    assert can_exceed(weights) == (max(sums) > 32767 or min(sums) < -32768)


def model(weights: list[onnx.TensorProto], nodes: list[onnx.NodeProto], **more: object) -> bytes:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], weights)
    return helper.make_model(graph, **more).SerializeToString()


def full(name: str = "w") -> onnx.TensorProto:
    return numpy_helper.from_array(np.array([[127, 127]], np.int8), name)


def identity() -> onnx.NodeProto:
    return helper.make_node("Identity", ["x"], ["y"])


def inner(nodes: list[onnx.NodeProto], *weights: onnx.TensorProto) -> onnx.GraphProto:
    return helper.make_graph(
        nodes, "inner", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])], weights
    )


def unpacked() -> bytes:
    """Numbers that each have their own key, as proto2 writers make them."""
    packed = model([helper.make_tensor("w", TensorProto.INT8, [2], [127, 127])], [identity()])
    loose = packed.replace(b"\x2a\x02\x7f\x7f", b"\x28\x7f\x28\x7f")
    assert loose != packed
    return loose


def branch(graph: onnx.GraphProto) -> onnx.NodeProto:
    return helper.make_node("If", ["x"], ["y"], then_branch=graph, else_branch=inner([identity()]))


def sparse() -> onnx.SparseTensorProto:
    indices = numpy_helper.from_array(np.array([0, 1], np.int64), "")
    return helper.make_sparse_tensor(numpy_helper.from_array(np.array([127, 127], np.int8), ""), indices, [9])


def sparse_initializer(nodes: list[onnx.NodeProto]) -> bytes:
    made = onnx.ModelProto.FromString(model([numpy_helper.from_array(np.float32(1), "s")], nodes))
    values = numpy_helper.from_array(np.ones(2, np.float32), "sparse")
    indices = numpy_helper.from_array(np.array([0, 1], np.int64), "")
    made.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [9]))
    return made.SerializeToString()


FILES = {
    "raw data": (lambda: model([full()], [identity()]), True),
    "numbers": (
        lambda: model([helper.make_tensor("w", TensorProto.INT8, [2], [-128, -128])], [identity()]),
        True,
    ),
    "seven bits": (
        lambda: model([numpy_helper.from_array(np.array([64, -64, 64], np.int8), "w")], [identity()]),
        False,
    ),
    "uint8": (
        lambda: model([numpy_helper.from_array(np.array([255, 255], np.uint8), "w")], [identity()]),
        False,
    ),
    "int32 biases": (
        lambda: model([numpy_helper.from_array(np.array([999, 999], np.int32), "b")], [identity()]),
        False,
    ),
    "float": (lambda: model([numpy_helper.from_array(np.ones(9, np.float32), "w")], [identity()]), False),
    "a constant node": (
        lambda: model([], [helper.make_node("Constant", [], ["w"], value=full()), identity()]),
        True,
    ),
    "inside a branch": (
        lambda: model(
            [],
            [
                helper.make_node(
                    "If",
                    ["x"],
                    ["y"],
                    then_branch=inner([identity()], full()),
                    else_branch=inner([identity()]),
                )
            ],
        ),
        True,
    ),
    "float weights, quantized when loaded": (
        lambda: model(
            [
                numpy_helper.from_array(np.ones((2, 2), np.float32), "w"),
                numpy_helper.from_array(np.float32(1), "s"),
            ],
            [helper.make_node("QuantizeLinear", ["w", "s"], ["q"]), identity()],
        ),
        True,
    ),
    "a cast in between": (
        lambda: model(
            [
                numpy_helper.from_array(np.ones((2, 2), np.float16), "w"),
                numpy_helper.from_array(np.float32(1), "s"),
            ],
            [
                helper.make_node("Cast", ["w"], ["f"], to=1),
                helper.make_node("QuantizeLinear", ["f", "s", ""], ["q"]),
                identity(),
            ],
        ),
        True,
    ),
    "activations quantized": (
        lambda: model(
            [numpy_helper.from_array(np.float32(1), "s"), numpy_helper.from_array(np.uint8(0), "z")],
            [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]), identity()],
        ),
        False,
    ),
    "a function that quantizes": (
        lambda: model(
            [],
            [identity()],
            functions=[
                helper.make_function(
                    "own", "F", ["a"], ["b"], [helper.make_node("QuantizeLinear", ["a", "a"], ["b"])], []
                )
            ],
        ),
        True,
    ),
    "numbers one by one": (unpacked, True),
    "a branch in a branch": (
        lambda: model([], [branch(inner([branch(inner([identity()], full()))]))]),
        True,
    ),
    "a sparse tensor": (
        lambda: model([], [helper.make_node("Constant", [], ["w"], sparse_value=sparse()), identity()]),
        True,
    ),
    "sparse weights, quantized when loaded": (
        lambda: sparse_initializer([helper.make_node("QuantizeLinear", ["sparse", "s"], ["q"]), identity()]),
        True,
    ),
    "no model": (lambda: b"\x3a\xff\xff", True),
    "no bytes": (lambda: b"", True),
    "a graph in another form": (lambda: b"\x38\x01", True),
    "a graph twice": (lambda: 2 * model([], [identity()]), True),
    "a number that is too long": (lambda: b"\x08\x81\x00" + model([], [identity()])[2:], True),
}


@pytest.mark.parametrize("name", FILES)
def test_weights_are_found_wherever_a_file_keeps_them(name: str) -> None:
    make, expected = FILES[name]
    assert needs_exact_sums(make()) is expected
