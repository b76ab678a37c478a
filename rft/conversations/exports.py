"""What services and programs give their users when they ask for their chats: one reader for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rft.conversations.branches import active_branch, nodes_by_id
from rft.conversations.content import content_of, read_time
from rft.conversations.conversation import Conversation, Transcript, speaker_of
from rft.conversations.turns import first_of, is_turns, items_of, named_files, read_each, read_turns, say_turn

OTHER_BRANCHES = "messages on other branches"

# ------------------------------------------------------------------------------------------------- ChatGPT, DeepSeek


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


# ------------------------------------------------------------------------------------------------------------- Claude


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
