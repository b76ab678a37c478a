"""Which messages of a context a search finds for a query.

The setting is that of the reference's own retrieval baseline (arXiv 2512.06688): windows of 6 messages, 2 of them
shared with the window before, the best 10 shown in the order of the conversation, each message once, searched by the
query without its options. `compare.retrieval_max_tokens` bounds what is shown by its tokens as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from rft.data.chat_template import ChatTemplate
from rft.eval.config import CompareConfig
from rft.extras import need
from rft.records import Message

Scores = npt.NDArray[np.float32]


class Index(Protocol):
    """The windows of one context, ready to be searched."""

    def scores(self, query: str) -> Scores:
        """How well each window fits, larger is better."""
        ...


class Search(Protocol):
    """A way to compare texts."""

    def index(self, texts: Sequence[str]) -> Index: ...


class Retriever:
    """Finds messages; the index of the last context is kept, because its questions follow each other.

    Args:
        search: compares.
        window: messages in one window.
        overlap: messages that a window shares with the one before.
        top_k: windows shown, at most.
        budget: tokens of the messages shown, at most; None is no limit.
        count: tokens of a text, where there is a budget.
    """

    def __init__(
        self,
        search: Search,
        *,
        window: int,
        overlap: int,
        top_k: int,
        budget: int | None = None,
        count: Callable[[str], int] = len,
    ) -> None:
        if not 0 <= overlap < window or top_k < 1:
            raise ValueError(
                f"compare.retrieval_overlap ({overlap}) must be below compare.retrieval_window ({window}), and "
                f"compare.retrieval_top_k ({top_k}) positive"
            )
        self.search, self.window, self.overlap, self.top_k = search, window, overlap, top_k
        self.budget, self.count = budget, count
        self._last: tuple[str, list[range], Index] | None = None

    def find(self, context_id: str, messages: Sequence[Message], query: str) -> list[Message]:
        """Messages of the best windows, in their order."""
        if self._last is None or self._last[0] != context_id:
            places = message_windows(len(messages), self.window, self.overlap)
            texts = ["\n".join(f"{messages[i].role}: {messages[i].content}" for i in place) for place in places]
            self._last = context_id, places, self.search.index(texts)
        _, places, index = self._last
        # Stable, so that equal windows keep their order.
        best = [places[window] for window in np.argsort(-index.scores(query), kind="stable")]
        chosen = self.within_budget(best, messages) if self.budget is not None else set().union(*best[: self.top_k])
        return [messages[i] for i in sorted(chosen)]

    def within_budget(self, best: Sequence[range], messages: Sequence[Message]) -> set[int]:
        """Messages of the best windows that fit: one that would go over the budget is left out, and the next tried."""
        assert self.budget is not None
        chosen: set[int] = set()
        left, shown = self.budget, 0
        for window in best:
            added = set(window) - chosen
            tokens = sum(self.count(messages[i].content) for i in added)
            if tokens <= left and shown < self.top_k:
                chosen |= added
                left, shown = left - tokens, shown + 1
        return chosen


def message_windows(num_messages: int, size: int, overlap: int) -> list[range]:
    """Ranges of `size` messages, each beginning `size - overlap` after the one before; the last may be shorter."""
    step = size - overlap
    starts = range(0, max(1, num_messages - overlap), step)
    return [range(start, min(start + size, num_messages)) for start in starts]


class Bm25:
    """Words, by the bm25s library (Lucene's variant of BM25, English stop words left out)."""

    def index(self, texts: Sequence[str]) -> Index:
        import bm25s

        words = bm25s.tokenize(list(texts), stopwords="en", show_progress=False)
        model = bm25s.BM25()
        model.index(words, show_progress=False)
        return Bm25Index(model, len(texts))


class Bm25Index:
    def __init__(self, model: Any, size: int) -> None:
        self.model, self.size = model, size

    def scores(self, query: str) -> Scores:
        import bm25s

        (words,) = bm25s.tokenize([query], stopwords="en", show_progress=False, return_ids=False)
        known = [word for word in words if word in self.model.vocab_dict]
        found: Scores = self.model.get_scores(known) if known else np.zeros(self.size, np.float32)
        return found


class Embeddings:
    """Cosines of sentence embeddings, by the sentence-transformers library.

    Raises:
        ValueError: a model that cannot be read.
    """

    def __init__(self, model_name: str) -> None:
        need("sentence_transformers", f"compare.embedding_model={model_name}")
        from sentence_transformers import SentenceTransformer

        try:
            self.model = SentenceTransformer(model_name)
        except (OSError, ValueError) as error:
            first = str(error).splitlines()[0]
            raise ValueError(f"compare.embedding_model: cannot read {model_name}: {first}") from None

    def index(self, texts: Sequence[str]) -> Index:
        return EmbeddingIndex(self.model, self._encode(texts))

    def _encode(self, texts: Sequence[str]) -> Scores:
        found: Scores = self.model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
        return found


class EmbeddingIndex:
    def __init__(self, model: Any, vectors: Scores) -> None:
        self.model, self.vectors = model, vectors

    def scores(self, query: str) -> Scores:
        (vector,) = self.model.encode([query], normalize_embeddings=True, show_progress_bar=False)
        found: Scores = self.vectors @ vector
        return found


def open_retriever(name: str, config: CompareConfig, chat: ChatTemplate | None = None) -> Retriever:
    """The search that a comparison names, with its settings.

    Args:
        name: a key of `SEARCHES`.
        chat: what counts tokens; there is one where the settings have a budget.

    Raises:
        ValueError: settings that cannot work, an embedding model that cannot be read.
    """
    assert config.retrieval_max_tokens is None or chat is not None, "a tokenizer was loaded for it"
    return Retriever(
        SEARCHES[name](config),
        window=config.retrieval_window,
        overlap=config.retrieval_overlap,
        top_k=config.retrieval_top_k,
        budget=config.retrieval_max_tokens,
        count=counter_of(chat) if chat is not None else len,
    )


def counter_of(chat: ChatTemplate) -> Callable[[str], int]:
    """Counts the tokens of what a message says, each text once."""
    return lru_cache(maxsize=4096)(lambda text: len(chat.encode([chat.quote(text)])[0]))


SEARCHES: dict[str, Callable[[CompareConfig], Search]] = {
    "bm25": lambda config: Bm25(),
    "embeddings": lambda config: Embeddings(config.embedding_model),
}
