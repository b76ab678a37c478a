"""Exports of Claude: messages in blocks, which may be a tree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rft.conversations.branches import OTHER_BRANCHES, active_branch, nodes_by_id
from rft.conversations.content import content_of
from rft.conversations.conversation import Conversation, Transcript
from rft.conversations.turns import first_of, items_of, read_each, say_turn


def is_claude_conversation(item: Any) -> bool:
    return isinstance(item, dict) and isinstance(item.get("chat_messages"), list)


def is_claude(payload: Any) -> bool:
    return any(is_claude_conversation(item) for item in items_of(payload)[:3])


def read_claude(payload: Any) -> list[Conversation]:
    return read_each(payload, is_claude_conversation, read_claude_conversation)


def read_claude_conversation(item: Mapping[str, Any]) -> Conversation:
    """Content in blocks; `text` repeats them, with a note in place of each block that is no text."""
    messages = item["chat_messages"]
    transcript = Transcript()
    leaf, nodes = item.get("current_leaf_message_uuid"), nodes_by_id(messages, "uuid")
    children = sum(node.get("parent_message_uuid") in nodes for node in nodes.values())
    is_tree_of_all = len(nodes) == len(messages) == children + 1
    if is_tree_of_all or (isinstance(leaf, str) and leaf in nodes):
        shown = [nodes[name] for name in active_branch(nodes, leaf, "parent_message_uuid")]
        transcript.left_out[OTHER_BRANCHES] += len(messages) - len(shown)
        messages = shown
    for message in messages:
        say_claude(transcript, message)
    return transcript.conversation(
        conversation_id=item.get("uuid"), title=item.get("name"), time=first_of(item, ("created_at", "updated_at"))
    )


def say_claude(transcript: Transcript, message: Any) -> None:
    if not isinstance(message, dict):
        say_turn(transcript, message)
        return
    content = message.get("content")
    if not isinstance(content, list) or not (content_of(content).text or has_tools(content)):
        content = [message.get("text"), *(content if isinstance(content, list) else [])]
    lists = [found for key in ("attachments", "files") if isinstance(found := message.get(key), list)]
    files = [named_file(file) for found in lists for file in found if isinstance(file, dict)]
    transcript.say(message.get("sender", message.get("role")), [content, *files], time=message.get("created_at"))


def has_tools(blocks: list[Any]) -> bool:
    return bool(content_of(blocks).left_out["tool calls and results"])


def named_file(file: Mapping[str, Any]) -> dict[str, Any]:
    """A file that was attached, without what is in it; one without a name is a text that a person has pasted."""
    pasted = file.get("extracted_content")
    if isinstance(pasted, str) and pasted.strip() and not first_of(file, ("file_name", "filename", "name")):
        return {"type": "text", "text": pasted}
    return {"type": "file", "name": first_of(file, ("file_name", "filename", "name"))}
