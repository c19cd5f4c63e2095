"""Exported networks on the processor. Importing this is cheap; OpenVINO is imported when a network first
runs."""

from facerelief.runtime.network import Network, default_threads, load_network, set_threads

__all__ = ["Network", "default_threads", "load_network", "set_threads"]
