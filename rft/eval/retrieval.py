"""Which messages of a context a search finds for a query.

The setting is that of the reference's own retrieval baseline (arXiv 2512.06688): windows of 6 messages, 2 of them
shared with the window before, the best 10 shown in the order of the conversation, each message once, searched by the
query without its options.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

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
        top_k: windows shown.
    """

    def __init__(self, search: Search, *, window: int, overlap: int, top_k: int) -> None:
        if not 0 <= overlap < window or top_k < 1:
            raise ValueError(
                f"compare.retrieval_overlap ({overlap}) must be below compare.retrieval_window ({window}), and "
                f"compare.retrieval_top_k ({top_k}) positive"
            )
        self.search, self.window, self.overlap, self.top_k = search, window, overlap, top_k
        self._last: tuple[str, list[range], Index] | None = None

    def find(self, context_id: str, messages: Sequence[Message], query: str) -> list[Message]:
        """Messages of the best windows, in their order."""
        if self._last is None or self._last[0] != context_id:
            places = message_windows(len(messages), self.window, self.overlap)
            texts = ["\n".join(f"{messages[i].role}: {messages[i].content}" for i in place) for place in places]
            self._last = context_id, places, self.search.index(texts)
        _, places, index = self._last
        # Stable, so that equal windows keep their order.
        best = np.argsort(-index.scores(query), kind="stable")[: self.top_k]
        chosen = sorted({message for window in best for message in places[window]})
        return [messages[i] for i in chosen]


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


def open_retriever(name: str, config: CompareConfig) -> Retriever:
    """The search that a comparison names, with its settings.

    Args:
        name: a key of `SEARCHES`.

    Raises:
        ValueError: settings that cannot work, an embedding model that cannot be read.
    """
    return Retriever(
        SEARCHES[name](config),
        window=config.retrieval_window,
        overlap=config.retrieval_overlap,
        top_k=config.retrieval_top_k,
    )


SEARCHES: dict[str, Callable[[CompareConfig], Search]] = {
    "bm25": lambda config: Bm25(),
    "embeddings": lambda config: Embeddings(config.embedding_model),
}
