"""The memory command behind a real endpoint: what is stored, what is kept, what is said."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import Qwen3Config

from rft import memory_cli
from rft.chat import memory_files
from rft.chat.endpoint import Endpoint
from rft.chat.memory_models import LocalMemoryModel
from rft.chat.memory_rewriting import LONG_MEMORY, SHARE_KEPT, words_kept
from tests.unit.chat.endpoint_server import Server, chat, error, serving, stream
from tests.unit.data.builder import TEMPLATES, make_tokenizer

LONG = "\n".join(f"- Likes {word}{number}." for number in range(30) for word in ("jazz", "tea"))
"""A memory of far more than 40 words."""


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer(TEMPLATES["chatml"]).save_pretrained(folder)
    return folder


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as made:
        made.answers = [chat("- Likes jazz.")]
        yield made


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is gone is not asked five times."""
    monkeypatch.setattr(Endpoint.__init__, "__kwdefaults__", Endpoint.__init__.__kwdefaults__ | {"max_retries": 0})


class Command:
    """Runs the memory command in this process."""

    def __init__(self, folder: Path, tokenizer: Path, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.tokenizer, self.server, self.capsys = folder, tokenizer, server, capsys
        self.memory = folder / "MEMORY.md"
        self.limits = ["--chunk-tokens", "40", "--max-memory-tokens", "2000", "--max-answer-length", "50"]

    def conversation(self, num_messages: int = 1, name: str = "chat.json") -> Path:
        """Messages of a chunk each."""
        said = [{"role": "user", "content": f"Part {n}: jazz, tea, a walk and bread."} for n in range(num_messages)]
        (self.folder / name).write_text(json.dumps(said))
        return self.folder / name

    def arguments(self, command: str, *more: str | Path) -> list[str]:
        model = ["--model", "m", "--endpoint", self.server.url, "--tokenizer", str(self.tokenizer)]
        return [command, *map(str, more), *model, *self.limits]

    def __call__(self, command: str, *more: str | Path) -> tuple[int, str, str]:
        """Status, stdout, stderr."""
        status = memory_cli.main(self.arguments(command, *more))
        printed = self.capsys.readouterr()
        assert "Traceback" not in printed.err
        return status, printed.out, printed.err


@pytest.fixture
def command(tmp_path: Path, tokenizer: Path, server: Server, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(tmp_path, tokenizer, server, capsys)


def leftovers(folder: Path, *expected: str) -> list[str]:
    """Files in a folder besides the conversation and those that are expected."""
    return sorted(path.name for path in folder.iterdir() if path.name not in ("chat.json", *expected))


# -------------------------------------------------------------------------------------------------- what is stored


def test_a_memory_is_built_updated_and_asked(command: Command):
    command.server.answers = [chat("- Likes jazz."), chat("- Likes jazz.\n- Tea."), chat("Go to the bar.")]
    status, out, err = command("build", command.conversation(), command.memory)
    assert (status, err) == (0, "")
    assert "chat.json: list of messages, 1 message\n" in out and "after 1 updates" in out
    assert command.memory.read_text() == "- Likes jazz.\n"
    assert command("update", command.conversation(), command.memory)[0] == 0
    assert command.memory.read_text() == "- Likes jazz.\n- Tea.\n"
    assert "Memory so far:\n- Likes jazz." in command.server.asked[1]["messages"][1]["content"]
    assert command("ask", command.memory, "What next?")[:2] == (0, "Go to the bar.\n")
    assert leftovers(command.folder) == ["MEMORY.md"]


@pytest.mark.parametrize("reason", ["length", "max_tokens", "content_filter", "tool_calls", "refusal", "other"])
def test_a_reply_whose_finish_reason_is_not_stop_is_never_stored_and_counted_by_reason(
    command: Command, reason: str | None
):
    command.memory.write_text("- Likes tea.\n")
    command.server.answers = [chat("- Likes jazz.", reason)]
    status, _, err = command("update", command.conversation(2), command.memory)
    assert status == 1 and err.count("\n") == 1 and "(2)" in err
    assert command.memory.read_text() == "- Likes tea.\n"
    command.server.answers = [chat("- Likes jazz.", reason), chat("- Likes jazz.")]
    status, _, err = command("update", command.conversation(2), command.memory)
    assert status == 0 and "1 of the 2 updates could not be used" in err and "(1)" in err
    assert command.memory.read_text() == "- Likes jazz.\n"


@pytest.mark.parametrize(
    "reply",
    [
        "Unfortunately, I can't help with that.",
        "抱歉，我无法提供帮助。",
        "申し訳ありませんが、お手伝いできません。",
        "Lo siento, no puedo ayudar con eso.",
        "Es tut mir leid, das geht nicht.",
        "Je suis désolé, je ne peux pas.",
        "(nothing yet)",
        "None",
        "<thinking>Hm.",
        "<thinking>Hm.</thinking>",
    ],
)
def test_refusals_in_other_words_and_replies_without_notes_are_not_stored(command: Command, reply: str):
    command.memory.write_text("- Likes tea.\n")
    command.server.answers = [chat(reply)]
    assert command("update", command.conversation(), command.memory)[0] == 1
    assert command.memory.read_text() == "- Likes tea.\n"


@pytest.mark.parametrize(
    "reply", ["<thinking>Hm.</thinking>\n- Jazz.", "thought</think>- Jazz.", "[THINK]a[/THINK]- Jazz."]
)
def test_one_rule_for_thoughts(command: Command, reply: str):
    command.server.answers = [chat(reply)]
    assert command("build", command.conversation(), command.memory)[0] == 0
    assert command.memory.read_text() == "- Jazz.\n"


def test_bom_in_the_memory_and_half_a_surrogate_in_a_reply_are_taken_out(command: Command):
    command.memory.write_bytes(b"\xef\xbb\xbf- Likes tea.\r\n- Bread.\r\n")
    status, body = chat("- Likes jazz \ud83c !")
    command.server.answers = [(status, body)]
    assert command("update", command.conversation(), command.memory)[0] == 0
    assert "Memory so far:\n- Likes tea.\n- Bread." in command.server.asked[0]["messages"][1]["content"]
    assert command.memory.read_bytes() == b"- Likes jazz  !\n"


def test_model_text_steers_no_terminal_and_no_memory(command: Command):
    command.server.answers = [chat("- \x1b[31mJazz\x1b[0m.\x07\x9b2J")]
    assert command("build", command.conversation(), command.memory)[0] == 0
    assert command.memory.read_bytes() == b"- Jazz.\n"
    command.server.answers = [chat("\x1b]0;title\x07Go\x1b[2J \x00out.")]
    assert command("ask", command.memory, "What next?")[:2] == (0, "Go out.\n")


# ------------------------------------------------------------------------------------------- a memory that is lost


def test_a_reply_that_drops_nearly_everything_keeps_the_memory_and_says_so(command: Command):
    command.memory.write_text(f"{LONG}\n")
    command.server.answers = [chat("- Likes bread.")]
    status, _, err = command("update", command.conversation(), command.memory)
    assert status == 1 and err.count("\n") == 1
    assert "MEMORY.md.bak" in err and "--yes" in err
    assert command.memory.read_text() == f"{LONG}\n"
    assert (command.folder / "MEMORY.md.bak").read_text() == f"{LONG}\n"
    status, _, err = command("update", command.conversation(), command.memory, "--yes")
    assert status == 0 and "MEMORY.md.bak" in err
    assert command.memory.read_text() == "- Likes bread.\n"
    assert (command.folder / "MEMORY.md.bak").read_text() == f"{LONG}\n"
    assert leftovers(command.folder) == ["MEMORY.md", "MEMORY.md.bak"]


def test_a_memory_that_is_lost_little_by_little_is_kept_too(command: Command):
    lines = LONG.split("\n")
    replies = ["\n".join(lines[: len(lines) // 3]), "\n".join(lines[: len(lines) // 9])]
    command.memory.write_text(f"{LONG}\n")
    command.server.answers = [chat(reply) for reply in replies]
    assert command("update", command.conversation(2), command.memory)[0] == 1
    assert command.memory.read_text() == f"{LONG}\n"
    asked = len(command.server.asked)
    assert command("update", command.conversation(2), command.memory, "--yes")[0] == 0
    assert len(command.server.asked) == asked, "nothing is asked again"
    assert command.memory.read_text() == f"{replies[1]}\n"


def test_backups_never_replace_each_other(command: Command):
    for number in range(3):
        command.memory.write_text(f"{LONG}\n- {number}\n")
        command.server.answers = [chat("- Likes bread.")]
        assert command("update", command.conversation(), command.memory, "--yes")[0] == 0
    kept = [(command.folder / f"MEMORY.md.bak{suffix}").read_text() for suffix in ("", "2", "3")]
    assert kept == [f"{LONG}\n- {number}\n" for number in range(3)]


@pytest.mark.parametrize("before", ["- Likes tea.", "\n".join(["- tea jazz bread"] * 60)])
def test_a_short_memory_may_be_replaced(command: Command, before: str):
    command.memory.write_text(before)
    command.server.answers = [chat("- Likes opera.")]
    assert command("update", command.conversation(), command.memory)[0] == 0


def test_words_of_scripts_without_spaces_are_counted_one_by_one():
    before = "用户喜欢爵士乐和茶，每天早上散步，讨厌噪音，住在卑尔根，有两只猫，正在学习日语，喜欢烤面包和看老电影。"
    assert words_kept(before, before + "他搬家了") == (words_kept(before, before)[0],) * 2
    kept, words = words_kept(before, "无关内容")
    assert words >= LONG_MEMORY and kept < SHARE_KEPT * words


# -------------------------------------------------------------------------------------------- before the first call


def refused_before_the_first_call(command: Command, *arguments: str | Path) -> str:
    status, _, err = command(*map(str, arguments))
    assert status == 2 and err.startswith("error: ") and err.count("\n") == 1, err
    assert not command.server.asked
    return err


def test_building_into_a_folder_that_does_not_exist(command: Command):
    place = command.folder / "absent" / "MEMORY.md"
    assert "does not exist" in refused_before_the_first_call(command, "build", command.conversation(), place)


def test_building_into_a_read_only_place(command: Command):
    folder = command.folder / "closed"
    folder.mkdir()
    folder.chmod(0o555)
    err = refused_before_the_first_call(command, "build", command.conversation(), folder / "MEMORY.md")
    assert "read-only" in err
    folder.chmod(0o755)


def test_a_file_that_is_read_only(command: Command):
    command.memory.write_text("- Likes tea.\n")
    command.memory.chmod(0o444)
    err = refused_before_the_first_call(command, "update", command.conversation(), command.memory)
    assert "read-only" in err and command.memory.read_text() == "- Likes tea.\n"


@pytest.mark.parametrize("error", [28, 30, 122])
def test_a_full_disk_is_noticed_before_the_first_call(command: Command, monkeypatch: pytest.MonkeyPatch, error: int):
    def refuse(descriptor: int) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(memory_files.os, "fsync", refuse)
    refused_before_the_first_call(command, "build", command.conversation(), command.memory)
    monkeypatch.undo()
    assert leftovers(command.folder) == []


def test_memories_that_are_no_files(command: Command):
    (command.folder / "folder").mkdir()
    os.mkfifo(command.folder / "pipe")
    (command.folder / "file").write_text("")
    for name in ("folder", "pipe"):
        refused_before_the_first_call(command, "build", command.conversation(), command.folder / name)
    refused_before_the_first_call(command, "build", command.conversation(), command.folder / "file" / "MEMORY.md")
    for name in ("folder", "pipe"):
        refused_before_the_first_call(command, "update", command.conversation(), command.folder / name)
        refused_before_the_first_call(command, "ask", command.folder / name, "What next?")
    refused_before_the_first_call(command, "build", command.conversation(), command.folder / ("x" * 300))


def test_a_memory_edited_by_hand_past_the_budget_says_by_how_much(command: Command):
    command.memory.write_text("- jazz\n" * 1500)
    err = refused_before_the_first_call(command, "update", command.conversation(), command.memory)
    assert "more than --max-memory-tokens 2,000" in err
    tokens, over = (int(number.replace(",", "")) for number in re.findall(r"(?<= )[\d,]+(?= tokens| more)", err))
    assert tokens - over == 2000 and over > 0


def test_a_memory_past_the_budget_or_the_window_of_a_model_on_this_machine_is_one_line(
    command: Command, monkeypatch: pytest.MonkeyPatch
):
    make_tokenizer(TEMPLATES["chatml"]).save_pretrained(command.folder / "model")
    Qwen3Config(max_position_embeddings=1000, vocab_size=300, hidden_size=16).save_pretrained(command.folder / "model")
    monkeypatch.setattr(LocalMemoryModel, "engine", property(lambda self: pytest.fail("the engine would start")))
    model = ["--model", str(command.folder / "model"), "--chunk-tokens", "40"]
    limits = ["--max-memory-tokens", "100", "--max-answer-length", "50"]
    command.memory.write_text("- jazz\n" * 400)
    for line, words in (
        (
            ["update", str(command.conversation()), str(command.memory), *model, *limits],
            "more than --max-memory-tokens",
        ),
        (["ask", str(command.memory), "What next?", *model, *limits], "more than fit into the window"),
        (["update", str(command.conversation()), str(command.memory), *model], "longer than the 1000 positions"),
    ):
        assert memory_cli.main(line) == 2
        err = command.capsys.readouterr().err
        assert words in err and err.count("\n") == 1 and re.search(r"\d", err)


def test_a_memory_that_is_not_utf_8(command: Command):
    command.memory.write_bytes("- café".encode("latin-1"))
    assert "UTF-8" in refused_before_the_first_call(command, "update", command.conversation(), command.memory)
    assert "UTF-8" in refused_before_the_first_call(command, "ask", command.memory, "What next?")


# ------------------------------------------------------------------------------------------------ links and modes


def test_a_memory_that_is_a_symbolic_link_stays_one(command: Command):
    real = command.folder / "real"
    real.mkdir()
    (real / "notes.md").write_text("- Likes tea.\n")
    command.memory.symlink_to("real/notes.md")
    assert command("update", command.conversation(), command.memory)[0] == 0
    assert command.memory.is_symlink() and os.readlink(command.memory) == "real/notes.md"
    assert (real / "notes.md").read_text() == "- Likes jazz.\n"
    assert sorted(path.name for path in real.iterdir()) == ["notes.md"]


def test_a_link_to_nothing_is_filled(command: Command):
    command.memory.symlink_to("elsewhere.md")
    assert command("build", command.conversation(), command.memory)[0] == 0
    assert command.memory.is_symlink() and (command.folder / "elsewhere.md").read_text() == "- Likes jazz.\n"


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_a_memory_of_mode_0600_keeps_it_and_so_does_what_is_kept_beside(command: Command, mode: int):
    command.memory.write_text(f"{LONG}\n")
    command.memory.chmod(mode)
    command.server.answers = [chat("- Likes bread.")]
    assert command("update", command.conversation(), command.memory, "--yes")[0] == 0
    for name in ("MEMORY.md", "MEMORY.md.bak"):
        assert stat.S_IMODE((command.folder / name).stat().st_mode) == mode


# ------------------------------------------------------------------------------------------------ nothing to use


@pytest.mark.parametrize("reply", ["", "  ", None])
def test_all_replies_empty_is_a_status_other_than_0_with_its_reason(command: Command, reply: str | None):
    command.server.answers = [chat(reply)]
    status, _, err = command("build", command.conversation(3), command.memory)
    assert status == 1 and "none of the 3 replies is a memory: empty (3)" in err and "not written" in err
    assert leftovers(command.folder) == []
    command.memory.write_text("- Likes tea.\n")
    status, _, err = command("ask", command.memory, "What next?")
    assert status == 1 and "empty" in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (chat("<think>hm", "length"), "thought without an end, cut off at --max-answer-length 50"),
        (chat("<think>hm</think>"), "it is empty"),
        (chat("", "content_filter"), "content_filter"),
    ],
)
def test_ask_likewise(command: Command, answer: Any, why: str):
    command.memory.write_text("- Likes tea.\n")
    command.server.answers = [answer]
    status, out, err = command("ask", command.memory, "What next?")
    assert (status, out) == (1, "") and why in err and err.count("\n") == 1


def test_an_answer_that_was_cut_off_says_so(command: Command):
    command.memory.write_text("- Likes tea.\n")
    command.server.answers = [chat("<think>hm</think>Go to the", "length")]
    status, out, err = command("ask", command.memory, "What next?")
    assert (status, out) == (0, "Go to the\n") and "cut off" in err


# ------------------------------------------------------------------------------------------------ endpoints as they are


def test_azure_s_query_and_its_header_of_the_key(command: Command, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "a-secret-key\n")
    command.server.url += "?api-version=2026-01-01"
    status, _, _ = command("build", command.conversation(), command.memory, "--api-key-header", "api-key")
    assert status == 0
    assert command.server.asked[0]["path"].endswith("?api-version=2026-01-01")
    assert command.server.headers[0]["api-key"] == "a-secret-key" and command.server.authorizations == [None]


@pytest.mark.parametrize(
    ("option", "field", "message"),
    [
        ("--no-temperature", "temperature", "Unsupported value: 'temperature' does not support 0.0 with this model."),
        ("--no-system-role", "system", "System role not supported"),
        ("--stream", "stream", "This model only supports stream mode"),
    ],
)
def test_what_a_server_refuses_is_learned_once_said_once_or_an_option(
    command: Command, option: str, field: str, message: str
):
    def answer(body: dict[str, Any]) -> Any:
        roles = [one["role"] for one in body["messages"]]
        refused = {"temperature": "temperature" in body, "system": "system" in roles, "stream": "stream" not in body}
        if refused[field]:
            return error(400, message)
        return stream("- Likes jazz.") if "stream" in body else chat("- Likes jazz.")

    command.server.answer = answer
    status, _, err = command("build", command.conversation(3), command.memory)
    assert status == 0 and len(command.server.asked) == 4
    assert err.count("note: ") == 1 and command.server.url in err
    command.server.asked.clear()
    status, _, err = command("update", command.conversation(3), command.memory, option)
    assert (status, err) == (0, "") and len(command.server.asked) == 3
    assert command.memory.read_text() == "- Likes jazz.\n"


def test_a_server_that_needs_alternating_roles_is_told_so_beforehand(command: Command):
    assert command("build", command.conversation(), command.memory, "--alternating-roles")[0] == 0


def test_a_password_in_the_address_is_masked_everywhere(command: Command):
    command.server.url = command.server.url.replace("http://", "http://me:pass-word@")
    command.server.answers = [error(400, "no: me:pass-word and pass-word")]
    for answers in (
        [error(400, "no: pass-word")],
        [error(401, "no: pass-word")],
        [chat("")],
        [chat("I can't do that.")],
    ):
        command.server.answers = answers
        status, out, err = command("build", command.conversation(), command.memory)
        assert status in (1, 2) and "pass-word" not in out + err and "me:" not in err
    assert leftovers(command.folder) == []


def test_options_of_an_endpoint_without_one_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "chat.json").write_text('[{"role": "user", "content": "x"}]')
    line = ["build", str(tmp_path / "chat.json"), str(tmp_path / "M.md"), "--model", str(tmp_path)]
    for options in (["--api-key-header", "api-key"], ["--stream"], ["--tokenizer", "x"]):
        assert memory_cli.main([*line, *options]) == 2
        assert f"{options[0]} is about an endpoint" in capsys.readouterr().err
    assert memory_cli.main([*line, "--endpoint", "http://localhost:1/v1", "--revision", "x"]) == 2
    with pytest.raises(SystemExit):
        memory_cli.main([*line, "--api-key-header", "api key"])


# ------------------------------------------------------------------------------------------------- interruptions


def gone(body: dict[str, Any]) -> tuple[int, str]:
    return 500, '{"error": {"message": "gone"}}'


def test_a_build_of_many_chunks_whose_endpoint_goes_away_goes_on_with_the_same_command(command: Command):
    memories = [chat(f"- Memory {number}.") for number in range(5)]
    whole, parts = command.conversation(5), command.folder / "PARTS.md"
    command.server.answers = list(memories)
    assert command("build", whole, command.memory)[0] == 0
    asked = [one["messages"][1]["content"] for one in command.server.asked]
    command.server.asked.clear()

    answers = [*memories[:3], gone({}), gone({})]
    command.server.answer = lambda body: answers[min(len(command.server.asked), len(answers)) - 1]
    status, _, err = command("build", whole, parts)
    assert status == 2 and "3 of 5 updates are kept" in err and "same command" in err
    assert not parts.exists() and (command.folder / "PARTS.md.part").exists()
    assert command("build", whole, parts)[0] == 2, "it is still away"

    command.server.answer, command.server.answers = None, memories[3:]
    status, _, err = command("build", whole, parts)
    assert status == 0 and "going on after 3 of 5" in err
    assert parts.read_text() == command.memory.read_text()
    sent = [one["messages"][1]["content"] for one in command.server.asked]
    assert sorted(set(sent), key=sent.index) == asked, "each chunk is asked with the memory that it had"
    assert leftovers(command.folder) == ["MEMORY.md", "PARTS.md"]


def test_what_another_command_has_begun_is_not_given_up_in_silence(command: Command):
    answers = [chat("- Memory."), gone({})]
    command.server.answer = lambda body: answers[min(len(command.server.asked), 2) - 1]
    assert command("build", command.conversation(3), command.memory)[0] == 2
    command.server.answer = None
    command.server.asked.clear()
    err = refused_before_the_first_call(command, "build", command.conversation(4, "other.json"), command.memory)
    assert "MEMORY.md.part keeps 1 of 3 updates of another command" in err
    (command.folder / "MEMORY.md.part").unlink()
    assert command("build", command.folder / "other.json", command.memory)[0] == 0


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"version": 9}', b'{"version": 1, "task": 3}', b"\xff", b"[" * 9999]
)
def test_progress_that_cannot_be_read_is_named(command: Command, content: bytes):
    (command.folder / "MEMORY.md.part").write_bytes(content)
    err = refused_before_the_first_call(command, "build", command.conversation(), command.memory)
    assert "MEMORY.md.part" in err and "remove it" in err


