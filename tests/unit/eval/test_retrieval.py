"""Windows, and what a search finds in them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Pooling, Transformer
from transformers import BertConfig, BertModel

from rft.data.chat_template import ChatTemplate
from rft.eval.config import CompareConfig
from rft.eval.retrieval import Bm25, Embeddings, Retriever, message_windows, open_retriever
from rft.records import Message, Role
from tests.unit.data.builder import TEMPLATES, make_tokenizer

TEXTS = ["I hum jazz at the lake.", "Nice.", "Tea?", "Yes.", "My pet is a gecko.", "Lovely.", "What is 2 plus 2?", "4"]
ROLES: tuple[Role, Role] = ("user", "assistant")
MESSAGES = [Message(role=ROLES[i % 2], content=text) for i, text in enumerate(TEXTS)]


@given(st.integers(1, 60), st.integers(1, 9), st.integers(0, 8))
def test_windows_cover_every_message_and_overlap(num_messages: int, size: int, overlap: int):
    overlap = min(overlap, size - 1)
    found = message_windows(num_messages, size, overlap)
    assert sorted({i for window in found for i in window}) == list(range(num_messages))
    assert all(len(window) <= size for window in found)
    for before, after in pairwise(found):
        assert after.start == before.start + size - overlap
        assert len(before) == size


def test_the_paper_s_windows():
    assert message_windows(10, 6, 2) == [range(0, 6), range(4, 10)]


def test_words_find_their_window_and_messages_keep_their_order():
    retriever = Retriever(Bm25(), window=2, overlap=0, top_k=1)
    assert [m.content for m in retriever.find("h", MESSAGES, "What would my gecko eat?")] == TEXTS[4:6]
    both = Retriever(Bm25(), window=2, overlap=0, top_k=2)
    assert [m.content for m in both.find("h", MESSAGES, "gecko gecko or jazz")] == [*TEXTS[:2], *TEXTS[4:6]]


def test_overlapping_windows_show_a_message_once():
    retriever = Retriever(Bm25(), window=4, overlap=2, top_k=3)
    assert [m.content for m in retriever.find("h", MESSAGES, "gecko")] == TEXTS


def words(text: str) -> int:
    return len(text.split())


def test_windows_are_shown_as_long_as_their_tokens_fit():
    query = "gecko gecko or jazz or tea"  # the best windows: of the gecko (6 words), of jazz (7), of tea (2)
    of = {budget: Retriever(Bm25(), window=2, overlap=0, top_k=9, budget=budget, count=words) for budget in (5, 8, 15)}
    found = {budget: [m.content for m in retriever.find("h", MESSAGES, query)] for budget, retriever in of.items()}
    assert found == {5: TEXTS[2:4], 8: TEXTS[2:6], 15: TEXTS[:6]}
    one = Retriever(Bm25(), window=2, overlap=0, top_k=1, budget=15, count=words)
    assert [m.content for m in one.find("h", MESSAGES, query)] == TEXTS[4:6]


@settings(deadline=None)  # the first search reads its library
@given(st.integers(1, 30), st.integers(1, 4), st.integers(1, 5))
def test_a_budget_is_never_gone_over_and_a_message_counted_once(budget: int, window: int, top_k: int):
    retriever = Retriever(Bm25(), window=window, overlap=window - 1, top_k=top_k, budget=budget, count=words)
    found = retriever.find("h", MESSAGES, "gecko jazz tea")
    assert sum(words(message.content) for message in found) <= budget
    places = [MESSAGES.index(message) for message in found]
    assert places == sorted(set(places)) and len(found) <= window * top_k


def test_tokens_are_those_of_what_a_message_says():
    chat = ChatTemplate(make_tokenizer(TEMPLATES["chatml"]))
    length = len(chat.encode([TEXTS[4]])[0])
    for budget, expected in ((length, [TEXTS[4]]), (length - 1, [])):
        config = CompareConfig(retrieval_window=1, retrieval_overlap=0, retrieval_max_tokens=budget)
        found = open_retriever("bm25", config, chat).find("h", MESSAGES[4:5], "gecko")
        assert [message.content for message in found] == expected


def test_windows_that_fit_equally_well_are_taken_from_the_beginning():
    same = [Message(role="user", content=f"A gecko, number {n}.") for n in range(6)]
    for budget in (4, 9, 13):
        retriever = Retriever(Bm25(), window=1, overlap=0, top_k=9, budget=budget, count=words)
        assert retriever.find("h", same, "gecko") == same[: budget // 4]


@settings(deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from(["gecko", "jazz", "tea", "café", "a", "I"]), min_size=1, max_size=9), max_size=12
    ),
    st.integers(1, 40),
    st.integers(1, 4),
)
def test_the_budget_holds_in_the_model_s_own_tokens(texts: list[list[str]], budget: int, window: int):
    chat = ChatTemplate(make_tokenizer(TEMPLATES["chatml"]))
    messages = [Message(role=ROLES[i % 2], content=" ".join(text)) for i, text in enumerate(texts)]
    config = CompareConfig(retrieval_window=window, retrieval_overlap=window - 1, retrieval_max_tokens=budget)
    found = open_retriever("bm25", config, chat).find("h", messages, "gecko or tea") if messages else []
    assert sum(len(ids) for ids in chat.encode([message.content for message in found])) <= budget
    places = iter(messages)
    assert all(any(message is other for other in places) for message in found), "in the conversation's order"


def test_control_tokens_in_a_message_count_as_the_text_that_they_are():
    chat = ChatTemplate(make_tokenizer(TEMPLATES["chatml"]))
    text = "gecko <|im_end|>"
    length = len(chat.encode([chat.quote(text)])[0])
    assert length > len(chat.encode([text])[0])
    message = Message(role="user", content=text)
    for budget, expected in ((length, [message]), (length - 1, [])):
        config = CompareConfig(retrieval_window=1, retrieval_overlap=0, retrieval_max_tokens=budget)
        assert open_retriever("bm25", config, chat).find("h", [message], "gecko") == expected


def test_a_query_of_unknown_words_finds_the_first_windows():
    retriever = Retriever(Bm25(), window=2, overlap=0, top_k=1)
    assert [m.content for m in retriever.find("h", MESSAGES, "zzz")] == TEXTS[:2]


def test_another_context_gets_another_index():
    retriever = Retriever(Bm25(), window=2, overlap=0, top_k=1)
    retriever.find("h", MESSAGES, "gecko")
    assert [m.content for m in retriever.find("i", MESSAGES[:2], "gecko")] == TEXTS[:2]


@pytest.mark.parametrize(("window", "overlap", "top_k"), [(2, 2, 1), (2, -1, 1), (2, 0, 0)])
def test_settings_that_cannot_work_are_refused(window: int, overlap: int, top_k: int):
    with pytest.raises(ValueError, match="retrieval_"):
        Retriever(Bm25(), window=window, overlap=overlap, top_k=top_k)


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real sentence-transformers model of random weights."""
    folder = tmp_path_factory.mktemp("embedder")
    tokenizer = make_tokenizer(TEMPLATES["chatml"])
    torch.manual_seed(0)
    bert = BertModel(
        BertConfig(
            vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
        )
    )  # fmt: skip
    bert.save_pretrained(folder / "bert")
    tokenizer.save_pretrained(folder / "bert")
    words = Transformer(str(folder / "bert"))
    SentenceTransformer(modules=[words, Pooling(32)], device="cpu").save(str(folder / "model"))
    return folder / "model"


def test_embeddings_find_the_window_of_the_same_words(embedder: Path):
    retriever = Retriever(Embeddings(str(embedder)), window=1, overlap=0, top_k=1)
    assert [m.content for m in retriever.find("h", MESSAGES, "user: My pet is a gecko.")] == [TEXTS[4]]


def test_a_model_that_cannot_be_read_is_named(tmp_path: Path):
    with pytest.raises(ValueError, match="embedding_model"):
        Embeddings(str(tmp_path / "absent"))


def test_a_comparison_names_its_search(embedder: Path):
    settings = CompareConfig(
        retrieval_window=1, retrieval_overlap=0, retrieval_top_k=1, embedding_model=str(embedder)
    )  # fmt: skip
    for name in ("bm25", "embeddings"):
        found = open_retriever(name, settings).find("h", MESSAGES, "user: My pet is a gecko.")
        assert [m.content for m in found] == [TEXTS[4]], name
