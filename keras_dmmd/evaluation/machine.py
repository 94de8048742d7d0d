"""What a figure depends on beside its settings: device and versions."""

import os
import platform

import keras
import numpy as np

from keras_dmmd import backend
from keras_dmmd.version import __version__


def machine():
    """Device, processor, cores and versions, a dict."""
    name = keras.backend.backend()
    return {
        "backend": name,
        "device": backend.device_name(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "policy": keras.config.dtype_policy().name,
        "versions": {
            "keras_dmmd": __version__,
            "keras": keras.__version__,
            name: backend.version(),
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }


def _processor():
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    return platform.processor()
