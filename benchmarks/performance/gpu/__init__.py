"""Models on a GPU, by the runtime's own engines, compared with the CPU: ``benchmarks run gpu``."""
