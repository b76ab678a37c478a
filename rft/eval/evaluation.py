"""One evaluation: every system asked the same questions, each answer written down as it comes, then the table."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from rft.chat.endpoint import Endpoint
from rft.chat.models import ChatModel, EndpointChatModel, LocalChatModel
from rft.config import ModelConfig
from rft.data.benchmarks import Benchmark, load_benchmark
from rft.data.chat_template import ChatTemplate
from rft.data.subset import stratified_subset
from rft.eval.answer_folder import Updates, add_counters, check_settings, model_identity, settings_of
from rft.eval.ask import (
    Asked,
    answer_by_chat,
    answer_by_rule,
    answer_from_memory,
    question_text,
    to_ask,
)
from rft.eval.config import EndpointConfig, EvaluationConfig
from rft.eval.judge import judge
from rft.eval.predictions import Prediction, append_predictions, read_predictions
from rft.eval.results import RULES_LABEL, Results, make_results, write_results
from rft.eval.retrieval import Bm25, Embeddings, Retriever
from rft.eval.systems import MEMORY, RULES, Material, choose_systems
from rft.jsonl import keep_whole_lines
from rft.records import Question


class Evaluation:
    """One evaluation: the questions, the folder of the results, and a model that is loaded when it is first needed."""

    def __init__(self, config: EvaluationConfig) -> None:
        self.config = config
        self.systems = choose_systems(config.system)
        self.benchmark: Benchmark = load_benchmark(config.evaluate.benchmark, config.data, config.eval.split)
        chosen = stratified_subset(self.benchmark.questions, config.eval.num_questions)
        self.questions: list[Question] = [self.benchmark.questions[index] for index in chosen]
        self.folder = results_folder(config)
        self.identity = model_identity(config)
        self.tokenizer = self.load_tokenizer()
        self.material = Material(
            self.benchmark,
            self.questions,
            persona_card=config.data.persona_card,
            question_text=partial(question_text, config, self.benchmark),
            chat=ChatTemplate(self.tokenizer) if self.tokenizer is not None else None,
            retrievers=self.retrievers(),
        )
        self.model: ChatModel | None = None

    def run(self, provenance: dict[str, Any]) -> Results:
        """Asks every system, then writes the table, with `provenance` in it."""
        for system in self.systems:
            self.ask(system)
            if self.config.evaluate.answers == "open":
                self.judge(system)
        results = make_results(
            self.folder,
            [question.question_id for question in self.questions],
            self.config.evaluate.baseline,
            self.benchmark.manifest,
            provenance,
        )
        write_results(self.folder, results)
        return results

    def ask(self, system: str) -> None:
        """Asks what was not asked before; each answer is written down as it comes."""
        folder = self.folder / (RULES_LABEL if system in RULES else self.config.label) / system
        check_settings(folder, settings_of(system, self.config, self.identity))
        path = folder / "predictions.jsonl"
        done = read_predictions(path)
        keep_whole_lines(path)
        num_samples = 1 if system in RULES else self.config.evaluate.num_samples
        asked = to_ask(self.questions, num_samples, done)
        if not asked:
            return
        total = len(self.questions) * num_samples
        with tqdm(total=total, initial=total - len(asked), desc=system, unit="answer", dynamic_ncols=True) as bar:
            for prediction in self.answers(system, asked, folder):
                append_predictions(path, [prediction])
                bar.update()

    def answers(self, system: str, asked: Sequence[Asked], folder: Path) -> Iterator[Prediction]:
        if system in RULES:
            fitted_on = self.benchmark.training or self.questions
            yield from answer_by_rule(system, self.material, asked, fitted_on)
            return
        if system == MEMORY and self.config.uses_endpoint:
            yield from self.answers_from_endpoint_memory(asked, folder)
            return
        if self.model is None:
            self.model = self.load_model()
        engine = self.model.engine if isinstance(self.model, LocalChatModel) else None
        if engine is not None:
            engine.reset_prefix_cache()
            before = engine.counters()
        try:
            if system == MEMORY:
                assert isinstance(self.model, LocalChatModel)
                keep = Updates(folder / "memories.jsonl")
                yield from answer_from_memory(self.config, self.material, asked, self.model, keep)
            else:
                yield from answer_by_chat(system, self.config, self.material, asked, self.model)
        finally:
            if engine is not None:
                add_counters(folder / "counters.json", asdict(engine.counters() - before))

    def answers_from_endpoint_memory(self, asked: Sequence[Asked], folder: Path) -> Iterator[Prediction]:
        from rft.chat.memory_models import EndpointMemoryModel
        from rft.eval.memory_by_endpoint import Memories, answer_from_endpoint_memory

        config = self.config
        model = EndpointMemoryModel(
            endpoint_of(config.evaluate.endpoint),
            config.evaluate.tokenizer or str(config.evaluate.endpoint.model),
            config.memory,
            config.rollout.max_completion_length,
        )
        memories = Memories(folder / "memories.jsonl")
        try:
            yield from answer_from_endpoint_memory(config, self.material, asked, model, memories)
        finally:
            model.close()

    def judge(self, system: str) -> None:
        """Asks the judge for what it has not read yet."""
        config = self.config.evaluate.judge
        folder = self.folder / self.config.label / system
        predictions = read_predictions(folder / "predictions.jsonl")
        settings = folder / "settings.json"
        settings.write_text(
            json.dumps(json.loads(settings.read_text(encoding="utf-8")) | {"judge": config.endpoint.model}, indent=2)
            + "\n",
            encoding="utf-8",
        )
        model = EndpointChatModel(
            endpoint_of(config.endpoint),
            concurrency=config.endpoint.concurrency,
            temperature=0.0 if config.repeats == 1 else 1.0,
        )
        questions = {question.question_id: question for question in self.questions}
        known = [prediction for prediction in predictions if prediction.question_id in questions]
        verdicts = judge(self.config.evaluate.benchmark, config, known, questions, model, folder / "verdicts.jsonl")
        try:
            for _ in tqdm(verdicts, desc=f"judge {system}", unit="verdict", dynamic_ncols=True):
                pass
        finally:
            model.close()

    def load_model(self) -> ChatModel:
        config, compare = self.config, self.config.evaluate
        if self.config.uses_endpoint:
            return EndpointChatModel(
                endpoint_of(compare.endpoint),
                concurrency=compare.endpoint.concurrency,
                temperature=compare.temperature,
            )
        from rft.models import check_positions
        from rft.rollout.vllm_local import open_engine

        answer, update = config.rollout.max_completion_length, config.memory.max_update_length
        longest = max(answer, update) if MEMORY in self.systems else answer
        window = config.rollout.vllm_max_model_length or config.data.max_prompt_length + longest
        check_positions(config.model, window)
        assert self.tokenizer is not None and compare.temperature is not None, "checked at the start"
        engine = open_engine(config.model, config.rollout, self.tokenizer, window=window, seed=config.train.seed)
        return LocalChatModel(
            config, self.tokenizer, engine, temperature=compare.temperature, batch_size=compare.batch_size
        )

    def load_tokenizer(self) -> PreTrainedTokenizerBase | None:
        """The model's own; with an endpoint the one that counts tokens, where a history has to be cut."""
        from rft.models import load_tokenizer

        config = self.config
        if config.uses_endpoint and "truncated_history" not in self.systems:
            return None
        if all(system in RULES for system in self.systems):
            return None
        key, source = "model.model_name_or_path", config.model
        if config.uses_endpoint:
            name = config.evaluate.tokenizer or str(config.evaluate.endpoint.model)
            key, source = "evaluate.tokenizer", ModelConfig(model_name_or_path=name)
        try:
            return load_tokenizer(source)
        except (OSError, ValueError) as error:
            first = str(error).splitlines()[0]
            raise ValueError(f"{key}: cannot read a tokenizer from {source.model_name_or_path}: {first}") from None

    def retrievers(self) -> dict[str, Retriever]:
        compare = self.config.evaluate
        searches: dict[str, Any] = {"bm25": Bm25, "embeddings": lambda: Embeddings(compare.embedding_model)}
        return {
            name: Retriever(
                make(),
                window=compare.retrieval_window,
                overlap=compare.retrieval_overlap,
                top_k=compare.retrieval_top_k,
            )
            for name, make in searches.items()
            if name in self.systems
        }

    def close(self) -> None:
        if self.model is not None:
            self.model.close()


def results_folder(config: EvaluationConfig) -> Path:
    data, compare = config.data, config.evaluate
    name = {"longmemeval": "longmemeval", "personamem_v1": f"personamem_v1-{data.window}"}.get(
        compare.benchmark, f"personamem_v2-{data.window}-{config.eval.split}"
    )
    folder = Path(config.output_dir) / "evaluation" / (name + ("-open" if compare.answers == "open" else ""))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def endpoint_of(config: EndpointConfig) -> Endpoint:
    return Endpoint(
        config.base_url,
        str(config.model),
        timeout=config.timeout,
        max_retries=config.max_retries,
        requests_per_minute=config.requests_per_minute,
        options=config.options,
    )