def test_a_disk_that_is_full_in_the_end_keeps_the_work(command: Command, monkeypatch: pytest.MonkeyPatch):
    command.memory.write_text("- Likes tea.\n")
    replace = memory_files.os.replace

    def refuse(source: Path, place: Path) -> None:
        if place.name == "MEMORY.md":
            raise OSError(28, "No space left on device")
        replace(source, place)

    monkeypatch.setattr(memory_files.os, "replace", refuse)
    status, _, err = command("update", command.conversation(3), command.memory)
    assert status == 2 and "no room" in err and "3 of 3 updates are kept" in err
    assert command.memory.read_text() == "- Likes tea.\n"
    monkeypatch.undo()
    asked = len(command.server.asked)
    assert command("update", command.conversation(3), command.memory)[0] == 0
    assert len(command.server.asked) == asked
    assert command.memory.read_text() == "- Likes jazz.\n"


class Child:
    """The command in a process of its own, forked from this one, which has imported all that takes long."""

    def __init__(self, command: Command, *arguments: str | Path) -> None:
        self.told = command.folder.parent / f"{command.folder.name}-{time.monotonic_ns()}.err"
        self.told.touch()
        self.pid = os.fork()
        if self.pid == 0:
            status = 99
            try:
                descriptor = os.open(self.told, os.O_WRONLY)
                os.dup2(descriptor, 1)
                os.dup2(descriptor, 2)
                sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
                status = memory_cli.main(command.arguments(*map(str, arguments)))
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(status)

    def wait(self) -> int:
        """The status, negative for a signal."""
        _, status = os.waitpid(self.pid, 0)
        assert "Traceback" not in self.err
        return os.waitstatus_to_exitcode(status)

    @property
    def err(self) -> str:
        return self.told.read_text()


