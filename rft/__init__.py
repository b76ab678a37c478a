"""rft: reinforcement fine-tuning of language models that understand a user from a long chat history."""

__version__ = "0.1.0"
