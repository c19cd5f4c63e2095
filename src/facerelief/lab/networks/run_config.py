"""Settings of a training that do not change its result, in a file without torch.

Tested by tests/lab/networks/test_trainer.py.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RunConfig:
    """Devices, processes and intervals: they change the result by rounding alone."""

    readers: int = 1
    """Processes that read samples; 0: the training process itself."""
    precision: str = "32-true"
    """Lightning's name: bf16-mixed, 32-true, 16-mixed."""
    accelerator: str = "auto"
    """Lightning's name: cpu, gpu, auto."""
    devices: int | str = "auto"
    """Number of devices, or auto."""
    strategy: str = "auto"
    """Lightning's name: ddp for several devices, auto."""
    checkpoint_every: int = 500
    """Steps between checkpoints."""
    validate_every: int = 1000
    """Steps between measurements; 0: only at the end."""
    validate_samples: int = 512
    """Held-out samples that are measured."""
    log_every: int = 25
    """Steps between reports of progress."""

    def __post_init__(self) -> None:
        for name in ("readers", "checkpoint_every", "validate_every", "validate_samples", "log_every"):
            least = 0 if name in ("readers", "validate_every") else 1
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}: expected at least {least}")
