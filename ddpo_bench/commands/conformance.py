"""`ddpo-bench conformance`: check anybody's step function against closed forms."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ddpo_bench.commands.command import FINDING, Command

if TYPE_CHECKING:
    from ddpo_bench.conformance import Verdict

EXAMPLES = """\
examples:
  ddpo-bench conformance my_fork.sampling:ddim_step_with_logprob
  ddpo-bench conformance my_fork.sampling:sde_step_with_logprob --json
  ddpo-bench conformance wrapped:step --convention flow
  ddpo-bench conformance ddpo_bench.samplers.ddim_step:ddim_step_with_logprob     check our own

The function is called as one of
  ddim:  f(scheduler, model_output, timestep, sample, eta=..., prev_sample=...) -> (prev_sample, log_prob)
  flow:  f(scheduler, model_output, timestep, sample, noise_level=..., prev_sample=...)
         -> (prev_sample, log_prob, mean, std)

The exit code is 3 if any check fails, and 0 if none does, for use in CI.
"""


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "function", metavar="MODULE:FUNCTION", help="a module that is installed or in the current directory"
    )
    parser.add_argument(
        "--convention", choices=["ddim", "flow"], help="how to call it (default: by the names of its arguments)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def execute(args: Namespace) -> int:
    from ddpo_bench.conformance import DoesNotFit, check
    from ddpo_bench.parsing import ConfigError
    from ddpo_bench.reward_bases.user_code import as_script
    from ddpo_bench.rewards.python_function import load_function

    folder = str(Path.cwd())
    try:
        module, function = load_function(args.function, folder, "my_fork:step_with_logprob")
        with as_script(folder, module.__name__):
            verdicts = check(function, args.convention)
    except DoesNotFit:
        raise
    except ValueError as error:
        raise ConfigError([f"conformance: {error}"]) from error
    failed = [verdict for verdict in verdicts if verdict.failed]
    if args.json:
        rows = [verdict.as_json() for verdict in verdicts]
        print(json.dumps({"function": args.function, "passed": not failed, "verdicts": rows}, indent=2))
    else:
        print_verdicts(args.function, verdicts)
    return FINDING if failed else 0


def print_verdicts(function: str, verdicts: Sequence[Verdict]) -> None:
    from ddpo_bench.console import print_table

    columns = ["check", "verdict", "error", "outside 1 ± 1e-4", "what was found"]
    print_table(function, columns, [row(verdict) for verdict in verdicts])
    counts = {status: sum(v.status == status for v in verdicts) for status in ("pass", "fail", "not applicable")}
    print(f"{counts['pass']} passed, {counts['fail']} failed, {counts['not applicable']} not applicable.")
    print(
        "Outside 1 ± 1e-4: share of importance ratios that this error alone moves out of a clip range of 1e-4, at the "
        "latent size of SD1.5."
    )


def row(verdict: Verdict) -> list[str]:
    error = "" if verdict.error is None else f"{verdict.error:.2g}"
    outside = "" if verdict.outside_clip is None else f"{verdict.outside_clip:.0%}"
    return [verdict.name, verdict.status, error, outside, verdict.says]


COMMAND = Command("check a step function with its log-prob against closed forms", EXAMPLES, add_options, execute)
