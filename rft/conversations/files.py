"""The bytes of a file as JSON values: text in any Unicode encoding, or an export that is still zipped.

What is no JSON is refused in one line that says what it is.
"""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from rft.conversations.json_values import read_values
from rft.data.readers.cells import CellError, one_line

MAX_UNZIPPED = 4 * 2**30
"""Bytes; a larger file in an archive is not unpacked into memory."""

BINARY_KINDS = (
    (b"%PDF", "a PDF file"),
    (b"\x1f\x8b", "a gzip file; unpack it first"),
    (b"7z\xbc\xaf", "a 7z archive; unpack it first"),
    (b"Rar!", "a rar archive; unpack it first"),
    (b"BZh", "a bzip2 file; unpack it first"),
    (b"\xfd7zXZ", "an xz file; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a zstd file; unpack it first"),
    (b"SQLite format 3", "an SQLite database"),
    (b"PAR1", "a parquet file"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"\x80\x02", "a Python pickle, which is never opened"),
    (b"\x80\x04", "a Python pickle, which is never opened"),
)
"""How files begin that are no text."""

WHATSAPP_LINE = re.compile(
    r"^[\u200e\u200f]?\[?\d{1,4}[./-]\d{1,2}[./-]\d{1,4},? "  # the date, then the time
    r"\d{1,2}[:.]\d{2}(?:[:.]\d{2})?(?:[\s\u202f]?[APap]\.?\s?[Mm]\.?)?(?:\]| -) "
    r"[^:\n]{1,80}: ",
    re.MULTILINE,
)
SPEAKER_LINE = re.compile(
    r"^\W{0,4}(?:you|me|user|human|assistant|ai|chatgpt|claude|gemini|model)\W{0,4}:", re.I | re.M
)
MARKDOWN_LINE = re.compile(r"^(?:#{1,6} |[-*+] |> |```|\*\*\S|---$|\d+\. )", re.MULTILINE)
HTML_BEGIN = re.compile(r"\s*<(?:!doctype html|html|head|body|div|p)\b", re.IGNORECASE)
XML_BEGIN = re.compile(r"\s*<\??[A-Za-z][\w:.-]*[^<>]*>")
MAIL_BEGIN = re.compile(r"(?:From \S+@|(?:Subject|From|To|Date|Received|Message-ID|MIME-Version): )", re.IGNORECASE)
SUBTITLE_LINE = re.compile(r"^(?:\d{2}:)?\d{2}:\d{2}[.,]\d{3} --> ", re.MULTILINE)
SCRIPT_BEGIN = re.compile(r"(?:window\.|var |const |let |module\.exports|export default)")
COMMENT_BEGIN = re.compile(r"//|/\*")
YAML_LINE = re.compile(r"^(?:- )?(?:role|content|messages|from|value)\s*:", re.MULTILINE)
CSV_HEADER = re.compile(r"^[\w \"']+(?:[,;\t][\w \"']+)+$")

