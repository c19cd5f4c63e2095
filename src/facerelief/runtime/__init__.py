"""Exported networks on the processor, thread limits, worker pools.

OpenVINO is imported when a network first runs.
"""

from facerelief.runtime.network import Network, load_network
from facerelief.runtime.threads import default_threads, set_threads

__all__ = ["Network", "default_threads", "load_network", "set_threads"]
