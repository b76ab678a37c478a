"""What `rft/make_data.py llm` does: validate, preview, create."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai

from rft.chat.gate import Gate
from rft.chat.reply_error import shortened
from rft.config import to_dict
from rft.eval.endpoints import key_problem, open_endpoint
from rft.making.caller import Caller, Model
from rft.making.calls import SENTENCES, Calls, settle_changes
from rft.making.candidates import make_candidates
from rft.making.config import MakingConfig, PromptName
from rft.making.dataset import filler_of, write_dataset
from rft.making.estimate import estimate_as_text
from rft.making.people import make_people
from rft.making.plan import plan_slots
from rft.making.preview import preview_page
from rft.making.prompts import SYSTEM, load_prompts
from rft.making.report import as_text, make_report
from rft.making.rounds import make_all, sum_personas, too_few_slots, wanted_cells
from rft.making.seeds import seed_sentences
from rft.run_lock import RunLock

STAGE_KEYS = {
    "personas": ("seed", "temperature"),
    "preferences": ("kinds", "budget.candidates_per_persona", "preferences_per_request"),
    "conflicts": (),
    "conversations": ("conversation_words",),
    "questions": ("option_words",),
    "options": (),
    "checks": ("stages.judges",),
}
"""Which keys each stage's requests depend on, besides models, prompts, domain and language, and the stages before."""

STAGE_PROMPTS: dict[str, tuple[PromptName, ...]] = {
    "personas": ("personas",),
    "preferences": ("preferences",),
    "conflicts": ("conflicts",),
    "conversations": ("conversation", "conversation_others", "conversation_forget", "conversation_secret"),
    "questions": ("question", "question_updated", "question_others", "question_forget", "question_secret"),
    "options": ("options",),
    "checks": ("hint", "evidence", "reflects", "blind", "options_only"),
}


def check_config(config: MakingConfig) -> dict[PromptName, str]:
    """Refuses what cannot work, before anything is asked; returns the prompts.

    Raises:
        ValueError: one line that names the keys and the fix.
    """
    named = models_of_stages(config)
    used = {name: config.models[name] for name in named.values() if name in config.models}
    has_price = any(source.price_in + source.price_out for source in used.values())
    keys = [key_problem(source.endpoint, f"models.{name}.endpoint") for name, source in used.items()]
    problems = [
        (not config.stages.judges, "stages.judges: name at least one model"),
        (not wanted_cells(config), "splits: no questions are asked for; set splits.train.questions and .personas"),
        (not config.history.windows, "history.windows: name 32k or 128k with a number of tokens"),
        (
            config.budget.max_cost is not None and not has_price,
            "budget.max_cost: no model has a price; set models.*.price_in and price_out, or budget.max_tokens instead",
        ),
        *(
            (name not in config.models, f"stages.{key}: there is no models.{name}; models has {sorted(config.models)}")
            for key, name in named.items()
        ),
        *(
            (source.endpoint.model is None, f"models.{name}.endpoint.model: say by which name the endpoint knows it")
            for name, source in config.models.items()
        ),
        *((problem is not None, str(problem)) for problem in keys),
        *(
            (
                getattr(config.splits, split).personas < 1,
                f"splits.{split}.personas: {sum(cells.values())} questions need at least one persona",
            )
            for split, cells in wanted_cells(config).items()
        ),
    ]
    for broken, message in problems:
        if broken:
            raise ValueError(message)
    seed_sentences(config.seed_sentences, sum_personas(config), config.seed)  # before a plan for a billion personas
    if few := too_few_slots(config):
        cell, count = next(iter(few.items()))
        raise ValueError(
            f"budget.candidates_per_persona = {config.budget.candidates_per_persona} gives {count} candidates for "
            f"{cell}, fewer than there are to be questions; raise it, or splits.*.personas"
        )
    filler_of(config)
    return load_prompts(config.prompts)


@contextmanager
def opened(config: MakingConfig, prompts: Mapping[PromptName, str]) -> Iterator[Caller]:
    """A caller for the config's folder, which nobody else writes to in the meantime.

    Raises:
        ValueError: another run has the folder, it was made with other settings, an endpoint that cannot be asked.
    """
    folder = Path(config.output_dir)
    models = open_models(config)
    lock = RunLock(folder)
    try:
        anew = settle_changes(folder / "calls", settings_of_stages(config, prompts), config.on_change)
        if anew:
            print(f"made anew: {', '.join(anew)}; what was there is kept as calls/STAGE.jsonl.before")
        yield Caller(config, dict(prompts), models, Calls(folder / "calls"))
    finally:
        lock.release()
        for model in models.values():
            model.endpoint.client.close()


def models_of_stages(config: MakingConfig) -> dict[str, str]:
    """The model's name by the key that names it."""
    stages = ("personas", "preferences", "conversations", "questions")
    named = {stage: str(getattr(config.stages, stage)) for stage in stages}
    return named | {f"judges[{place}]": name for place, name in enumerate(config.stages.judges)}


def open_models(config: MakingConfig) -> dict[str, Model]:
    """Those that a stage names."""
    models = {}
    for name in dict.fromkeys(models_of_stages(config).values()):
        source = config.models[name]
        gate = Gate(source.endpoint.concurrency)
        endpoint = open_endpoint(source.endpoint, gate)
        models[name] = Model(name=name, source=source, endpoint=endpoint, gate=gate)
    return models


