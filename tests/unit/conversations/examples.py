"""The same small conversation in every format that is read."""

from __future__ import annotations

from typing import Any

SAID = [("user", "I hum jazz."), ("assistant", "Lovely."), ("user", "Any idea?"), ("assistant", "The bar.")]


def turns(role: str = "role", content: str = "content", **names: str) -> list[dict[str, str]]:
    """SAID under other keys and other names of the speakers."""
    return [{role: names.get(speaker, speaker), content: text} for speaker, text in SAID]


def node(name: str, parent: str | None, role: str, parts: Any, **message: Any) -> dict[str, Any]:
    content = {"content_type": "text", "parts": parts} if isinstance(parts, list) else parts
    return {name: {"id": name, "parent": parent, "children": [], "message": {
        "author": {"role": role}, "content": content, **message}}}  # fmt: skip


CHATGPT = {
    "title": "Evening", "create_time": 1700000000.0, "current_node": "n6", "conversation_id": "c1",
    "mapping": {
        "root": {"id": "root", "parent": None, "children": ["n0"], "message": None},
        **node("n0", "root", "system", [""], metadata={"is_visually_hidden_from_conversation": True}),
        **node("n1", "n0", "user", ["I hum jazz."]),
        **node("n2", "n1", "assistant", ["Lovely."]),
        **node("other", "n1", "assistant", ["On another branch."]),
        **node("n3", "n2", "user", [{"content_type": "image_asset_pointer", "asset_pointer": "x"}, "Any idea?"]),
        **node("t1", "n3", "assistant", {"content_type": "code", "text": "search()"}, recipient="browser"),
        **node("t2", "t1", "tool", ["found"]),
        **node("t3", "t2", "assistant", {"content_type": "thoughts", "thoughts": [{"content": "hm"}]}),
        **node("n6", "t3", "assistant", ["The bar."]),
    },
}  # fmt: skip
WITH_IMAGE = [*SAID[:2], ("user", "[image]\nAny idea?"), SAID[3]]

