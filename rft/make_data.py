"""Writes a data set of our own making, or questions for another evaluation tool.

    python rft/make_data.py synthetic out --personas 1000 --questions 25 --history-tokens 32000 --seed 0
    python rft/make_data.py synthetic out --personas 400 --questions 8 --history-tokens 500 --style brief
    python rft/make_data.py llm validate configs/making/people.yaml
    python rft/make_data.py llm preview configs/making/people.yaml --rows 6
    python rft/make_data.py llm create configs/making/people.yaml budget.max_cost=20
    python rft/make_data.py lm-eval personamem.jsonl configs/qwen3_4b.yaml eval.split=benchmark eval.num_questions=0

Exit status: 0 done; 1 `llm create` wrote fewer questions than were asked for, or could not balance them; 2 and one
line on a user's mistake; 75 the budget is used up or an endpoint does not answer, and the same command continues; 130
stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rft.process_exit import FINISHED, INTERRUPTED, leave, put_off, refused, status_of
from rft.synthetic.generator import write_dataset

SHORT = 1
"""Not all that was asked for."""


def main(argv: list[str] | None = None) -> int:
    """Parses, writes; returns the exit status."""
    arguments = parse_data_arguments(argv)
    try:
        status: int = arguments.run(arguments)
    except ValueError as error:
        return refused(error)
    except KeyboardInterrupt:
        print("stopped; the same command of `llm` continues", file=sys.stderr)
        return INTERRUPTED
    return status


def write_synthetic(arguments: argparse.Namespace) -> int:
    write_dataset(
        arguments.out,
        num_personas=arguments.personas,
        questions_per_persona=arguments.questions,
        history_tokens=arguments.history_tokens,
        seed=arguments.seed,
        style=arguments.style,
        decoys=arguments.decoys,
        num_val_personas=arguments.val_personas,
        num_benchmark_personas=arguments.benchmark_personas,
        windows=arguments.windows,
        progress=sys.stderr.isatty(),
    )
    print(f"{arguments.personas} personas x {arguments.questions} questions in {arguments.out}")
    return FINISHED


def write_lm_eval(arguments: argparse.Namespace) -> int:
    from rft.config import load_config
    from rft.data.formats import open_dataset
    from rft.eval.chosen_questions import choose_questions
    from rft.eval.lm_eval import write_lm_eval_questions
    from rft.models import load_tokenizer

    config = load_config(arguments.config, arguments.overrides)
    try:
        tokenizer = load_tokenizer(config.model)
    except OSError as error:
        raise ValueError(f"model.model_name_or_path: {str(error).splitlines()[0]}") from None
    dataset = open_dataset(config.data)
    questions = choose_questions(config, dataset).questions
    write_lm_eval_questions(arguments.out, config.data, dataset, questions, tokenizer)
    print(f"{len(questions)} questions in {arguments.out}")
    return FINISHED


def make_with_llm(arguments: argparse.Namespace) -> int:
    from rft.config_parser import parse_config
    from rft.making.actions import create, preview, validate
    from rft.making.config import MakingConfig
    from rft.making.spending import Unfinished

    config: MakingConfig = parse_config(MakingConfig, arguments.config, arguments.overrides)
    if arguments.rows < 1:
        raise ValueError(f"--rows {arguments.rows}: at least one candidate")
    try:
        if arguments.action == "create":
            text, is_complete = create(config)
            print(text)
            return FINISHED if is_complete else SHORT
        print(validate(config) if arguments.action == "validate" else preview(config, arguments.rows))
    except Unfinished as reason:
        return put_off(reason)
    except OSError as error:
        place = error.filename or config.output_dir
        raise ValueError(f"{place}: {error.strerror}; mend that, and the same command continues") from None
    return FINISHED


def parse_data_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Writes a data set.")
    kinds = parser.add_subparsers(required=True, metavar="KIND")
    synthetic = kinds.add_parser("synthetic", help="personas from word lists, in the layout of PersonaMem-v2")
    synthetic.set_defaults(run=write_synthetic)
    synthetic.add_argument("out", help="folder to write into")
    synthetic.add_argument("--personas", type=int, default=1000)
    synthetic.add_argument("--questions", type=int, default=25, help="questions per persona")
    synthetic.add_argument("--history-tokens", type=int, default=32_000, help="length of a 32k history")
    synthetic.add_argument("--seed", type=int, default=0)
    synthetic.add_argument("--style", choices=("full", "brief"), default="full", help="brief: 50 tokens per question")
    synthetic.add_argument("--decoys", type=float, default=0.5, help="how often a wrong value is mentioned as well")
    synthetic.add_argument("--val-personas", type=int, help="default: a tenth")
    synthetic.add_argument("--benchmark-personas", type=int, help="default: a tenth")
    synthetic.add_argument("--windows", nargs="+", choices=("32k", "128k"), default=["32k"])
    llm = kinds.add_parser("llm", help="personas, chats and questions by language models, in the same layout")
    llm.set_defaults(run=make_with_llm)
    llm.add_argument("action", choices=("validate", "preview", "create"))
    llm.add_argument("config", help="a yaml file, such as configs/making/people.yaml")
    llm.add_argument("overrides", nargs="*", metavar="section.key=value")
    llm.add_argument("--rows", type=int, default=6, help="of preview: candidates on the page")
    lm_eval = kinds.add_parser("lm-eval", help="questions for the lm-evaluation-harness")
    lm_eval.set_defaults(run=write_lm_eval)
    lm_eval.add_argument("out", type=Path, help="file to write")
    lm_eval.add_argument("config", help="a yaml file, such as configs/qwen3_4b.yaml")
    lm_eval.add_argument("overrides", nargs="*", metavar="section.key=value")
    arguments, rest = parser.parse_known_args(argv)
    # argparse takes no further override once an option such as --rows stands between them.
    if any(word.startswith("-") or "=" not in word for word in rest) or (rest and "overrides" not in arguments):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        arguments.overrides += rest
    return arguments


if __name__ == "__main__":
    leave(status_of(main))
