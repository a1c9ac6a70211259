"""What is measured: a configuration at a micro-batch and a precision, run in one way by one of two loops."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

from ddpo_bench.config import Choice, ConfigError, RunConfig

OWN, PLAIN = "ddpo-bench", "plain loop"
Compile = Literal["none", "regional"]
SIZES = (1, 4, 16, 64)  # that are measured where the configuration leaves the micro-batch to the machine


@dataclass(frozen=True, eq=False)
class Setting:
    """One row of the table.

    Attributes:
        label: what tables call the algorithm.
        loop: OWN or PLAIN.
        config: with the micro-batch, the precision, `compile` and `gradient_checkpointing` of the measurement.
        architecture: the published architecture that stands in for the policy's model; None for the model itself.
    """

    label: str
    loop: str
    config: RunConfig
    architecture: str | None

    @property
    def micro_batch(self) -> int:
        size = self.config.micro_batch
        assert isinstance(size, int)
        return size

    @property
    def steps(self) -> int:
        """Of a trajectory."""
        return int(self.config.sampler.options["steps"])

    @property
    def network(self) -> tuple[str, str, bool, bool]:
        """Equal for settings that a policy is started once for."""
        config = self.config
        return repr(config.policy), config.compile, config.gradient_checkpointing, config.tf32

    @property
    def compared(self) -> tuple[str, bool, int, int]:
        """Equal for settings whose loops do the same work."""
        return repr(self.config.policy), self.config.tf32, self.steps, self.micro_batch

    @property
    def name(self) -> str:
        """For a line of progress, in which the micro-batch stands already."""
        precision = self.config.policy.options.get("precision", "auto")
        how = [self.label, "" if precision == "auto" else precision, "compiled" * (self.config.compile != "none")]
        return ", ".join(filter(None, [*how, PLAIN * (self.loop == PLAIN)]))


def settings(
    configs: Mapping[str, RunConfig],
    architecture: str | None,
    micro_batches: Sequence[int],
    precisions: Sequence[str],
    compiles: Sequence[Compile],
    checkpointing: bool,
) -> list[Setting]:
    """Every setting of this package's loop, and the plain loop once for each policy and micro-batch.

    Those of one network stand in a row, and among them those of one micro-batch.

    Args:
        configs: by label.
        architecture: of all settings, as for `Setting`.
        micro_batches, precisions, compiles: empty for those of each configuration.
        checkpointing: whether gradients are checkpointed whatever the configuration says.
    Raises:
        ConfigError: where a sampler has no number of steps.
    """
    own = []
    for label, config in configs.items():
        if "steps" not in config.sampler.options:
            raise ConfigError([f"sampler: {config.sampler}: has no option `steps`, so its throughput is not measured."])
        given = config.policy.options.get("precision", "auto")
        sizes = micro_batches or sizes_of(config)
        for compile, precision, micro_batch in product(compiles or [config.compile], precisions or [given], sizes):
            changed = replace(
                config,
                policy=config.policy if precision == given else with_precision(config, precision),
                micro_batch=micro_batch,
                compile=compile,
                gradient_checkpointing=checkpointing or config.gradient_checkpointing,
            )
            own.append(Setting(label, OWN, changed, architecture))
    made = [*own, *plain_settings(own)]
    networks = list(dict.fromkeys(it.network for it in made))
    order = list(dict.fromkeys(it.micro_batch for it in made))
    return sorted(made, key=lambda it: (networks.index(it.network), order.index(it.micro_batch)))


def sizes_of(config: RunConfig) -> list[int]:
    """The configured micro-batch; some of the sizes that it may find where it is auto."""
    if isinstance(config.micro_batch, int):
        return [config.micro_batch]
    return [size for size in SIZES if size <= config.samples_per_epoch]


def with_precision(config: RunConfig, precision: str) -> Choice:
    return replace(config.policy, options=config.policy.options | {"precision": precision})


def plain_settings(own: Sequence[Setting]) -> Iterator[Setting]:
    """The plain loop runs networks as they are, and samples them by DDIM alone."""
    sampled = [setting for setting in reversed(own) if setting.config.sampler.name == "ddim"]
    for setting in {setting.compared: setting for setting in sampled}.values():
        config = replace(setting.config, compile="none", gradient_checkpointing=False)
        yield replace(setting, label="ppo", loop=PLAIN, config=config)