def settings_of_stages(config: MakingConfig, prompts: Mapping[PromptName, str]) -> dict[str, dict[str, Any]]:
    """What the requests of each stage depend on, by dotted key. How an endpoint is reached, and what it costs, is not
    among it."""
    whole = flat(to_dict(config))
    found = {}
    for stage, keys in STAGE_KEYS.items():
        settings = {name: value for name, value in whole.items() if any(is_below(name, key) for key in keys)}
        names = config.stages.judges if stage == "checks" else [model_of(config, stage)]
        for name in names:
            source = config.models[name]
            settings[f"models.{name}.endpoint.model"] = source.endpoint.model
            settings[f"models.{name}.structured"] = source.structured
            settings[f"models.{name}.thought_tokens"] = source.thought_tokens
            settings |= flat(source.endpoint.options, f"models.{name}.endpoint.options.")
        if stage == "personas":
            settings[SENTENCES] = seed_sentences(config.seed_sentences, sum_personas(config), config.seed)
        if stage == "options":
            settings["filters.use"] = ["lengths"] if "lengths" in config.filters.use else []
        settings |= {"domain": config.domain, "language": config.language, "prompts.system": SYSTEM}
        settings |= {f"prompts.{name}": prompts[name] for name in STAGE_PROMPTS[stage]}
        found[stage] = settings
    return found


def model_of(config: MakingConfig, stage: str) -> str:
    names = {"conflicts": "preferences", "options": "questions"}
    return str(getattr(config.stages, names.get(stage, stage)))


def is_below(name: str, key: str) -> bool:
    return name == key or name.startswith(f"{key}.")


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in tree.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


# --------------------------------------------------------------------------------------------------------- actions


def validate(config: MakingConfig) -> str:
    """Checks config, prompts and endpoints, and says what the data set is about to cost. No model is asked.

    Raises:
        ValueError: something is wrong.
    """
    prompts = check_config(config)
    models = open_models(config)
    try:
        lines = [f"models.{name}: {found_at(model)}" for name, model in models.items()]
    finally:
        for model in models.values():
            model.endpoint.client.close()
    return "\n".join([*lines, estimate_as_text(config, prompts)])


def found_at(model: Model) -> str:
    """Whether the endpoint is there and lists the model.

    Raises:
        ValueError: nobody answers there, or the key is refused.
    """
    # A key that may ask a model need not be allowed to list them: 403 says nothing of the requests to come.
    endpoint = model.endpoint
    try:
        client = endpoint.client.with_options(timeout=20, max_retries=0)
        names = listed_models(client.models.with_raw_response.list(extra_headers=endpoint.headers).content)
    except (openai.AuthenticationError, openai.APIConnectionError) as error:
        raise endpoint.failed(str(error)) from None
    except openai.OpenAIError:
        names = []
    if not names:
        return f"{endpoint.name} answers, and does not list its models"
    if endpoint.model in names:
        return f"{endpoint.name} is there"
    return f"{endpoint.name} answers, and lists other models: {shortened(', '.join(names[:5]))}"


def listed_models(body: bytes) -> list[str]:
    try:
        return [str(one["id"]) for one in json.loads(body)["data"]]
    except (ValueError, TypeError, KeyError):
        return []


def preview(config: MakingConfig, num_rows: int) -> str:
    """The first candidates of the first persona, as OUTPUT_DIR/preview.html.

    Raises:
        Unfinished, ValueError: as `create`.
    """
    prompts = check_config(config)
    with opened(config, prompts) as caller:
        first = next(iter(wanted_cells(config)))
        slots = [slot for slot in plan_slots(config) if slot.split == first]
        number = slots[0].persona
        sentences = seed_sentences(config.seed_sentences, sum_personas(config), config.seed)
        people, failed = make_people(caller, {number: sentences[number]}, plan_slots(config))
        mine = [slot for slot in slots if slot.persona == number][:num_rows]
        candidates = make_candidates(caller, people, mine)
        path = Path(config.output_dir) / "preview.html"
        path.write_text(preview_page(candidates), encoding="utf-8")
        note = f"; no persona: {failed[number]}" if failed else ""
        return f"{sum(one.passes for one in candidates)} of {len(candidates)} candidates pass{note}: {path}"


def create(config: MakingConfig) -> tuple[str, bool]:
    """Makes the data set; returns the report as text, and whether it is complete.

    Raises:
        Unfinished: the budget is used up, or an endpoint did not answer; the same config continues.
        ValueError: something is wrong.
    """
    prompts = check_config(config)
    with opened(config, prompts) as caller:
        print(estimate_as_text(config, prompts), flush=True)
        made = make_all(caller)
        folder, longer = write_dataset(config, made, filler_of(config))
        report = make_report(config, made, caller.calls.rows) | {"histories_longer_than_window": longer}
        path = Path(config.output_dir) / "report.json"
        temporary = path.with_name(".report.json.tmp")
        temporary.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(temporary, path)
    return f"{as_text(report)}\n{folder}\n{path}", made.is_complete
