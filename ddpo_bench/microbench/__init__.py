"""Kernel micro-benchmarks: the fused denoising step and policy loss against eager torch and `torch.compile`."""
