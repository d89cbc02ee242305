"""Stage `sequence`: a causal dilated convolution that expects the next reading, with its band.

Pinball loss on the signed-log axis (Koenker and Bassett 1978) at 2.5 %, 50 % and 97.5 %. The Keras model is the
native copy; what is served is the ONNX graph written here from its weights, with the scaler as its first step.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from meterwatch.detection.detector import Detector
from meterwatch.detection.errors import DataError
from meterwatch.detection.params import RECEPTIVE
from meterwatch.detection.rounds import Models
from meterwatch.detection.sequence import PAST_INPUTS, TIME_INPUTS
from training import params, prepared, tracking
from training.native import BUNDLE, NATIVE, save_network
from training.network import repeatable_keras
from training.stages import command
from training.traces import observe_all

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from meterwatch.detection.rounds import Trace

    Floats = NDArray[np.float32]

DILATIONS = (1, 2, 4, 8, 16, 32)
QUANTILES = (0.025, 0.5, 0.975)
SEGMENT = 64  # readings judged at once in training
CURVE = Path("data/reports/plots/training.csv")


def segments(trace: Trace, most: int, seed: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Segments to train on: past (s, 2, SEGMENT + R - 1), time (s, 12, SEGMENT), target and weight (s, SEGMENT).

    Raises:
        DataError: no meter had its warm-up behind it.
    """
    past, time, target, weight = [], [], [], []
    for counts, p, t, y, _ in trace.past:
        for row, count in enumerate(counts.tolist()):
            length = y.shape[1]
            for start in range(0, count, SEGMENT):
                stop = start + SEGMENT
                short = max(stop - length, 0)
                take = slice(start, min(stop, length))
                past.append(np.pad(p[row, :, start : stop + RECEPTIVE - 1], ((0, 0), (0, short))))
                time.append(np.pad(t[row, :, take], ((0, 0), (0, short))))
                target.append(np.pad(y[row, take], (0, short)))
                weight.append((np.arange(start, stop) < count).astype(np.float32))
    if not past:
        raise DataError(
            "nothing to train the sequence model on: each meter needs more than 24 h of readings with power"
        )
    chosen = np.sort(np.random.default_rng(seed).permutation(len(past))[:most])
    pick = [np.stack([part[i] for i in chosen]) for part in (past, time, target, weight)]
    return pick[0], pick[1], pick[2], pick[3]


def scaler(past: Floats, time: Floats) -> dict[str, list[float]]:
    """Mean and deviation of each input (scikit-learn's StandardScaler), as the ONNX graph applies them."""
    from sklearn.preprocessing import StandardScaler

    out: dict[str, list[float]] = {}
    for name, values in (("past", past), ("time", time)):
        fitted = StandardScaler().fit(values.transpose(0, 2, 1).reshape(-1, values.shape[1]).astype(np.float64))
        out[f"{name}_mean"] = fitted.mean_.tolist()
        out[f"{name}_scale"] = fitted.scale_.tolist()
    return out


