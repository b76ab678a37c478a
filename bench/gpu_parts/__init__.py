"""The parts of bench/gpu.py, one file each. A part is `run(report, sizes)`, in a process of its own."""
