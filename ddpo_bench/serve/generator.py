"""All that answers a request for pictures: the models, the queue, the device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import torch
from starlette.concurrency import run_in_threadpool

from ddpo_bench import processes
from ddpo_bench.parsing import ConfigError
from ddpo_bench.serve import generation
from ddpo_bench.serve.generation import Event, GenerateRequest, Judges, Plan
from ddpo_bench.serve.generation_queue import GenerationQueue, Job
from ddpo_bench.serve.loaded import LoadedModels, refuse_too_large
from ddpo_bench.serve.measured import Measured
from ddpo_bench.serve.models import Family, families
from ddpo_bench.serve.settings import Settings


class Generator:
    """Draws pictures with the models of the folders that are served."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self.measured = Measured()
        self.device: torch.device = processes.device()
        self.loaded = LoadedModels(self.device, settings.memory)
        self.judges = Judges(self.device)
        self.queue = GenerationQueue(self.draw, settings.queue_size, self.measured)

    def families(self) -> list[Family]:
        """What can be chosen now."""
        return families(self.settings.folders)

    async def submit(self, request: GenerateRequest, previews: bool = True) -> Job:
        """A request that is checked before it waits for its turn; its events are what is iterated over.

        Raises:
            ConfigError: where it cannot be answered.
            QueueFull: where too many wait.
        """
        return self.queue.submit(await run_in_threadpool(self.plan, request, previews))

    def plan(self, request: GenerateRequest, previews: bool = True) -> Plan:
        plan = generation.plan(request, self.families(), previews)
        refuse_too_large(plan.models, self.device, self.settings.memory)
        return plan

    def draw(self, plan: Plan) -> Iterator[Event | None]:
        policies = self.loaded.get(plan.models)
        self.measured.loaded.set(self.loaded.held)
        yield from generation.draw(plan, policies, self.judges)

    def warm_up(self) -> None:
        """Submit a small request that nobody waits for, so that the first client waits for no import.

        A model that is not on this machine yet is left alone.
        """
        model = self.families()[0].models[0]
        if model.config.policy.build().stored_scheduler_config() is not None:
            with suppress(ConfigError):
                self.queue.submit(self.plan(GenerateRequest(models=[model.id], prompt="a picture", steps=2)))