def wait_for(condition: Any, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_kill_9_in_the_middle_leaves_the_old_file_whole_and_the_work_usable(command: Command, sent: signal.Signals):
    command.memory.write_text("- Likes tea.\n")
    stuck = {"now": True}

    def answer(body: dict[str, Any]) -> Any:
        number = len(command.server.asked)
        while stuck["now"] and number > 2:
            time.sleep(0.02)
        return chat(f"- Memory {number}.")

    command.server.answer = answer
    whole = command.conversation(4)
    child = Child(command, "update", whole, command.memory)
    wait_for(lambda: len(command.server.asked) == 3)
    os.kill(child.pid, sent)
    assert child.wait() == (130 if sent == signal.SIGINT else -sent)
    stuck["now"] = False
    assert command.memory.read_text() == "- Likes tea.\n"
    assert json.loads((command.folder / "MEMORY.md.part").read_text())["done"] == 2
    command.server.asked.clear()
    command.server.answer, command.server.answers = None, [chat("- Memory 3."), chat("- Memory 4.")]
    status, _, said = command("update", whole, command.memory)
    assert status == 0 and "going on after 2 of 4" in said
    assert command.memory.read_text() == "- Memory 4.\n"
    assert "Memory so far:\n- Memory 2." in command.server.asked[0]["messages"][1]["content"]
    assert leftovers(command.folder) == ["MEMORY.md"]


def test_kill_9_in_the_middle_of_a_build_leaves_no_memory_and_the_work_usable(command: Command):
    stuck = {"now": True}

    def answer(body: dict[str, Any]) -> Any:
        number = len(command.server.asked)
        while stuck["now"] and number > 2:
            time.sleep(0.02)
        return chat(f"- Memory {number}.")

    command.server.answer = answer
    child = Child(command, "build", command.conversation(4), command.memory)
    wait_for(lambda: len(command.server.asked) == 3)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    stuck["now"] = False
    assert not command.memory.exists()
    status, _, said = command("build", command.conversation(4), command.memory)
    assert status == 0 and "going on after 2 of 4" in said
    assert leftovers(command.folder) == ["MEMORY.md"]


@pytest.mark.parametrize("half", [".MEMORY.md.tmp", ".MEMORY.md.part.tmp"])
def test_kill_9_in_the_middle_of_a_write_leaves_a_file_that_the_next_command_takes_away(command: Command, half: str):
    command.memory.write_text("- Likes tea.\n")
    (command.folder / half).write_text("- Likes ja")
    (command.folder / ".MEMORY.md.lock").touch()
    assert command("update", command.conversation(2), command.memory)[0] == 0
    assert command.memory.read_text() == "- Likes jazz.\n" and leftovers(command.folder) == ["MEMORY.md"]


def test_two_updates_at_once_on_one_file_the_second_waits_and_nothing_is_lost(command: Command):
    command.memory.write_text("- Likes tea.\n")
    holding = {"now": True}

    def answer(body: dict[str, Any]) -> Any:
        while holding["now"]:
            time.sleep(0.02)
        before = body["messages"][1]["content"].split("Memory so far:\n")[1]
        return chat(f"{before}\n- Read {len(before.splitlines())}.")

    command.server.answer = answer
    first = Child(command, "update", command.conversation(), command.memory)
    wait_for(lambda: command.server.asked)
    second = Child(command, "update", command.conversation(name="other.json"), command.memory)
    wait_for(lambda: "waiting until it is done" in second.err)
    assert len(command.server.asked) == 1
    holding["now"] = False
    assert first.wait() == 0 and second.wait() == 0
    assert command.memory.read_text() == "- Likes tea.\n- Read 1.\n- Read 2.\n"
    assert leftovers(command.folder, "other.json") == ["MEMORY.md"]


def test_two_builds_at_once_the_second_finds_the_first_one_s_memory(command: Command):
    holding = {"now": True}

    def answer(body: dict[str, Any]) -> Any:
        while holding["now"]:
            time.sleep(0.02)
        return chat("- Likes jazz.")

    command.server.answer = answer
    first = Child(command, "build", command.conversation(), command.memory)
    wait_for(lambda: command.server.asked)
    second = Child(command, "build", command.conversation(), command.memory)
    wait_for(lambda: "waiting" in second.err)
    holding["now"] = False
    assert first.wait() == 0 and second.wait() == 2
    assert "exists" in second.err
    assert command.memory.read_text() == "- Likes jazz.\n"


# -------------------------------------------------------------------------------------------- choosing a conversation

MANY = [
    {"title": "Second", "conversation_id": "c2", "create_time": 200.0, "text": "I moved to Bergen."},
    {"title": "First", "conversation_id": "c1", "create_time": 100.0, "text": "I hum jazz."},
]


def write_export(command: Command) -> Path:
    def conversation(about: dict[str, Any]) -> dict[str, Any]:
        message = {"author": {"role": "user"}, "content": {"content_type": "text", "parts": [about["text"]]}}
        return {**about, "current_node": "a", "mapping": {"a": {"id": "a", "parent": None, "message": message}}}

    path = command.folder / "chat.json"
    path.write_text(json.dumps([conversation(one) for one in MANY]))
    return path


def test_a_file_with_many_conversations_is_read_in_time_order_or_one_is_chosen(command: Command):
    path = write_export(command)
    assert memory_cli.main(["list", str(path)]) == 0
    shown = command.capsys.readouterr().out
    assert (
        shown.index("c1") < shown.index("c2") and "1970-01-01" in shown and "ChatGPT export, 2 conversations" in shown
    )
    status, out, _ = command("build", path, command.memory)
    assert status == 0 and "ChatGPT export, 2 conversations, 2 messages" in out
    sent = command.server.asked[0]["messages"][1]["content"]
    assert sent.index("I hum jazz.") < sent.index("I moved to Bergen.")
    for number, wanted in enumerate(("c2", "Second", "second", "2")):
        place = command.folder / f"{number}.md"
        status, out, _ = command("build", path, place, "--conversation", wanted)
        sent = command.server.asked[-1]["messages"][1]["content"]
        assert status == 0 and "1 of 2 conversations" in out and "Bergen" in sent and "jazz" not in sent
    command.server.asked.clear()
    for wanted in ("3", "0", "absent", "", "9" * 30):
        refused_before_the_first_call(command, "build", path, command.folder / "x.md", "--conversation", wanted)


def test_help_names_the_formats(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        memory_cli.main(["build", "--help"])
    shown = capsys.readouterr().out
    assert ended.value.code == 0
    for name in ("ChatGPT", "Claude", "ShareGPT", "Open WebUI", "LoCoMo", "--conversation", "--yes", "MEMORY.md.part"):
        assert name in shown
