"""Evaluation: held-out conversations and a metric on each."""