EXPORT_FILES = re.compile(r"conversations(?:-\d+)?\.json|prod-grok-backend\.json|chat-[0-9a-f-]{36}\.json", re.I)
"""What the chat files of an export are called: ChatGPT, Claude and DeepSeek; Grok; Le Chat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """What a file holds.

    Example:
        Values(values=[{"messages": []}], odd=Counter(), note="conversations.json in it")
    """

    values: list[Any]
    """One for a JSON file, one for each line of JSON lines, one for each file of an archive."""
    odd: Counter[str]
    note: str = ""
    """Which files of an archive were read."""


def read_file(path: Path) -> Values:
    """The JSON values of a file.

    Raises:
        ValueError: a file that cannot be read or is no JSON; one line, with the path before it.
    """
    try:
        if path.is_dir():
            raise CellError(f"is a folder; name the file in it{folder_hint(path)}")
        data = path.read_bytes()
        return read_zip(data) if data.startswith(b"PK\x03\x04") else read_bytes(data)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except CellError as error:
        raise ValueError(f"{path} {error}") from None


def folder_hint(folder: Path) -> str:
    found = sorted(name for name in (child.name for child in folder.iterdir()) if EXPORT_FILES.fullmatch(name))
    return f", such as {found[0]}" if found else ""


def read_bytes(data: bytes) -> Values:
    """Raises CellError for what is no JSON."""
    text = decode(data)
    if not text.strip():
        raise CellError("is empty")
    if text.startswith("{\\rtf"):
        raise CellError("is not JSON but a document (RTF); export the conversation as JSON")
    if re.fullmatch(r"\s*(?:null|true|false|-?[\d.eE+-]+)\s*", text[:100]):
        raise CellError("holds a single value and no conversation")
    if text.lstrip()[0] not in '[{"' or WHATSAPP_LINE.match(text.lstrip()):
        raise CellError(f"is not JSON but {kind_of_text(text)}")
    values, odd = read_values(text)
    return Values(values=values, odd=odd)


def decode(data: bytes) -> str:
    """Text in UTF-8, or in UTF-16 or UTF-32 as Windows writes it; without its byte order mark.

    Raises:
        CellError: any other bytes.
    """
    for begin, kind in BINARY_KINDS:
        if data.startswith(begin):
            raise CellError(f"is not JSON but {kind}")
    encoding = json.detect_encoding(data[:4]) if data else "utf-8"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise CellError(f"is not JSON in UTF-8: {wrong_bytes(data, error)}") from None
    if "\0" in text:
        raise CellError("is not JSON but a binary file")
    return text.removeprefix("\ufeff")


def wrong_bytes(data: bytes, error: UnicodeDecodeError) -> str:
    shown = f"byte {error.start} is 0x{data[error.start]:02x}"
    if error.encoding.startswith(("utf-16", "utf-32")):
        return f"it begins like {error.encoding.upper()}, but {shown} and what follows is none"
    return f"{shown}, perhaps Latin-1 or Windows-1252; save it as UTF-8"


def kind_of_text(text: str) -> str:
    """What a text is that is no JSON, with the remedy."""
    begin = text[:20_000]
    kinds: tuple[tuple[Callable[[str], object], str], ...] = (
        (lambda text: text.startswith("version https://git-lfs"), "a Git LFS pointer: fetch the file (`git lfs pull`)"),
        (WHATSAPP_LINE.search, "a WhatsApp export, a chat between people without an assistant"),
        (HTML_BEGIN.match, "an HTML page; exports hold a conversations.json beside it"),
        (XML_BEGIN.match, "XML; export the conversation as JSON"),
        (SUBTITLE_LINE.search, "subtitles or a transcript; no assistant is in it"),
        (MAIL_BEGIN.match, "an e-mail, which no assistant is in"),
        (SCRIPT_BEGIN.match, "JavaScript; take away what stands before the JSON in it"),
        (COMMENT_BEGIN.match, "JSON with comments; take them out"),
        (YAML_LINE.search, "YAML; save it as JSON"),
        (lambda text: CSV_HEADER.match(text.splitlines()[0]), "a table (CSV); save it as JSON"),
        (MARKDOWN_LINE.search, "Markdown; export the conversation as JSON"),
        (SPEAKER_LINE.search, "plain text of a conversation; export it as JSON"),
    )
    return next((kind for matches, kind in kinds if matches(begin.lstrip())), "plain text; export it as JSON")


# ------------------------------------------------------------------------------------------------------------ archives


def read_zip(data: bytes) -> Values:
    """The conversations in the archive that a service sends its users.

    Raises:
        CellError: an archive that is damaged, locked, or holds none.
    """
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            members = chat_files(archive)
            read = [read_bytes(unzip(archive, member)) for member in members]
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, zlib.error) as error:
        raise CellError(f"is a zip file that cannot be read ({one_line(error)})") from None
    odd: Counter[str] = Counter()
    for found in read:
        odd += found.odd
    names = members[0].filename if len(members) == 1 else f"{len(members)} files"
    return Values(
        values=merged([value for found in read for value in found.values]), odd=odd, note=f"{names[:200]} in it"
    )


def merged(values: list[Any]) -> list[Any]:
    """One list of conversations where an archive has it in several files; where each file is one chat, a list of its
    messages, they stay apart."""
    lists = all(isinstance(value, list) for value in values)
    if len(values) < 2 or not lists or any(value and "role" in value[0] for value in values if is_objects(value)):
        return values
    return [[item for value in values for item in value]]


def is_objects(value: list[Any]) -> bool:
    return all(isinstance(item, dict) for item in value)


def chat_files(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The files of an archive that hold chats: those of a known name, or the only JSON file there is."""
    files = [info for info in archive.infolist() if not info.is_dir()]
    known = [info for info in files if EXPORT_FILES.fullmatch(Path(info.filename).name)]
    json_files = [info for info in files if info.filename.lower().endswith((".json", ".jsonl"))]
    found = known or (json_files if len(json_files) == 1 else [])
    if not found:
        shown = ", ".join(Path(info.filename).name[:40] for info in (json_files or files)[:4])
        raise CellError(f"is a zip file without a conversations.json (it holds {shown or 'nothing'}); unpack it")
    if sum(info.file_size for info in found) > MAX_UNZIPPED:
        raise CellError(f"is a zip file whose chats are larger than {MAX_UNZIPPED // 2**30} GiB; unpack it")
    return sorted(found, key=lambda info: info.filename)


def unzip(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    with archive.open(member) as file:
        data = file.read(MAX_UNZIPPED + 1)
    if len(data) > MAX_UNZIPPED:
        raise CellError(f"is a zip file with a file larger than {MAX_UNZIPPED // 2**30} GiB; unpack it")
    return data
