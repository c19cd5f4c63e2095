"""Evaluation of the shipped networks on held-out samples and clips."""
