"""How a run is spread over its ranks, known before anything heavy is imported.

    mode = parallel_mode(config, world_size=8)
    mode.kind        "zero3"
    mode.describe()  "DeepSpeed ZeRO-3 on 8 ranks, from train.deepspeed (configs/deepspeed/zero3.json)"

Three places have a say. A launcher that sets DeepSpeed up (`accelerate launch` with such a config file) wins, then
comes `train.deepspeed`, and without either every rank holds the whole model.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rft.cold_start.config import SftConfig
    from rft.config import Config

Kind = Literal["single", "ddp", "zero0", "zero1", "zero2", "zero3"]

REPOSITORY = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class ParallelMode:
    """What is spread over the ranks of a run, and who said so.

    Example:
        ParallelMode(kind="zero3", num_ranks=8, source="train.deepspeed (configs/deepspeed/zero3.json)",
                     settings={"zero_optimization": {"stage": 3}, ...})
    """

    kind: Kind
    """`single`: one process. `ddp`: each rank holds the whole model, gradients and optimizer. `zero1` spreads the
    optimizer over the ranks, `zero2` gradients as well, `zero3` weights as well; `zero0` spreads nothing."""
    num_ranks: int
    source: str = ""
    """Where DeepSpeed's settings come from; empty without DeepSpeed."""
    settings: dict[str, Any] | None = None
    """The content of `train.deepspeed`; None where it is not used."""

    @property
    def uses_deepspeed(self) -> bool:
        return self.kind.startswith("zero")

    def describe(self) -> str:
        """One line for a person."""
        ranks = f"{self.num_ranks} rank{'s' if self.num_ranks > 1 else ''}"
        if self.kind == "single":
            return "one process, without DeepSpeed"
        if self.kind == "ddp":
            return f"DDP on {ranks}, each with the whole model, its gradients and its optimizer state"
        return f"DeepSpeed ZeRO-{self.kind[-1]} on {ranks}, from {self.source}"


def parallel_mode(
    config: Config | SftConfig, world_size: int, environment: Mapping[str, str] = os.environ
) -> ParallelMode:
    """How `world_size` ranks will share the work, from the config and what a launcher has set.

    Args:
        environment: what accelerate's launcher sets is read from it.

    Raises:
        ValueError: `train.deepspeed` cannot be used, or the launcher asks for what this project does not do.
    """
    if environment.get("ACCELERATE_USE_DEEPSPEED", "").lower() == "true":
        return mode_of_launcher(config.train.deepspeed, world_size, environment)
    for name in ("FSDP", "MEGATRON_LM"):
        if environment.get(f"ACCELERATE_USE_{name}", "").lower() == "true":
            raise ValueError(
                f"the launcher asks for {name}, which is not supported; choose distributed_type DEEPSPEED or MULTI_GPU "
                "in accelerate's config file, or name one of configs/accelerate with --config_file"
            )
    if config.train.deepspeed is None:
        return ParallelMode(kind="ddp" if world_size > 1 else "single", num_ranks=world_size)
    settings = read_settings(config.train.deepspeed)
    return ParallelMode(
        kind=kind_of(settings["zero_optimization"]["stage"], config.train.deepspeed),
        num_ranks=world_size,
        source=f"train.deepspeed ({config.train.deepspeed})",
        settings=settings,
    )


def mode_of_launcher(deepspeed: str | None, world_size: int, environment: Mapping[str, str]) -> ParallelMode:
    """What `accelerate launch` has set up from its own options or config file, a user's default one included."""
    file = environment.get("ACCELERATE_DEEPSPEED_CONFIG_FILE", "none")
    if file == "none":
        stage = int(environment.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2"))
        source = "the launcher's own options"
    else:
        stage = load_json(Path(file), "the launcher's deepspeed_config_file")["zero_optimization"]["stage"]
        source = f"the launcher ({file})"
    if deepspeed is not None:
        source += f"; train.deepspeed = {deepspeed} is not used"
    return ParallelMode(kind=kind_of(stage, source), num_ranks=world_size, source=source)


def read_settings(deepspeed: str) -> dict[str, Any]:
    """The json file that `train.deepspeed` names.

    Raises:
        ValueError: it is not there, is no DeepSpeed json, or brings an optimizer or a schedule of its own.
    """
    settings = load_json(find_file(deepspeed), "train.deepspeed")
    for name in ("optimizer", "scheduler"):
        if name in settings:
            raise ValueError(
                f"train.deepspeed: {deepspeed} has a section {name!r}, which the settings of `train` decide; remove it"
            )
    return settings


def find_file(deepspeed: str) -> Path:
    """The path as it is or from the current folder; where nothing is there, from the repository."""
    for path in (Path(deepspeed), REPOSITORY / deepspeed):
        if path.is_file():
            return path
    raise ValueError(
        f"train.deepspeed: no file {deepspeed} in the current folder or in {REPOSITORY}; name one, such as "
        "configs/deepspeed/zero3.json, or null for none"
    )


def load_json(path: Path, key: str) -> dict[str, Any]:
    """A DeepSpeed json: an object with a ZeRO stage."""
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{key}: {path} cannot be read as json ({error}); correct it") from None
    section = settings.get("zero_optimization") if isinstance(settings, dict) else None
    if not isinstance(section, dict) or section.get("stage") not in (0, 1, 2, 3):
        raise ValueError(f"{key}: {path} has no zero_optimization.stage of 0 to 3; see configs/deepspeed/zero3.json")
    return dict(settings)


def kind_of(stage: int, source: str) -> Kind:
    kinds: tuple[Kind, ...] = ("zero0", "zero1", "zero2", "zero3")
    if not 0 <= stage < len(kinds):
        raise ValueError(f"{source}: ZeRO stage {stage} is none of 0 to 3")
    return kinds[stage]


SHUTDOWN_TIMEOUT = "TORCH_ELASTIC_SHUTDOWN_TIMEOUT"


def launch_notes(environment: Mapping[str, str]) -> list[str]:
    """What a person should know about how the ranks were started."""
    seconds = int(environment.get(SHUTDOWN_TIMEOUT, "30"))
    if "TORCHELASTIC_RUN_ID" in environment and seconds < 300:
        return [
            f"the launcher kills the ranks {seconds} s after SIGTERM, too soon for a checkpoint; export "
            f"{SHUTDOWN_TIMEOUT}=1800, as the scripts in launch/ do"
        ]
    return []
