"""TensorFlow, set up once for a training that can be repeated to the bit."""

from __future__ import annotations

import os
from typing import Any


def repeatable_keras(seed: int) -> Any:  # noqa: ANN401 - keras has no types
    """Keras with every source of chance seeded and its start-up chatter off."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # its sums depend on the processor
    import keras
    import tensorflow as tf

    # How a sum is cut among threads shows in its last bits, and so would the number of cores.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    return keras
