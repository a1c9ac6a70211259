"""Quantities of divergence: in nats, or in mean units, which are nats averaged over the C*H*W latent dimensions.

The field writes bare numbers in mean units. What they mean depends on the model: a clip range of 1e-4 is 1.6 nats in
the 16,384 dimensions of Stable Diffusion 1.5, and 0.05 nats in 512.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

NATS: Literal["nats"] = "nats"
MEAN_UNITS: Literal["mean units"] = "mean units"


@dataclass(frozen=True)
class Quantity:
    """A divergence with its unit, as written in a configuration."""

    value: float
    unit: Literal["nats", "mean units"]

    @classmethod
    def parse(cls, written: Any) -> Quantity:
        """Read "1.6 nats", or a bare number in mean units.

        Raises:
            ValueError: where it is neither.
        """
        if isinstance(written, cls):
            return written
        text = "" if isinstance(written, bool) else str(written).strip()
        number = text.removesuffix(NATS)
        try:
            return cls(float(number), NATS if number != text else MEAN_UNITS)
        except ValueError:
            raise ValueError(f'expected nats ("1.6 nats") or a bare number in mean units, got {written!r}.') from None

    def plain(self) -> float | str:
        """The quantity as written in a configuration file; `parse` reads it back."""
        return self.value if self.unit == MEAN_UNITS else str(self)

    def __str__(self) -> str:
        return f"{self.value!r}".removesuffix(".0") + (f" {NATS}" if self.unit == NATS else "")

    def nats(self, dimensions: int) -> float:
        """The quantity in nats, for a latent of that many dimensions."""
        return self.value if self.unit == NATS else self.value * dimensions

    def mean_units(self, dimensions: int) -> float:
        """The quantity in mean units, for a latent of that many dimensions."""
        return self.value if self.unit == MEAN_UNITS else self.value / dimensions
