"""Exports of chat programs that need no file of their own: LibreChat, Open WebUI, Grok, LM Studio and others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rft.conversations.branches import OTHER_BRANCHES, active_branch, nodes_by_id
from rft.conversations.content import read_time
from rft.conversations.conversation import Conversation, Transcript
from rft.conversations.turns import first_of, is_turns, items_of, read_each, read_turns, say_turn

# --------------------------------------------------------------------------------------------------------- LibreChat


def is_librechat_chat(item: Any) -> bool:
    messages = librechat_messages(item)
    return bool(messages) and isinstance(messages[0], dict) and isinstance(messages[0].get("isCreatedByUser"), bool)


def librechat_messages(item: Any) -> list[Any]:
    found = [item.get(key) for key in ("messages", "messagesTree")] if isinstance(item, dict) else []
    return next((messages for messages in found if isinstance(messages, list)), [])


def is_librechat(payload: Any) -> bool:
    return any(is_librechat_chat(item) for item in items_of(payload)[:3])


def read_librechat(payload: Any) -> list[Conversation]:
    """Messages in a list, with their parents or with their children; of several branches the newest is read."""

    def read(item: Mapping[str, Any]) -> Conversation:
        messages = list(with_children(librechat_messages(item)))
        nodes = nodes_by_id(messages, "messageId")
        if len(nodes) < len(messages):
            return read_turns(messages, item)
        branch = active_branch(nodes, None, "parentMessageId")
        found = read_turns((nodes[name] for name in branch), item)
        found.left_out[OTHER_BRANCHES] += len(nodes) - len(branch)
        return found

    return read_each(payload, is_librechat_chat, read)


def with_children(messages: list[Any]) -> Iterator[Any]:
    """Messages and what is nested below them, parents first, in the order of the file."""
    waiting = messages[::-1]
    while waiting:
        message = waiting.pop()
        yield message
        children = message.get("children") if isinstance(message, dict) else None
        if isinstance(children, list):
            parent = message.get("messageId")
            waiting += [
                {"parentMessageId": parent, **child} if isinstance(child, dict) else child for child in children[::-1]
            ]


# -------------------------------------------------------------------------------------------------------- Open WebUI


def is_open_webui_chat(item: Any) -> bool:
    chat = item.get("chat") if isinstance(item, dict) else None
    return isinstance(chat, dict) and (isinstance(chat.get("messages"), list) or isinstance(chat.get("history"), dict))


def is_open_webui(payload: Any) -> bool:
    return any(is_open_webui_chat(item) for item in items_of(payload)[:3])


def read_open_webui(payload: Any) -> list[Conversation]:
    return read_each(payload, is_open_webui_chat, read_open_webui_chat)


def read_open_webui_chat(item: Mapping[str, Any]) -> Conversation:
    """`chat.messages` is the branch that is shown; where it is empty, `chat.history` has the tree."""
    chat = item["chat"]
    about = {**chat, **{key: value for key, value in item.items() if value is not None}}
    if is_turns(chat.get("messages")):
        return read_turns(chat["messages"], about)
    history = chat.get("history")
    stored = history.get("messages") if isinstance(history, dict) else None
    nodes = {
        name: node for name, node in (stored if isinstance(stored, dict) else {}).items() if isinstance(node, dict)
    }
    branch = active_branch(nodes, history.get("currentId") if isinstance(history, dict) else None, "parentId")
    found = read_turns((nodes[name] for name in branch), about)
    found.left_out[OTHER_BRANCHES] += len(nodes) - len(branch)
    return found


# ------------------------------------------------------------------------------------------------------ other programs


def is_grok_conversation(item: Any) -> bool:
    return isinstance(item, dict) and isinstance(item.get("responses"), list) and "conversation" in item


def is_grok(payload: Any) -> bool:
    return is_grok_conversation(grok_items(payload)[0]) if grok_items(payload) else False


def grok_items(payload: Any) -> list[Any]:
    return items_of(payload["conversations"] if isinstance(payload, dict) and "conversations" in payload else payload)


def read_grok(payload: Any) -> list[Conversation]:
    def read(item: Mapping[str, Any]) -> Conversation:
        wrapped = [response.get("response") if isinstance(response, dict) else None for response in item["responses"]]
        about = item["conversation"] if isinstance(item["conversation"], dict) else {}
        return read_turns(wrapped, about)

    return read_each(grok_items(payload), is_grok_conversation, read)


def is_lm_studio_chat(item: Any) -> bool:
    messages = item.get("messages") if isinstance(item, dict) else None
    return isinstance(messages, list) and any(
        isinstance(m, dict) and isinstance(m.get("versions"), list) for m in messages
    )


def is_lm_studio(payload: Any) -> bool:
    return any(is_lm_studio_chat(item) for item in items_of(payload)[:3])


def read_lm_studio(payload: Any) -> list[Conversation]:
    """LM Studio: each message in versions, one of them selected; a reply in steps."""

    def say(transcript: Transcript, message: object) -> None:
        versions = message.get("versions") if isinstance(message, dict) else None
        if not isinstance(message, dict) or not isinstance(versions, list) or not versions:
            say_turn(transcript, message)
            return
        selected = message.get("currentlySelected")
        place = selected if isinstance(selected, int) and 0 <= selected < len(versions) else -1
        version = versions[place]
        if isinstance(version, dict) and isinstance(version.get("steps"), list):
            steps = [step.get("content") for step in version["steps"] if is_spoken_step(step)]
            version = {**version, "content": steps}
        say_turn(transcript, version)
        transcript.left_out[OTHER_BRANCHES] += len(versions) - 1

    return read_each(payload, is_lm_studio_chat, lambda item: read_turns(item["messages"], item, say=say))


def is_spoken_step(step: Any) -> bool:
    style = step.get("style") if isinstance(step, dict) else None
    return isinstance(step, dict) and not (isinstance(style, dict) and style.get("type") == "thinking")


def is_character_chat(item: Any) -> bool:
    turns = item.get("turns") if isinstance(item, dict) else None
    return isinstance(turns, list) and bool(turns) and isinstance(turns[0], dict) and "candidates" in turns[0]


def is_character_ai(payload: Any) -> bool:
    return any(is_character_chat(item) for item in items_of(payload)[:3])


def read_character_ai(payload: Any) -> list[Conversation]:
    """Character.AI: turns with candidates, of which one was chosen; the newest turn comes first where times say so."""

    def say(transcript: Transcript, turn: object) -> None:
        author = turn.get("author") if isinstance(turn, dict) else None
        candidates = turn.get("candidates") if isinstance(turn, dict) else None
        if not isinstance(turn, dict) or not isinstance(author, dict) or not isinstance(candidates, list):
            say_turn(transcript, turn)
            return
        found = [one for one in candidates if isinstance(one, dict)]
        chosen = [one for one in found if one.get("candidate_id") == turn.get("primary_candidate_id")] or found
        content = first_of(chosen[0], ("raw_content", "content", "text")) if chosen else None
        transcript.say("user" if author.get("is_human") else "assistant", content, time=turn.get("create_time"))
        transcript.left_out[OTHER_BRANCHES] += max(0, len(found) - 1)

    def read(item: Mapping[str, Any]) -> Conversation:
        turns = item["turns"]
        times = [read_time(turn.get("create_time")) or 0.0 if isinstance(turn, dict) else 0.0 for turn in turns]
        if all(times) and times == sorted(times, reverse=True):
            turns = turns[::-1]
        return read_turns(turns, item, say=say)

    return read_each(payload, is_character_chat, read)


def is_silly_tavern(payload: Any) -> bool:
    items = items_of(payload)
    return any(isinstance(item, dict) and "mes" in item and "is_user" in item for item in items[:2])


def read_silly_tavern(payload: Any) -> list[Conversation]:
    """SillyTavern: JSON lines, the first of which says who is who."""
    items = items_of(payload)
    first = items[0] if isinstance(items[0], dict) and "mes" not in items[0] else None
    return [read_turns(items[1:] if first else items, {"title": first.get("character_name")} if first else {})]


def is_le_chat(payload: Any) -> bool:
    lists = payload if isinstance(payload, list) and payload and isinstance(payload[0], list) else [payload]
    return is_turns(lists[0]) and "chatId" in lists[0][0]


def read_le_chat(payload: Any) -> list[Conversation]:
    """Le Chat of Mistral: a list of messages for each chat, in no certain order."""
    chats = payload if isinstance(payload[0], list) else [payload]
    return read_each(chats, is_turns, lambda chat: read_turns(sorted(chat, key=created), {"id": chat[0].get("chatId")}))


def created(message: Any) -> float:
    return (read_time(message.get("createdAt")) or 0.0) if isinstance(message, dict) else 0.0