def fit_network(
    data: tuple[Floats, Floats, Floats, Floats],
    scale: dict[str, list[float]],
    *,
    filters: int,
    epochs: int,
    seed: int,
    on_epoch: Callable[[int, dict[str, float]], None] | None = None,
) -> Any:  # noqa: ANN401 - keras has no types
    """Train; the last tenth of the segments is held out and its loss reported to `on_epoch` after each epoch."""
    keras = repeatable_keras(seed)
    import tensorflow as tf

    past_in = keras.Input((None, PAST_INPUTS), name="past")
    time_in = keras.Input((None, TIME_INPUTS), name="time")
    x = past_in
    for dilation in DILATIONS:
        x = keras.layers.Conv1D(filters, 2, dilation_rate=dilation, activation="relu", name=f"conv_{dilation}")(x)
    x = keras.layers.Concatenate()([x, time_in])
    x = keras.layers.Dense(2 * filters, activation="relu", name="dense_1")(x)
    x = keras.layers.Dense(filters, activation="relu", name="dense_2")(x)
    out = keras.layers.Dense(3, name="out")(x)
    model = keras.Model([past_in, time_in], out)

    def loss(y_true: Any, y: Any) -> Any:  # noqa: ANN401
        middle, low, high = y[..., 0], tf.nn.softplus(y[..., 1]), tf.nn.softplus(y[..., 2])
        total = 0.0
        for q, bound in zip(QUANTILES, (middle - low, middle, middle + high), strict=True):
            gap = y_true - bound
            total += tf.maximum(q * gap, (q - 1) * gap)
        return total

    past, time, target, weight = data
    xs = [_scaled(past, scale, "past").transpose(0, 2, 1), _scaled(time, scale, "time").transpose(0, 2, 1)]
    held = max(len(target) // 10, 1)
    model.compile(optimizer=keras.optimizers.Adam(2e-3), loss=loss)
    steps = keras.callbacks.LambdaCallback(on_epoch_end=lambda e, logs: on_epoch(e, dict(logs)) if on_epoch else None)
    slow_down = keras.callbacks.LearningRateScheduler(lambda e: 2e-3 * 0.5 * (1 + np.cos(np.pi * e / epochs)) + 1e-5)
    model.fit(
        [x[:-held] for x in xs], target[:-held], sample_weight=weight[:-held], epochs=epochs, batch_size=32, verbose=0,
        validation_data=([x[-held:] for x in xs], target[-held:], weight[-held:]), callbacks=[steps, slow_down],
    )  # fmt: skip
    return model


def _scaled(values: Floats, scale: dict[str, list[float]], name: str) -> Floats:
    mean = np.array(scale[f"{name}_mean"], np.float32)[:, None]
    deviation = np.array(scale[f"{name}_scale"], np.float32)[:, None]
    return ((values - mean) / deviation).astype(np.float32)


def to_onnx(model: Any, scale: dict[str, list[float]], path: Path) -> None:  # noqa: ANN401
    """Write the network as ONNX: the scaler, one Conv a layer (a dense layer is a Conv of width one), softplus."""
    nodes, weights = [], []

    def constant(name: str, values: NDArray[np.generic]) -> str:
        weights.append(numpy_helper.from_array(np.ascontiguousarray(values, np.float32), name))
        return name

    def layer(name: str, source: str, *, relu: bool, **attributes: Any) -> str:  # noqa: ANN401
        kernel, bias = model.get_layer(name).get_weights()
        kernel = kernel.T[:, :, None] if kernel.ndim == 2 else kernel.transpose(2, 1, 0)  # noqa: PLR2004 - dense
        inputs = [source, constant(f"{name}_w", kernel), constant(f"{name}_b", bias)]
        nodes.append(helper.make_node("Conv", inputs, [f"{name}_y"], kernel_shape=[kernel.shape[2]], **attributes))
        if relu:
            nodes.append(helper.make_node("Relu", [f"{name}_y"], [f"{name}_r"]))
        return f"{name}_r" if relu else f"{name}_y"

    for name in ("past", "time"):
        mean = constant(f"{name}_mean", np.array(scale[f"{name}_mean"])[:, None])
        deviation = constant(f"{name}_scale", np.array(scale[f"{name}_scale"])[:, None])
        nodes.append(helper.make_node("Sub", [name, mean], [f"{name}_c"]))
        nodes.append(helper.make_node("Div", [f"{name}_c", deviation], [f"{name}_s"]))
    x = "past_s"
    for dilation in DILATIONS:
        x = layer(f"conv_{dilation}", x, relu=True, dilations=[dilation])
    nodes.append(helper.make_node("Concat", [x, "time_s"], ["joined"], axis=1))
    x = layer("dense_2", layer("dense_1", "joined", relu=True), relu=True)
    x = layer("out", x, relu=False)
    sizes = numpy_helper.from_array(np.array([1, 2], np.int64), "sizes")
    nodes.append(helper.make_node("Split", [x, "sizes"], ["middle", "raw"], axis=1))
    nodes.append(helper.make_node("Softplus", ["raw"], ["distances"]))
    nodes.append(helper.make_node("Concat", ["middle", "distances"], ["expected"], axis=1))

    def value(name: str, rows: int) -> Any:  # noqa: ANN401
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", rows, None])

    graph = helper.make_graph(
        nodes, "meterwatch-sequence", [value("past", PAST_INPUTS), value("time", TIME_INPUTS)], [value("expected", 3)],
        [*weights, sizes],
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="meterwatch")
    proto.ir_version = 9
    onnx.checker.check_model(proto)
    path.write_bytes(proto.SerializeToString(deterministic=True))


def main() -> None:
    """Run the stage: train on the training months, epoch by epoch in MLflow."""
    from training.figures import training_curve

    told, data = params.load(), prepared.read()
    chosen = told.sequence
    asked = {"sequence": chosen.model_dump(), "detector": asdict(told.detector)}
    losses: dict[str, list[float]] = {"loss": [], "val_loss": []}
    with tracking.stage("sequence", asked, data.tags) as run:
        run.uses(data, "train")

        def on_epoch(epoch: int, logs: dict[str, float]) -> None:
            for name, values in losses.items():
                values.append(logs[name])
            run.metrics({name: logs[name] for name in losses}, step=epoch + 1)
            fact = f"loss {logs['loss']:.4f}, held out {logs['val_loss']:.4f}"
            print(f"sequence: epoch {epoch + 1} of {chosen.epochs}, {fact}", flush=True)

        trace = observe_all(Detector(told.detector, Models()), [data.part("train")], inputs=True)
        pieces = segments(trace, chosen.segments, chosen.seed)
        scale = scaler(pieces[0], pieces[1])
        BUNDLE.mkdir(parents=True, exist_ok=True)
        (BUNDLE / "scaler.json").write_text(json.dumps(scale, indent=1, sort_keys=True) + "\n")
        model = fit_network(
            pieces, scale, filters=chosen.filters, epochs=chosen.epochs, seed=chosen.seed, on_epoch=on_epoch
        )
        to_onnx(model, scale, BUNDLE / "sequence.onnx")
        save_network(model, NATIVE / "sequence.keras")
        rows = ["epoch,loss,val_loss"]
        rows += [f"{i + 1},{a:.6f},{b:.6f}" for i, (a, b) in enumerate(zip(*losses.values(), strict=True))]
        CURVE.parent.mkdir(parents=True, exist_ok=True)
        CURVE.write_text("\n".join(rows) + "\n")
        shown = {"training segments": losses["loss"], "held-out segments": losses["val_loss"]}
        run.figure(training_curve(shown), "training_curve")
        run.file(NATIVE / "sequence.keras", "native")
        run.metrics({"weights": float(model.count_params())})


if __name__ == "__main__":
    command(main)
