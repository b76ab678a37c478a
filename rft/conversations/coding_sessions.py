"""Sessions of coding assistants: Claude Code, Codex, GitHub Copilot in VS Code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rft.conversations.conversation import Conversation, Transcript
from rft.conversations.turns import is_turns, items_of, read_each, say_turn


def is_claude_code(payload: Any) -> bool:
    """The session files of coding assistants: a line per event, the messages inside."""
    lines = [item for item in items_of(payload)[:20] if isinstance(item, dict)]
    return any("sessionId" in line and isinstance(line.get("message"), dict) for line in lines)


def read_claude_code(payload: Any) -> list[Conversation]:
    transcript = Transcript()
    session: object = None
    for line in items_of(payload):
        message = line.get("message") if isinstance(line, dict) else None
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            transcript.left_out["events that are no message"] += 1
        elif line.get("isMeta") or line.get("isSidechain"):
            transcript.left_out["hidden messages"] += 1
        else:
            session = session or line.get("sessionId")
            transcript.say(message["role"], message.get("content"), time=line.get("timestamp"))
    return [transcript.conversation(conversation_id=session)]


def is_codex(payload: Any) -> bool:
    """Session files that hold a line per event, the messages as items of the Responses API inside."""
    lines = [item for item in items_of(payload)[:20] if isinstance(item, dict)]
    return any(line.get("type") in ("session_meta", "response_item") and "payload" in line for line in lines)


def read_codex(payload: Any) -> list[Conversation]:
    transcript = Transcript()
    session: object = None
    for line in items_of(payload):
        item = line.get("payload") if isinstance(line, dict) else None
        if not isinstance(item, dict):
            transcript.left_out["events that are no message"] += 1
        elif line.get("type") == "response_item" and is_turns([item]):
            say_turn(transcript, {"timestamp": line.get("timestamp"), **item})
        else:
            session = session or (item.get("id") if line.get("type") == "session_meta" else None)
            transcript.left_out["events that are no message"] += 1
    return [transcript.conversation(conversation_id=session)]


def is_copilot_chat(item: Any) -> bool:
    requests = item.get("requests") if isinstance(item, dict) else None
    return isinstance(requests, list) and bool(requests) and isinstance(requests[0], dict) and "response" in requests[0]


def is_copilot(payload: Any) -> bool:
    return any(is_copilot_chat(item) for item in items_of(payload)[:3])


def read_copilot(payload: Any) -> list[Conversation]:
    """GitHub Copilot in VS Code: requests with their responses, which are Markdown between notes of progress."""

    def read(item: Mapping[str, Any]) -> Conversation:
        transcript = Transcript()
        for request in item["requests"]:
            if not isinstance(request, dict):
                say_turn(transcript, request)
                continue
            transcript.say("user", request.get("message"), time=request.get("timestamp"))
            pieces = [piece for piece in items_of(request.get("response")) if isinstance(piece, dict)]
            spoken = [piece.get("value") for piece in pieces if piece.get("kind") in (None, "markdownContent")]
            transcript.say("assistant", [value for value in spoken if isinstance(value, str | dict)])
        return transcript.conversation(conversation_id=item.get("sessionId"), time=item.get("creationDate"))

    return read_each(payload, is_copilot_chat, read)
