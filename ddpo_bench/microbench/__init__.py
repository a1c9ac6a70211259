"""Kernel micro-benchmarks: the fused denoising step and policy loss beside eager torch and `torch.compile`."""
