import pytest

from edge_runtime.system.bfloat16 import multiplies_bfloat16

X86 = "processor : 0\nflags : sse avx2 avx512f{}\n"
ARM = "processor : 0\nFeatures : fp asimd i8mm{}\n"


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        (X86.format(" avx512_bf16"), True),
        (X86.format(" amx_tile amx_bf16"), True),
        (X86.format(""), False),
        (ARM.format(" bf16"), True),
        (ARM.format(""), False),
        (ARM.format(" bf16") + ARM.format(""), False),
        ("processor : 0\n", False),
        ("", False),
    ],
)
def test_every_core_has_to_multiply_in_bfloat16(cpuinfo, expected):
    assert multiplies_bfloat16(cpuinfo) is expected
