"""A conversation of one user with an assistant, whatever program wrote it down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from rft.conversations.content import Content, content_of, read_time, without_thought
from rft.data.readers.cells import CellError
from rft.records import Message, Role

ROLES: dict[str, str] = {
    **dict.fromkeys(
        (
            "user", "human", "humanmessage", "prompter", "customer", "you", "me", "request", "benutzer", "nutzer",
            "utilisateur", "utilisatrice", "usuario", "usuaria", "usuário", "utente", "gebruiker", "użytkownik",
            "пользователь", "用户", "用戶", "使用者", "ユーザー", "ユーザ", "사용자", "المستخدم",
        ),
        "user",
    ),
    **dict.fromkeys(
        (
            "assistant", "ai", "aimessage", "aimessagechunk", "model", "bot", "chatbot", "llm", "gpt", "chatgpt",
            "claude", "gemini", "bard", "bing", "copilot", "grok", "response", "agent", "assistent", "asistente",
            "assistente", "asystent", "ассистент", "помощник", "助手", "アシスタント", "어시스턴트", "المساعد",
        ),
        "assistant",
    ),
    **dict.fromkeys(("system", "developer", "systemmessage", "instruction", "instructions", "root"), "system"),
    **dict.fromkeys(("reasoning", "thinking", "thought", "analysis"), "thought"),
    **dict.fromkeys(
        (
            "tool", "toolmessage", "function", "functionmessage", "observation", "ipython", "function_call",
            "function_response", "function_result", "tool_call", "tool_calls", "tool_response", "tool_result",
            "function_call_output", "function-call", "plugin", "environment", "item_reference",
        ),
        "tool",
    ),
}  # fmt: skip
"""What programs call the speakers, in lower case -> who speaks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """What was said, and how much of the file was left out.

    Example:
        Conversation(messages=(Message(role="user", content="I hum jazz."),), conversation_id="c1",
                     title="Evening ideas", time=1700000000.0, left_out=Counter({"tool turns": 2}))
    """

    messages: tuple[Message, ...]
    """Those of the user and the assistant that have text, in order."""
    conversation_id: str | None = None
    title: str | None = None
    time: float | None = None
    """When it began, in seconds since 1970 UTC."""
    left_out: Counter[str] = field(default_factory=Counter)
    """What stood between the messages and is not read, by kind."""


@dataclass(kw_only=True)
class Transcript:
    """Collects the messages of one conversation while its reader goes through the file.

    Example:
        transcript = Transcript()
        transcript.say("human", "I hum jazz.")
        transcript.conversation(title="Evening ideas")
    """

    messages: list[Message] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    first_time: float | None = None
    turns: int = 0
    """Looked at, with those that are left out: the next one's number."""

    def say(self, role: object, content: object, *, time: object = None, calls_tools: bool = False) -> None:
        """One turn: a message, or one more of what is left out.

        Args:
            role: as the file has it, in any case of letters.
            content: a text, parts, or nothing.
            time: in any of the ways of `read_time`.
            calls_tools: a turn without text that is no empty message.

        Raises:
            CellError: a role or a content that cannot be what it should be.
        """
        number = self.turns
        self.turns += 1
        if not isinstance(role, str):
            raise CellError(f"message {number} has no role")
        speaker = speaker_of(role)
        if speaker in ("user", "assistant"):
            try:
                found = content_of(content)
            except CellError as error:
                raise CellError(f"message {number} {error}") from None
            self.add(speaker, found, calls_tools)
        elif speaker == "tool":
            self.left_out["tool turns"] += 1
        elif speaker == "thought":
            self.left_out["thoughts"] += 1
        elif speaker == "system":
            self.left_out["system messages"] += content not in (None, "", [])
        else:
            self.left_out[f"messages of the role {shortened(role)!r}"] += 1
        if self.first_time is None:
            self.first_time = read_time(time)

    def add(self, role: Role | str, found: Content, calls_tools: bool) -> None:
        if role == "assistant":
            found = without_thought(found)
        if found.text:
            self.messages.append(Message(role="user" if role == "user" else "assistant", content=found.text))
        elif calls_tools or found.left_out["tool calls and results"]:
            self.left_out["tool turns"] += 1
            return
        elif not found.left_out:
            self.left_out["messages without text"] += 1
        self.left_out += found.left_out

    def conversation(
        self, *, conversation_id: object = None, title: object = None, time: object = None
    ) -> Conversation:
        """What was collected; `time` before the time of its first message."""
        begun = read_time(time)
        return Conversation(
            messages=tuple(self.messages),
            conversation_id=name_of(conversation_id),
            title=name_of(title),
            time=self.first_time if begun is None else begun,
            left_out=self.left_out,
        )


def speaker_of(role: str) -> str | None:
    """`user`, `assistant`, `system`, `tool` or `thought`; None for anybody else."""
    name = role.strip().casefold()
    if name.endswith(("_call", "_call_output")):  # items of the Responses API
        return "tool"
    if name.startswith(("gpt-", "claude-", "gemini-")):
        return "assistant"
    return ROLES.get(name)


def name_of(value: object) -> str | None:
    """A title or an id in one line; None where there is none."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    text = str(value) if isinstance(value, str) or value.bit_length() < 1000 else ""
    return " ".join(text.split()) or None


def shortened(text: str, size: int = 40) -> str:
    return text if len(text) <= size else f"{text[: size - 3]}..."


def counted(left_out: Counter[str]) -> str:
    """What was left out, for a person: `messages without text (2), tool turns (1)`."""
    return ", ".join(f"{what} ({count:,})" for what, count in sorted(left_out.items()) if count)


def joined(conversations: Sequence[Conversation]) -> tuple[list[Message], Counter[str]]:
    """The messages of several conversations, one after another, and what was left out of them."""
    left_out: Counter[str] = Counter()
    for conversation in conversations:
        left_out += conversation.left_out
    return [message for conversation in conversations for message in conversation.messages], left_out
