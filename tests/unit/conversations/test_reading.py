"""Every format that people have is read, or refused in one line that names it."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from rft.conversations.conversation import Conversation
from rft.conversations.formats import FORMATS
from rft.conversations.reading import ConversationFile, in_time_order, read_conversations
from rft.conversations.refused import REFUSED
from rft.records import Message
from tests.unit.conversations.examples import CHATGPT, READ, SAID, WITH_IMAGE, node, turns


def write(folder: Path, content: Any, name: str = "chat.json") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def read(folder: Path, content: Any) -> ConversationFile:
    return read_conversations(write(folder, content))


def said(file: ConversationFile) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in file.messages()[0]]


def left_out(file: ConversationFile) -> str:
    return file.summary().partition("left out: ")[2]


@pytest.mark.parametrize("name", READ)
def test_a_format_that_people_have_is_read_and_named(tmp_path: Path, name: str):
    content, known = READ[name]
    file = read(tmp_path, content)
    assert said(file) == (WITH_IMAGE if name.startswith("ChatGPT") else SAID)
    assert file.format == known and f"chat.json: {known}" in file.summary()


def test_every_format_is_tried():
    refused = {name for name, _, _ in REFUSED}
    tested = {known for _, known in READ.values()} | refused | {"LoCoMo", "SillyTavern chat", "Claude Code session"}
    tested |= {variant.get("format") for variant in VARIANTS} - {None}
    assert {known.name for known in FORMATS} <= tested


# ------------------------------------------------------------------------------------- what is left out is counted


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("ChatGPT", "hidden messages (1), messages on other branches (1), thoughts (1), tool turns (2)"),
        ("Anthropic API", "thoughts (1), tool calls and results (1), tool turns (1)"),
        ("Claude", "thoughts (4)"),
        ("DeepSeek", "thoughts (1)"),
        ("Open WebUI tree", "messages on other branches (1)"),
        ("Gemini activity", "entries of activity without a prompt (1)"),
        ("AI Studio", "thoughts (1)"),
        ("LM Studio", "messages on other branches (2)"),
        ("Character.AI", "messages on other branches (4)"),
        ("plain list", ""),
    ],
)
def test_what_is_left_out_is_counted_and_said_in_one_line(tmp_path: Path, name: str, counts: str):
    file = read(tmp_path, READ[name][0])
    assert left_out(file) == counts
    assert "\n" not in file.summary()


def test_developer_tool_and_function_roles_and_an_assistant_without_content(tmp_path: Path):
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}
    messages = [
        {"role": "developer", "content": "Be brief."}, {"role": "system", "content": "x"}, *turns()[:2],
        call, {"role": "tool", "content": "rain"}, {"role": "function", "name": "f", "content": "x"},
        {"role": "assistant"}, {"role": "assistant", "content": "", "function_call": {"name": "f"}},
        {"role": "narrator", "content": "It rains."}, *turns()[2:],
    ]  # fmt: skip
    file = read(tmp_path, messages)
    assert said(file) == SAID
    assert left_out(file) == (
        "messages of the role 'narrator' (1), messages without text (1), system messages (2), tool turns (4)"
    )


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("a\u2028b\u000b\f🎷\u200b\u202e", "a\u2028b\u000b\f🎷\u200b\u202e"),
        (5, "5"),
        (2.5, "2.5"),
        ([{"type": "text", "text": "Look."}, {"type": "image_url", "image_url": {"url": "data:x"}}], "Look.\n[image]"),
        ([{"type": "input_image", "file_name": "sax.png"}, "Look."], "[image: sax.png]\nLook."),
        ([["a", ["b"]], "c"], "a\nb\nc"),
        ({"content_type": "text", "parts": ["a", {"text": "b"}]}, "a\nb"),
        ({"parts": ["a", "", None, {"content_type": "audio_transcription", "text": "b"}]}, "a\nb"),
        ([{"type": "input_audio", "input_audio": {"data": "x"}}, {"type": "video"}], "[audio]\n[video]"),
        ([{"type": "document", "title": "My CV"}, {"type": "file", "filename": "a\nb"}], "[file: My CV]\n[file: a b]"),
        ([{"inlineData": {"mimeType": "image/png", "data": "x"}}, {"text": "Look."}], "[image]\nLook."),
        ([{"type": "refusal", "refusal": "No."}], "No."),
        ([{"type": "text", "text": {"value": "a"}}], "a"),
    ],
)
def test_content_in_any_form_becomes_text(tmp_path: Path, content: Any, text: str):
    assert said(read(tmp_path, [{"role": "user", "content": content}])) == [("user", text)]


@pytest.mark.parametrize("content", [True, {"x": 1}, [[[[[[[[[[[["a"]]]]]]]]]]]], [{"type": "text", "text": False}]])
def test_content_that_is_no_text_is_refused_by_its_place(tmp_path: Path, content: Any):
    refused(tmp_path, [{"role": "user", "content": "Hi"}, {"role": "user", "content": content}], "message 1 has")


def test_dates_of_sessions_are_shown(tmp_path: Path):
    item = {"question_id": "q", "haystack_sessions": [turns()[:2], turns()[2:]],
            "haystack_dates": ["2023/05/20 (Sat) 02:21", "2023/05/21 (Sun) 02:21"]}  # fmt: skip
    assert [text for _, text in said(read(tmp_path, item))] == [
        "[2023/05/20 (Sat) 02:21] I hum jazz.", "Lovely.", "[2023/05/21 (Sun) 02:21] Any idea?", "The bar.",
    ]  # fmt: skip


def locomo(number: int) -> dict[str, Any]:
    talk = {"speaker_a": "Mia", "speaker_b": "Tom", "session_1_date_time": "1:56 pm on 8 May, 2023", "session_1": [
        {"speaker": "Mia", "dia_id": "D1:1", "text": f"I hum jazz {number}."},
        {"speaker": "Tom", "dia_id": "D1:2", "text": "Me too!"}]}  # fmt: skip
    return {"sample_id": f"conv-{number}", "conversation": talk, "qa": [{"question": "x", "category": 5}]}


def test_locomo_is_read_with_names_and_of_several_people_one_is_chosen(tmp_path: Path):
    file = read(tmp_path, [locomo(1)])
    assert said(file) == [("user", "[1:56 pm on 8 May, 2023] Mia: I hum jazz 1."), ("assistant", "Tom: Me too!")]
    file = read(tmp_path, [locomo(1), locomo(2)])
    with pytest.raises(ValueError, match="different people; choose one with --conversation"):
        file.messages()
    assert "jazz 2" in file.messages("conv-2")[0][0].content
    assert "jazz 2" in file.messages("2")[0][0].content


def test_a_session_of_a_coding_assistant(tmp_path: Path):
    lines: list[dict[str, Any]] = [
        {"type": "summary", "summary": "x"},
        *({"type": role, "sessionId": "s", "message": {"role": role, "content": text}} for role, text in SAID),
        {"type": "user", "sessionId": "s", "isMeta": True, "message": {"role": "user", "content": "meta"}},
        {"type": "user", "sessionId": "s", "message": {"role": "user", "content": [{"type": "tool_result"}]}},
    ]  # fmt: skip
    file = read(tmp_path, "\n".join(map(json.dumps, lines)).encode())
    assert said(file) == SAID and file.format == "Claude Code session as JSON lines"
    assert left_out(file) == "events that are no message (1), hidden messages (1), tool turns (1)"


def test_sillytavern_lines(tmp_path: Path):
    lines = [{"user_name": "Mia", "character_name": "Sax", "chat_metadata": {}},
             *({"name": "x", "is_user": role == "user", "mes": text} for role, text in SAID)]  # fmt: skip
    file = read(tmp_path, "\n".join(map(json.dumps, lines)).encode())
    assert said(file) == SAID and file.format == "SillyTavern chat as JSON lines"


def test_files_attached_in_claude_are_named(tmp_path: Path):
    attached = {"attachments": [{"file_name": "notes.txt"}], "files": [{"file_name": "sax.png"}]}
    message = {"sender": "human", "text": "Look.", **attached}
    file = read(tmp_path, [{"uuid": "u", "chat_messages": [message]}])
    assert said(file) == [("user", "Look.\n[file: notes.txt]\n[file: sax.png]")]


def test_claude_s_other_branches_are_left_out(tmp_path: Path):
    messages = [
        {"uuid": "1", "parent_message_uuid": "0", "sender": "human", "text": "I hum jazz."},
        {"uuid": "2", "parent_message_uuid": "1", "sender": "assistant", "text": "Old."},
        {"uuid": "3", "parent_message_uuid": "1", "sender": "assistant", "text": "Lovely."},
    ]
    file = read(tmp_path, [{"uuid": "u", "current_leaf_message_uuid": "3", "chat_messages": messages}])
    assert said(file) == SAID[:2] and left_out(file) == "messages on other branches (1)"


@pytest.mark.parametrize("current", [None, "absent", 7])
def test_a_tree_without_a_current_node_is_read_to_its_newest_end(tmp_path: Path, current: Any):
    mapping = {**node("a", None, "user", ["I hum jazz."]), **node("x", "a", "assistant", ["Old."]),
               **node("b", "a", "assistant", ["Lovely."])}  # fmt: skip
    assert said(read(tmp_path, {"mapping": mapping, "current_node": current})) == SAID[:2]


def test_a_tree_that_is_a_ring_ends(tmp_path: Path):
    mapping = {**node("a", "b", "user", ["I hum jazz."]), **node("b", "a", "assistant", ["Lovely."])}
    assert len(said(read(tmp_path, {"mapping": mapping, "current_node": "b"}))) == 2


# ------------------------------------------------------------------------------------------------ files and encodings


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_other_encodings_of_unicode_are_read(tmp_path: Path, encoding: str):
    assert said(read(tmp_path, json.dumps(turns(), ensure_ascii=False).encode(encoding))) == SAID


@pytest.mark.parametrize("separator", ["\n", "\r\n", "\n\n", "\n  "])
def test_json_lines_are_read(tmp_path: Path, separator: str):
    lines = separator.join(map(json.dumps, turns())) + separator
    assert read(tmp_path, lines.encode()).format == "messages as JSON lines"
    assert said(read(tmp_path, lines.encode())) == SAID
    examples = separator.join(json.dumps({"messages": part}) for part in (turns()[:2], turns()[2:]))
    file = read(tmp_path, examples.encode())
    assert file.format == "OpenAI fine-tuning examples as JSON lines"
    assert said(file) == SAID and len(file.conversations) == 2


def test_half_a_surrogate_is_taken_out_and_counted(tmp_path: Path):
    file = read(tmp_path, b'[{"role":"user","content":"jazz \\ud83c ! \\ud83c\\udf77"}]')
    assert said(file) == [("user", "jazz  ! \U0001f377")]
    assert left_out(file) == "halves of surrogate pairs (1)"


def test_a_key_that_stands_twice_is_read_the_last_time_and_said(tmp_path: Path):
    file = read(tmp_path, b'{"chat_history": [], "chat_history": [{"role":"user","content":"I hum jazz."}]}')
    assert said(file) == SAID[:1] and "repeated keys" in left_out(file)


def test_a_tab_within_a_text_is_one(tmp_path: Path):
    assert said(read(tmp_path, b'[{"role":"user","content":"tab\there\nbreak"}]')) == [("user", "tab\there\nbreak")]


def zipped(**members: Any) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/"), content if isinstance(content, bytes) else json.dumps(content))
    return buffer.getvalue()


def test_a_zip_file_of_an_export_is_read(tmp_path: Path):
    export = {"conversations.json": [CHATGPT], "user.json": {}, "chat.html": b"<html>"}
    file = read(tmp_path, zipped(**export))
    assert said(file) == WITH_IMAGE and file.format == "ChatGPT export (conversations.json in it)"
    export = {"x__conversations-000.json": [CHATGPT], "x__conversations-001.json": [CHATGPT], "user.json": {}}
    assert len(read(tmp_path, zipped(**export)).conversations) == 2
    assert said(read(tmp_path, zipped(**{"Takeout__MyActivity.json": READ["Gemini activity"][0]}))) == SAID
    chats = {f"chat-{'0' * 35}{n}.json": READ["Le Chat"][0] for n in range(2)}
    assert len(read(tmp_path, zipped(**chats)).conversations) == 2


# --------------------------------------------------------------------------------------------------- what is refused


def refused(folder: Path, content: Any, *words: str) -> None:
    path = write(folder, content)
    with pytest.raises(ValueError) as caught:
        read_conversations(path).messages()
    line = str(caught.value)
    assert "\n" not in line and len(line) < 600 and str(path) in line
    for word in words:
        assert word in line, line


PEOPLE = [{"from": "Alice", "from_id": "user1", "date": "2026-01-02T10:00:00", "text": "hi", "type": "message"}]

REFUSALS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "Slack": ({"messages": [{"type": "message", "user": "U1", "text": "hi", "ts": "1.1"}]}, ("Slack",)),
    "Slack day file": ([{"type": "message", "user": "U1", "text": "hi", "ts": "1.1"}], ("Slack",)),
    "Telegram": ({"name": "Alice", "type": "personal_chat", "id": 1, "messages": PEOPLE}, ("Telegram",)),
    "Telegram, all chats": ({"chats": {"about": "x", "list": []}}, ("Telegram",)),
    "Discord": ({"guild": {}, "channel": {}, "messages": [{"author": {"name": "a"}, "content": "hi"}]}, ("Discord",)),
    "Messenger": ({"messages": [{"sender_name": "A", "timestamp_ms": 1, "content": "hi"}]}, ("Messenger",)),
    "WhatsApp": (b"31.12.23, 10:00 - Alice: hi\n31.12.23, 10:01 - Bob: ho", ("WhatsApp",)),
    "WhatsApp on a phone with a fruit": ("[12/31/23, 10:00:00\u202fPM] Alice: hi\n".encode(), ("WhatsApp",)),
    "Markdown": (b"**You:** I hum jazz", ("not JSON", "Markdown")),
    "plain text": (b"User: I hum jazz.\nAssistant: Lovely.\n", ("not JSON", "plain text")),
    "other text": (b"I hum jazz.", ("not JSON", "plain text")),
    "HTML": (b"<!DOCTYPE html><html></html>", ("HTML", "conversations.json")),
    "YAML": (b"- role: user\n  content: hi\n", ("YAML",)),
    "CSV": (b"role,content\nuser,hi\n", ("CSV",)),
    "LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n", ("Git LFS pointer",)),
    "PDF": (b"%PDF-1.7\n", ("PDF",)),
    "gzip": (b"\x1f\x8b\x08\x00rest", ("gzip",)),
    "pickle": (b"\x80\x04\x95rest", ("pickle",)),
    "SQLite": (b"SQLite format 3\x00", ("SQLite",)),
    "binary": (b"ab\x00\x01\x02\x00cd\x00", ("not JSON",)),
    "Latin-1": ('[{"role": "user", "content": "café"}]'.encode("latin-1"), ("UTF-8", "0xe9", "Latin-1")),
    "UTF-16 cut in a character": (json.dumps(turns()).encode("utf-16")[:-1], ("UTF-16",)),
    "empty file": (b"", ("is empty",)),
    "white space": (b" \n\t", ("is empty",)),
    "byte order mark alone": (b"\xef\xbb\xbf", ("is empty",)),
    "empty list": ([], ("empty list",)),
    "empty object": ({}, ("empty object",)),
    "all empty": ([{"role": "user", "content": ""}, {"role": "assistant", "content": ""}], ("without text (2)",)),
    "system only": ([{"role": "system", "content": "x"}], ("no message of a user", "system messages (1)")),
    "NaN": (b'[{"role":"user","content":"NaN"},\n{"role":"user","content":NaN}]', ("NaN at line 2 column 26",)),
    "minus infinity": (b'{"messages": -Infinity}', ("-Infinity at line 1 column 14",)),
    "trailing comma": (b'[{"role": "user", "content": "x"},\n]', ("line ", "column ")),
    "single quotes": (b"[{'role': 'user'}]", ("line 1 column 3",)),
    "cut off": (json.dumps(turns()).encode()[:-20], ("line 1 column",)),
    "bad third line": (b'{"role": "user", "content": "a"}\n{"role": "user", "content": "b"}\n{"role":\n', ("line 4",)),
    "number of 9,999 digits": (b"[" + b"9" * 9999 + b"]", ("not JSON",)),
    "5,000 nested brackets": (b"[" * 5000 + b"]" * 5000, ("nested",)),
    "200,000 nested brackets": (b"[" * 200_000, ("nested",)),
    "nested objects": (b'{"a":' * 5000 + b"1" + b"}" * 5000, ("nested",)),
    "messages that are no objects": ([{"role": "user", "content": "x"}, 7], ("message 1", "no object")),
    "a message without a role": ([{"role": "user", "content": "x"}, {"content": "y"}], ("message 1", "who speaks")),
    "nobody known": ([{"role": "x", "content": "y"}], ("role 'x' (1)",)),
    "Alpaca": ([{"instruction": "a", "input": "", "output": "b"}], ("Alpaca",)),
    "preference pairs": ([{"prompt": "a", "chosen": "b", "rejected": "c"}], ("preference",)),
    "prompts and completions": ([{"prompt": "a", "completion": "b"}], ("prompts and completions", "messages")),
    "other activity of Google": (
        [{"header": "Search", "title": "Searched for x", "time": "2026-01-02T10:00:00Z", "products": ["Search"]}],
        ("not of Gemini",),
    ),
    "an API's error": ({"error": {"message": "no key"}}, ("error message",)),
    "another object": ({"a\nb": 1}, ("no conversation in a format",)),
    "a text": (b'"hello"', ("a single text",)),
    "numbers": ([1, 2], ("a list of numbers",)),
    "zip without chats": (zipped(**{"a.txt": b"x"}), ("zip file without a conversations.json", "a.txt")),
    "damaged zip": (zipped(**{"conversations.json": [CHATGPT]})[:-30], ("zip",)),
    "zip of Markdown": (zipped(**{"conversations.json": b"# hi"}), ("Markdown",)),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_what_cannot_be_read_is_refused_in_one_line_that_names_it(tmp_path: Path, name: str):
    content, words = REFUSALS[name]
    refused(tmp_path, content, *words)


def test_a_folder_and_a_file_that_is_not_there(tmp_path: Path):
    with pytest.raises(ValueError, match=r"is a folder; name the file in it$"):
        read_conversations(tmp_path)
    write(tmp_path, [], "conversations.json")
    with pytest.raises(ValueError, match="such as conversations.json"):
        read_conversations(tmp_path)
    with pytest.raises(ValueError, match="No such file"):
        read_conversations(tmp_path / "absent.json")


def test_one_bad_conversation_of_many_is_named(tmp_path: Path):
    refused(tmp_path, [{"messages": turns()}, {"messages": [*turns(), {"content": "x"}]}], "conversation 2: message 4")


def test_entries_that_are_no_conversation_are_counted(tmp_path: Path):
    file = read(tmp_path, [CHATGPT, {"title": "no mapping"}, None, {**CHATGPT, "mapping": {}}])
    assert len(file.conversations) == 1
    assert "conversations without a message (1)" in left_out(file)
    assert "entries that are no conversation (2)" in left_out(file)


# ----------------------------------------------------------------------------------------------------- order, choice


def at(title: str, time: float | None) -> Conversation:
    return Conversation(messages=(Message(role="user", content=title),), title=title, time=time)


def test_conversations_are_in_time_order_and_those_without_a_time_behind_the_one_before():
    order = in_time_order([at("c", 3.0), at("c2", None), at("a", 1.0), at("a2", None), at("b", 2.0)])
    assert [one.title for one in order] == ["a", "a2", "b", "c", "c2"]
    assert [one.title for one in in_time_order([at("x", None), at("y", None)])] == ["x", "y"]


@pytest.mark.parametrize(
    "times",
    [
        (100, 200),
        (1700000000.0, 1700000001.5),
        (1700000000000, 1700000001000),
        ("1700000000", "1700000001"),
        ("2026-01-02T10:00:00Z", "2026-01-02T12:00:00+01:00"),
        ("2026-01-02", "2026-01-03T00:00:00.123456"),
        ("2023/05/20 (Sat) 02:21", "2023/05/21 (Sun) 01:00"),
        ({"$date": {"$numberLong": "1700000000000"}}, {"$date": "2026-01-02T10:00:00Z"}),
    ],
)
def test_times_of_every_kind_are_compared(tmp_path: Path, times: tuple[Any, Any]):
    early, late = times
    chats = [
        {"title": title, "create_time": time, "messages": turns()[:1]} for title, time in (("b", late), ("a", early))
    ]
    assert [one.title for one in read(tmp_path, chats).conversations] == ["a", "b"]


@pytest.mark.parametrize("time", [True, None, [], {}, "soon", "", 1e400, -5, 10**400, "9" * 400, "2026-99-99"])
def test_times_that_are_none_are_none(tmp_path: Path, time: Any):
    content = json.dumps([{"create_time": time, "messages": turns()}]).replace("Infinity", "1e400").encode()
    if isinstance(time, int) and time > 1e300:
        content = content[:4000]
    assert read(tmp_path, content).conversations[0].time is None


def test_a_title_that_several_have_asks_for_the_number(tmp_path: Path):
    chats = [{"id": f"i{n}", "title": "Same\x1b[31m", "messages": turns()} for n in range(3)]
    file = read(tmp_path, chats)
    with pytest.raises(ValueError, match="3 conversations .*choose by number: 1, 2, 3"):
        file.messages("same\x1b[31m")
    assert file.place_of("i1") == 1 and file.place_of(" 3 ") == 2
    assert all("\x1b" not in line for line in file.listing())


# ---------------------------------------------------------------------------------------------------------- any bytes

NAMES = (
    "role content from value messages mapping message author parts chat_messages sender text conversations "
    "chat history contents haystack_sessions haystack_dates conversation speaker_a speaker_b session_1 "
    "session_1_date_time turns candidates requests response responses versions steps chunkedPrompt chunks "
    "header title time products safeHtmlItem html type data kwargs lc id uuid sessionId chatId mes is_user "
    "current_node parent parentId currentId current_leaf_message_uuid fragments user ts chosen rejected "
    "create_time created_at object chat_history isMeta recipient metadata items $date isCreatedByUser messageId "
    "parentMessageId messagesTree children payload kind part_kind channel state values body internal query answer "
    "prompt output extracted_content attachments fromMe MessageList block_type choices candidates files "
)
KEYS = st.sampled_from(NAMES.split())
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False)
    | st.sampled_from(["user", "assistant", "human", "Prompted x", "request", "response_item", "analysis", "x_call",
                      "2026-01-02T10:00:00Z", "list", "Gemini", "a"])
    | st.text(max_size=4)
)  # fmt: skip
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=25
)


def reads_or_refuses(path: Path) -> None:
    try:
        file = read_conversations(path)
    except ValueError as error:
        assert "\n" not in str(error) and len(str(error)) < 2000
        return
    assert all(one.messages for one in file.conversations)
    file.listing()
    for message in file.conversations[0].messages:
        message.content.encode("utf-8")
        assert message.role in ("user", "assistant") and message.content.strip()


@settings(max_examples=400, deadline=None)
@given(JSON)
def test_no_json_ends_in_a_traceback(tmp_path_factory: pytest.TempPathFactory, payload: Any):
    reads_or_refuses(write(tmp_path_factory.getbasetemp(), payload, "any.json"))


@st.composite
def damaged(draw: Callable[..., Any]) -> Any:
    """A file of a real format in which something is replaced by something else."""
    content = json.loads(json.dumps(draw(st.sampled_from([content for content, _ in READ.values()]))))
    for _ in range(draw(st.integers(1, 3))):
        place = content
        for _ in range(draw(st.integers(1, 8))):
            keys = (
                list(place) if isinstance(place, dict) else list(range(len(place))) if isinstance(place, list) else []
            )
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if draw(st.booleans()) or not (isinstance(place[key], dict | list) and place[key]):
                place[key] = draw(JSON)
                break
            place = place[key]
    return content


@settings(max_examples=600, deadline=None)
@given(damaged())
def test_no_damaged_export_ends_in_a_traceback(tmp_path_factory: pytest.TempPathFactory, content: Any):
    reads_or_refuses(write(tmp_path_factory.getbasetemp(), content, "damaged.json"))


PIECES = st.sampled_from(
    [b"[", b"]", b"{", b"}", b'"role"', b":", b",", b'"user"', b'"content"', b"\n", b"NaN", b"\\ud83c", b'"',
     b"\xff\xfe", b"\xef\xbb\xbf", b"PK\x03\x04", b"\x00", b"1e999", b"- ", b"# "]
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.lists(PIECES | st.binary(max_size=4), max_size=14).map(b"".join))
def test_no_bytes_end_in_a_traceback(tmp_path_factory: pytest.TempPathFactory, content: bytes):
    reads_or_refuses(write(tmp_path_factory.getbasetemp(), content, "bytes.json"))


# ----------------------------------------------------------------------------------------------------------- variants

VARIANTS = yaml.safe_load((Path(__file__).parent / "variants.yaml").read_text(encoding="utf-8"))


def bytes_of(variant: dict[str, Any]) -> bytes:
    if "bytes" in variant:
        return str(variant["bytes"]).encode("latin-1")
    unit, times = variant.get("repeat", ("", 0))
    return str(variant["text"]).replace("REPEAT", unit * times).encode()


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant["name"])
def test_a_variant_of_a_file_that_people_have_is_read_or_refused(tmp_path: Path, variant: dict[str, Any]):
    if "refused" in variant:
        refused(tmp_path, bytes_of(variant), variant["refused"].replace("FILE", str(tmp_path / "chat.json")))
        return
    file = read(tmp_path, bytes_of(variant))
    assert [f"{role}: {content}" for role, content in said(file)] == variant["said"]
    assert (file.format, left_out(file)) == (variant["format"], variant.get("left_out", ""))


def test_a_deep_tree_of_replies_is_read(tmp_path: Path):
    tree: list[dict[str, Any]] = []
    for number in range(60):
        tree = [{"messageId": str(number), "isCreatedByUser": number % 2 == 0, "text": "x", "children": tree}]
    assert len(said(read(tmp_path, {"conversationId": "c", "messagesTree": tree}))) == 60
