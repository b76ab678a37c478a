"""The parts of bench/gpu.py and what they share. A part is `run(report, sizes)`, in a process of its own."""
