"""vLLM as a server beside the trainer: how one is started, what runs inside it, and how it is talked to."""