READ: dict[str, tuple[Any, str]] = {
    "plain list": (turns(), "list of messages"),
    "timestamps": ([{**turn, "timestamp": 1} for turn in turns()], "list of messages"),
    "messages object": ({"messages": turns()}, "messages object"),
    "request of the OpenAI API": ({"model": "m", "messages": turns(), "temperature": 0}, "messages object"),
    "fine-tuning list": ([{"messages": turns()}], "OpenAI fine-tuning examples"),
    "PersonaMem history": ({"metadata": {"persona_id": 3}, "chat_history": turns()}, "PersonaMem history"),
    "roles human and ai": (turns(user="human", assistant="ai"), "list of messages"),
    "role model": (turns(assistant="model"), "list of messages"),
    "roles in any case": (turns(user="User", assistant="ASSISTANT"), "list of messages"),
    "ShareGPT": ([{"id": "x", "conversations": turns("from", "value", user="human", assistant="gpt")}], "ShareGPT"),
    "ShareGPT with newer keys": ({"conversations": turns()}, "ShareGPT"),
    "ShareGPT turns": (turns("from", "value", user="human", assistant="chatgpt"), "ShareGPT"),
    "list of sessions": ([turns()[:2], turns()[2:]], "list of sessions"),
    "content parts": (
        [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in SAID], "list of messages",
    ),
    "Responses API": (
        {"input": [
            {"role": role, "content": [{"type": "input_text" if role == "user" else "output_text", "text": text}]}
            for role, text in SAID
        ]},
        "objects with a list of messages",
    ),
    "Anthropic API": (
        {"system": "Be kind.", "messages": [
            {"role": "user", "content": "I hum jazz."},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "Lovely."},
                {"type": "tool_use", "id": "1", "name": "search", "input": {}},
            ]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "rain"}]},
            {"role": "user", "content": [{"type": "text", "text": "Any idea?"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "The bar."}]},
        ]},
        "messages object",
    ),
    "Assistants thread": (
        {"object": "list", "data": [
            {"role": role, "created_at": number, "thread_id": "t",
             "content": [{"type": "text", "text": {"value": text, "annotations": []}}]}
            for number, (role, text) in reversed(list(enumerate(SAID, 1)))
        ]},
        "OpenAI Assistants thread",
    ),
    "LangChain": (
        [{"type": "human" if role == "user" else "ai", "data": {"content": text}} for role, text in SAID],
        "LangChain messages",
    ),
    "LangChain serialised": (
        [{"lc": 1, "type": "constructor", "kwargs": {"content": text},
          "id": ["langchain", "schema", "HumanMessage" if role == "user" else "AIMessage"]} for role, text in SAID],
        "LangChain messages",
    ),
    "Vercel AI SDK": (
        [{"id": "1", "role": role, "parts": [{"type": "step-start"}, {"type": "text", "text": text}]}
         for role, text in SAID],
        "list of messages",
    ),
    "ChatGPT": ([CHATGPT], "ChatGPT export"),
    "ChatGPT, one conversation": (CHATGPT, "ChatGPT export"),
    "DeepSeek": (
        [{"id": "d", "title": "t", "inserted_at": "2026-01-02T10:00:00Z", "mapping": {
            "root": {"id": "root", "parent": None, "children": ["1"], "message": None},
            "1": {"id": "1", "parent": "root", "children": ["2"], "message": {
                "fragments": [{"type": "REQUEST", "content": "I hum jazz."}]}},
            "2": {"id": "2", "parent": "1", "children": ["3"], "message": {
                "fragments": [{"type": "THINK", "content": "hm"}, {"type": "RESPONSE", "content": "Lovely."}]}},
            "3": {"id": "3", "parent": "2", "children": ["4"], "message": {"fragments": [
                {"type": "REQUEST", "content": "Any idea?"}]}},
            "4": {"id": "4", "parent": "3", "children": [], "message": {"fragments": [
                {"type": "RESPONSE", "content": "The bar."}]}},
        }}],
        "DeepSeek export",
    ),
    "DeepSeek without fragments": (
        [{"id": "d", "mapping": {
            "root": {"id": "root", "parent": None, "message": None},
            **{str(n): {"id": str(n), "parent": str(n - 1) if n else "root", "message": {"content": text, "files": []}}
               for n, (_, text) in enumerate(SAID)},
        }}],
        "DeepSeek export",
    ),
    "Claude": (
        [{"uuid": "u1", "name": "Evening", "created_at": "2026-01-02T10:00:00Z", "chat_messages": [
            {"uuid": str(n), "sender": "human" if role == "user" else "assistant", "text": "not supported here",
             "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": text}], "attachments": []}
            for n, (role, text) in enumerate(SAID)
        ]}],
        "Claude export",
    ),
    "Claude without blocks": (
        [{"uuid": "u1", "name": "", "chat_messages": [
            {"sender": "human" if role == "user" else "assistant", "text": text} for role, text in SAID
        ]}],
        "Claude export",
    ),
    "Open WebUI": (
        [{"id": "1", "title": "t", "chat": {"history": {"messages": {}}, "messages": turns()}}], "Open WebUI export",
    ),
    "Open WebUI tree": (
        [{"id": "1", "chat": {"messages": [], "history": {"currentId": "3", "messages": {
            "x": {"id": "x", "parentId": "0", "role": "assistant", "content": "On another branch."},
            **{str(n): {"id": str(n), "parentId": str(n - 1) if n else None, "role": role, "content": text}
               for n, (role, text) in enumerate(SAID)},
        }}}}],
        "Open WebUI export",
    ),
    "Gemini API": (
        {"contents": [{"role": role.replace("assistant", "model"), "parts": [{"text": text}]} for role, text in SAID]},
        "Gemini API contents",
    ),
    "Gemini history": (
        [{"role": role.replace("assistant", "model"), "parts": [text]} for role, text in SAID], "Gemini API contents",
    ),
    "Gemini activity": (
        [
            {"header": "Gemini Apps", "title": "Prompted Any idea?", "time": "2026-01-02T11:00:00Z",
             "products": ["Gemini Apps"], "safeHtmlItem": [{"html": "<p>The <b>bar</b>.</p>"}]},
            {"header": "Gemini Apps", "title": "Used a feature", "time": "2026-01-02T10:30:00Z", "products": []},
            {"header": "Gemini Apps", "title": "Prompted I hum jazz.", "time": "2026-01-02T10:00:00Z",
             "products": ["Gemini Apps"], "safeHtmlItem": [{"html": "Lovely."}]},
        ],
        "Gemini activity of Google Takeout",
    ),
    "AI Studio": (
        {"runSettings": {}, "chunkedPrompt": {"chunks": [
            {"role": role.replace("assistant", "model"), "text": text} for role, text in SAID
        ] + [{"role": "model", "text": "hm", "isThought": True}]}},
        "AI Studio prompt",
    ),
    "Grok": (
        {"conversations": [{
            "conversation": {"id": "g", "title": "t", "create_time": "2026-01-02T10:00:00Z"},
            "responses": [
                {"response": {"_id": "1", "sender": "human" if role == "user" else "ASSISTANT", "message": text,
                              "create_time": {"$date": {"$numberLong": "1767348000000"}}}} for role, text in SAID
            ],
        }]},
        "Grok export",
    ),
    "Copilot in VS Code": (
        {"requesterUsername": "me", "requests": [
            {"message": {"text": "I hum jazz.", "parts": []}, "response": [
                {"kind": "progressTaskSerialized", "content": {"value": "Reading"}}, {"value": "Lovely."}]},
            {"message": {"text": "Any idea?"},
             "response": [{"kind": "markdownContent", "value": {"value": "The bar."}}]},
        ]},
        "GitHub Copilot chat",
    ),
    "LM Studio": (
        {"name": "t", "createdAt": 1700000000000, "messages": [
            {"versions": [{"type": "singleStep", "role": "user", "content": [{"type": "text", "text": text}]}],
             "currentlySelected": 0}
            if role == "user" else
            {"versions": [
                {"type": "multiStep", "role": "assistant", "steps": [{"content": [{"type": "text", "text": "Old."}]}]},
                {"type": "multiStep", "role": "assistant", "steps": [
                    {"style": {"type": "thinking"}, "content": [{"type": "text", "text": "hm"}]},
                    {"type": "contentBlock", "content": [{"type": "text", "text": text}]},
                ]},
             ], "currentlySelected": 1}
            for role, text in SAID
        ]},
        "LM Studio chat",
    ),
    "Character.AI": (
        {"turns": [
            {"author": {"name": "x", **({"is_human": True} if role == "user" else {})},
             "create_time": f"2026-01-02T10:0{n}:00Z", "primary_candidate_id": "b",
             "candidates": [{"candidate_id": "a", "raw_content": "Old."}, {"candidate_id": "b", "raw_content": text}]}
            for n, (role, text) in reversed(list(enumerate(SAID)))
        ]},
        "Character.AI chat",
    ),
    "turns": ({"turns": turns()}, "objects with a list of messages"),
    "Le Chat": (
        [{"chatId": "c", "role": role, "content": "" if n else text, "createdAt": f"2026-01-02T10:0{n}:00Z",
          "contentChunks": [{"type": "text", "text": text}]} for n, (role, text) in reversed(list(enumerate(SAID)))],
        "Le Chat export",
    ),
    "LibreChat": (
        {"conversationId": "l", "title": "t", "messages": [
            {"isCreatedByUser": role == "user", "sender": "GPT-4", "text": text, "error": False} for role, text in SAID
        ]},
        "LibreChat export",
    ),
    "WildChat": ([{"conversation_hash": "w", "conversation": turns()}], "objects with a list of messages"),
    "BetterChatGPT": ({"version": 1, "chats": [{"title": "t", "messages": turns()}]}, "conversations in one object"),
    "LongMemEval item": (
        {"question_id": "q", "question": "?", "haystack_sessions": [turns()], "haystack_dates": [""]}, "LongMemEval",
    ),
}  # fmt: skip
