"""One comparison: every system asked the same questions, each answer written down as it comes, then the table."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from rft.chat.chat_model import ChatModel
from rft.chat.endpoint_chat_model import EndpointChatModel
from rft.chat.local_chat_model import LocalChatModel
from rft.chat.memory_models import EndpointMemoryModel
from rft.data.chat_template import ChatTemplate
from rft.data.dataset import Dataset
from rft.data.formats import open_dataset
from rft.data.prompts import JUDGE_LAYOUTS
from rft.eval.answer_folder import (
    add_counters,
    check_answer_settings,
    check_judge_settings,
    merge_parts,
    model_identity,
    part_folder,
    settings_of_answers,
    settings_of_judge,
)
from rft.eval.asked import Asked, left_to_ask
from rft.eval.chat_answers import answer_by_chat
from rft.eval.chosen_questions import choose_questions
from rft.eval.comparison_tokenizer import NoTokenizer, load_tokenizer_for, tokenizer_of_endpoint
from rft.eval.config import ComparisonConfig
from rft.eval.endpoints import open_endpoint
from rft.eval.failed_answers import answers_to_keep, write_answers
from rft.eval.judge import LEADERBOARD_LAYOUTS, judge_answers
from rft.eval.material import Material
from rft.eval.memory_by_endpoint import answer_from_endpoint_memory
from rft.eval.memory_by_engine import MemoryAgent, answer_from_memory, make_memory_agent
from rft.eval.memory_log import MemoryLog
from rft.eval.predictions import Prediction, read_predictions
from rft.eval.question_form import make_question_form
from rft.eval.ranks import Ranks
from rft.eval.results import RULES_LABEL, Results, make_results, write_results
from rft.eval.rule_answers import answer_by_rule
from rft.eval.systems import System, choose_systems, fitting_systems
from rft.records import Question
from rft.tasks.mcq import McqTask
from rft.tasks.registry import task_class
from rft.tasks.task import Task


class Comparison:
    """The systems, the questions and the folder of the results; a model is loaded when it is first needed.

    Args:
        config: checked (`check_comparison`).
        ranks: the processes that work on it; joined, where there are several. The first one alone asks systems without
            a model and the judge, and writes the table.

    Raises:
        ValueError: data, a model's tokenizer, or a system that cannot be used.
    """

    def __init__(self, config: ComparisonConfig, ranks: Ranks | None = None) -> None:
        self.config = config
        self.ranks = ranks or Ranks()
        self.dataset: Dataset = open_dataset(config.data)
        self.chosen = choose_questions(config, self.dataset)
        self.tokenizer = load_tokenizer_for(config, choose_systems(config.system))
        task = make_task(config, self.tokenizer, self.dataset)
        check_letters(config, task, self.chosen.questions)
        form = make_question_form(config, task)
        form.score.check_questions(self.chosen.questions)
        chat = ChatTemplate(self.tokenizer) if self.tokenizer is not None else None
        self.material = Material(config, self.dataset, self.chosen.questions, form, chat)
        self.systems, self.left_out = fitting_systems(config.system, self.material)
        for system in self.systems:
            prepare_system(system, self.material)
        self.memory_agent = self.make_memory_agent()
        self.folder = results_folder(config, self.dataset, self.chosen.split)
        self.identity = model_identity(config)
        self.model: ChatModel | None = None

    def make_memory_agent(self) -> MemoryAgent | None:
        """Where a local model keeps memories; made early, because it refuses prompts that may not fit."""
        if self.config.uses_endpoint or not any(system.kind == "memory" for system in self.systems):
            return None
        assert self.tokenizer is not None, "a local model has one"
        return make_memory_agent(self.material, self.tokenizer)

    def ask_systems(self) -> None:
        """Asks every system what was not asked before. On all ranks."""
        for system in self.systems:
            self.ask_system(system)

    def make_table(self, provenance: dict[str, Any]) -> Results:
        """Has open answers judged, then writes the table, with `provenance` in it. On the first rank."""
        for system in self.systems if self.config.compare.answers == "open" else ():
            self.judge_system(system)
        results = make_results(
            self.folder,
            [question.question_id for question in self.chosen.questions],
            self.dataset.breakdowns,
            self.config.compare.baseline,
            self.chosen.manifest | {"systems_left_out": self.left_out},
            provenance,
        )
        write_results(self.folder, results)
        return results

    def ask_system(self, system: System) -> None:
        """Asks what was not asked before; each answer is written down as it comes."""
        ranks = Ranks() if system.kind == "rule" else self.ranks
        if system.kind == "rule" and not self.ranks.is_first:
            return
        folder = self.folder / (RULES_LABEL if system.kind == "rule" else self.config.label) / system.name
        left = ranks.first_says(lambda: self.left_of(system, folder))
        if not left:
            return
        by_id = {question.question_id: question for question in self.chosen.questions}
        asked = ranks.share([(by_id[question_id], sample) for question_id, sample in left])
        part = part_folder(folder, ranks.index, ranks.count)
        with ranks.together(), self.progress_bar(system, ranks, len(left), len(asked)) as bar:
            write_answers(part / "predictions.jsonl", system.name, self.answers(system, asked, part), bar.update)
        if ranks.count > 1:
            ranks.first_says(lambda: self.merge(system, folder))

    def merge(self, system: System, folder: Path) -> None:
        """Puts together what the ranks have written.

        Raises:
            ValueError: it is not all there.
        """
        merge_parts(folder, self.chosen.questions)
        done = read_predictions(folder / "predictions.jsonl")
        missing = len(left_to_ask(self.chosen.questions, self.num_samples(system), done))
        if missing:
            raise ValueError(
                f"{folder}: {missing} answers of other ranks are not there; set output_dir to a folder that all "
                "machines share"
            )

    def left_of(self, system: System, folder: Path) -> list[tuple[str, int]]:
        """Ids of the questions that the folder has no answer to, with the numbers of their samples."""
        merge_parts(folder, self.chosen.questions)  # of an interrupted run; the settings are still its own
        check_answer_settings(folder, settings_of_answers(system, self.material, self.chosen, self.identity))
        done = answers_to_keep(folder / "predictions.jsonl")
        left = left_to_ask(self.chosen.questions, self.num_samples(system), done)
        return [(question.question_id, sample) for question, sample in left]

    def num_samples(self, system: System) -> int:
        return 1 if system.kind == "rule" else self.config.compare.num_samples

    def progress_bar(self, system: System, ranks: Ranks, num_left: int, num_asked: int) -> tqdm[Any]:
        """Of the first rank, which with others shows its own share."""
        total, name = len(self.chosen.questions) * self.num_samples(system), system.name
        done = total - num_left
        if ranks.count > 1:
            total, done, name = num_asked, 0, f"{name} (1 of {ranks.count} ranks)"
        return tqdm(total=total, initial=done, desc=name, unit="answer", dynamic_ncols=True, disable=not ranks.is_first)

    def answers(self, system: System, asked: Sequence[Asked], folder: Path) -> Iterator[Prediction]:
        """Predictions as they come, from whatever answers in this kind of system."""
        if system.kind == "rule":
            return answer_by_rule(system, self.material, asked)
        if system.kind == "memory" and self.config.uses_endpoint:
            return self.endpoint_memory_answers(asked, folder)
        if self.model is None:
            self.model = self.load_model()
        if not isinstance(self.model, LocalChatModel):
            return answer_by_chat(system, self.material, asked, self.model)
        return self.local_answers(system, asked, self.model, folder)

    def local_answers(
        self, system: System, asked: Sequence[Asked], model: LocalChatModel, folder: Path
    ) -> Iterator[Prediction]:
        """Through the engine of this process, whose tokens are counted for this system alone."""
        model.engine.reset_prefix_cache()
        before = model.engine.counters()
        try:
            if system.kind == "memory":
                assert self.memory_agent is not None, "made at the start"
                log = MemoryLog(folder / "memories.jsonl")
                yield from answer_from_memory(self.memory_agent, self.material, asked, model, log)
            else:
                yield from answer_by_chat(system, self.material, asked, model)
        finally:
            add_counters(folder / "counters.json", asdict(model.engine.counters() - before))

    def endpoint_memory_answers(self, asked: Sequence[Asked], folder: Path) -> Iterator[Prediction]:
        config = self.config
        model = EndpointMemoryModel(
            open_endpoint(config.compare.endpoint),
            tokenizer_of_endpoint(config),
            config.memory,
            config.rollout.max_completion_length,
        )
        try:
            yield from answer_from_endpoint_memory(self.material, asked, model, MemoryLog(folder / "memories.jsonl"))
        finally:
            model.close()

    def judge_system(self, system: System) -> None:
        """Asks the judge for what it has not read yet."""
        config = self.config.compare.judge
        folder = self.folder / self.config.label / system.name
        check_judge_settings(folder, settings_of_judge(config))
        questions = {question.question_id: question for question in self.chosen.questions}
        answers = [one for one in read_predictions(folder / "predictions.jsonl") if one.question_id in questions]
        model = EndpointChatModel(
            open_endpoint(config.endpoint),
            concurrency=config.endpoint.concurrency,
            temperature=0.0 if config.repeats == 1 else 1.0,
        )
        layouts = layouts_of(self.config)
        verdicts = judge_answers(config, answers, questions, model, folder / "verdicts.jsonl", layouts)
        try:
            for _ in tqdm(verdicts, desc=f"judge {system.name}", unit="verdict", dynamic_ncols=True):
                pass
        finally:
            model.close()

    def load_model(self) -> ChatModel:
        config, compare = self.config, self.config.compare
        if config.uses_endpoint:
            return EndpointChatModel(
                open_endpoint(compare.endpoint),
                concurrency=compare.endpoint.concurrency,
                temperature=compare.temperature,
            )
        from rft.models import check_positions
        from rft.rollout.vllm_engine import open_engine

        answer, update = config.rollout.max_completion_length, config.memory.max_update_length
        longest = answer if self.memory_agent is None else max(answer, update)
        window = config.rollout.vllm_max_model_length or config.data.max_prompt_length + longest
        check_positions(config.model, window)
        assert self.tokenizer is not None and compare.temperature is not None, "checked at the start"
        most = Counter(question.context_id for question in self.chosen.questions).most_common(1)[0][1]
        engine = open_engine(
            config.model,
            config.rollout,
            self.tokenizer,
            window=window,
            seed=config.train.seed,
            shared_prefix=(config.data.max_prompt_length, min(most, compare.batch_size)),
        )
        if self.ranks.is_first:
            print(engine.summary, file=sys.stderr)
        return LocalChatModel(
            config, self.tokenizer, engine, temperature=compare.temperature, batch_size=compare.batch_size
        )

    def close(self) -> None:
        if self.model is not None:
            self.model.close()


# ------------------------------------------------------------------------------------------------ what is made early


def make_task(config: ComparisonConfig, tokenizer: PreTrainedTokenizerBase | None, dataset: Dataset) -> Task:
    """The task that words and scores the questions."""
    if tokenizer is None:
        tokenizer = cast(PreTrainedTokenizerBase, NoTokenizer(config.task))
    return task_class(config)(config, tokenizer, dataset)


def check_letters(config: ComparisonConfig, task: Task, questions: Sequence[Question]) -> None:
    """Refuses questions without options where letters are asked for."""
    if not isinstance(task, McqTask) or config.compare.answers == "open":
        return
    bare = next((question for question in questions if not question.incorrect_answers), None)
    if bare is not None:
        raise ValueError(
            f"{bare.question_id} has no options, and task {config.task} asks for a letter; set compare.answers=open "
            "and compare.judge.endpoint.model, or task=qa and reward.function"
        )


def prepare_system(system: System, material: Material) -> None:
    """Reads what only this system needs; a mistake in it names the system, which may be left out."""
    if system.prepare is None:
        return
    try:
        system.prepare(material)
    except ValueError as error:
        raise ValueError(f"{error} (needed by system {system.name}, which may be left out)") from None


def results_folder(config: ComparisonConfig, dataset: Dataset, split: str) -> Path:
    """OUTPUT_DIR/evaluation/DATASET-SPLIT, with `-leaderboard` for that protocol and `-open` where a judge reads the
    answers; it is made."""
    if "/" in dataset.name or "\0" in dataset.name:
        raise ValueError(
            f"data.format: the name of the data set, {dataset.name!r}, names a folder; leave out the slash"
        )
    compare = config.compare
    name = f"{dataset.name}-{split}" + ("-leaderboard" if compare.protocol == "leaderboard" else "")
    name += "-open" if compare.answers == "open" else ""
    folder = Path(config.output_dir) / "evaluation" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def layouts_of(config: ComparisonConfig) -> tuple[str, ...]:
    """What a judge reads each answer in."""
    return LEADERBOARD_LAYOUTS if config.compare.protocol == "leaderboard" else tuple(JUDGE_LAYOUTS)
