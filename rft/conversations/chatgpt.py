"""Exports of ChatGPT and of DeepSeek: each conversation is a tree of nodes with a message each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rft.conversations.branches import OTHER_BRANCHES, active_branch
from rft.conversations.conversation import Conversation, Transcript, speaker_of
from rft.conversations.turns import first_of, items_of, named_files, read_each


def is_tree(item: Any) -> bool:
    return isinstance(item, dict) and isinstance(item.get("mapping"), dict)


def is_chatgpt(payload: Any) -> bool:
    return any(is_tree(item) for item in items_of(payload)[:3]) and not is_deepseek(payload)


def read_chatgpt(payload: Any) -> list[Conversation]:
    """`mapping` is a tree of nodes with a message each; `current_node` is the last one that the user saw."""
    return read_each(payload, is_tree, read_chatgpt_conversation)


def read_chatgpt_conversation(item: Mapping[str, Any]) -> Conversation:
    nodes = {name: node for name, node in item["mapping"].items() if isinstance(node, dict)}
    branch = active_branch(nodes, item.get("current_node"), "parent")
    transcript = Transcript()
    for name in branch:
        if isinstance(message := nodes[name].get("message"), dict):
            say_chatgpt(transcript, message)
    transcript.left_out[OTHER_BRANCHES] += sum(
        isinstance(node.get("message"), dict) for name, node in nodes.items() if name not in set(branch)
    )
    return transcript.conversation(
        conversation_id=first_of(item, ("conversation_id", "id")),
        title=item.get("title"),
        time=first_of(item, ("create_time", "update_time")),
    )


def say_chatgpt(transcript: Transcript, message: Mapping[str, Any]) -> None:
    author, metadata = message.get("author"), message.get("metadata")
    role = author.get("role") if isinstance(author, dict) else message.get("role")
    if isinstance(metadata, dict) and metadata.get("is_visually_hidden_from_conversation"):
        transcript.left_out["hidden messages"] += 1
    elif role == "assistant" and message.get("recipient") not in (None, "all"):
        transcript.left_out["tool turns"] += 1
    else:
        attached = metadata.get("attachments") if isinstance(metadata, dict) else None
        files = named_files(attached, without_images=True)
        content = [message.get("content"), *files] if files else message.get("content")
        transcript.say(role or "unknown", content, time=message.get("create_time"))


def is_deepseek(payload: Any) -> bool:
    """The same tree, but what was asked and what was answered are fragments, or known by their place alone."""
    items = [item for item in items_of(payload)[:3] if is_tree(item)]
    nodes = [node for item in items for node in item["mapping"].values() if isinstance(node, dict)]
    messages = [node["message"] for node in nodes if isinstance(node.get("message"), dict)]
    return bool(messages) and all("author" not in message for message in messages)


def read_deepseek(payload: Any) -> list[Conversation]:
    return read_each(payload, is_tree, read_deepseek_conversation)


def read_deepseek_conversation(item: Mapping[str, Any]) -> Conversation:
    nodes = {name: node for name, node in item["mapping"].items() if isinstance(node, dict)}
    branch = active_branch(nodes, item.get("current_node"), "parent")
    messages = [message for name in branch if isinstance(message := nodes[name].get("message"), dict)]
    transcript = Transcript()
    for number, message in enumerate(messages):
        fragments = message.get("fragments")
        if not isinstance(fragments, list):
            role = message.get("role") or ("user" if number % 2 == 0 else "assistant")
            transcript.say(role, message.get("content"), time=message.get("inserted_at"))
            continue
        for fragment in fragments:
            kind = fragment.get("type") if isinstance(fragment, dict) else None
            if isinstance(kind, str) and speaker_of(kind) in ("user", "assistant"):
                transcript.say(kind, fragment.get("content"), time=message.get("inserted_at"))
            else:
                transcript.left_out["thoughts" if kind == "THINK" else "tool turns"] += 1
    transcript.left_out[OTHER_BRANCHES] += sum(
        isinstance(node.get("message"), dict) for name, node in nodes.items() if name not in set(branch)
    )
    return transcript.conversation(
        conversation_id=item.get("id"), title=item.get("title"), time=first_of(item, ("inserted_at", "updated_at"))
    )
