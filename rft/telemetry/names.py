"""Names of metrics that are written in one room and read in another."""

LOGPROB_GAP = "sampling/sampling_logp_difference/mean"
"""Mean |log p(engine) - log p(trainer)| of a step's sampled tokens, in nats; trl's name."""
