"""The SavedModels of these tests, TF1-style and TF2-style."""

from pathlib import Path
from typing import Any

__all__ = ["CLASSIFY", "PREDICT", "REGRESS", "Models"]

CLASSIFY, REGRESS, PREDICT = (f"tensorflow/serving/{name}" for name in ("classify", "regress", "predict"))


class Models:
    """Writes SavedModels, TF1-style and TF2-style."""

    def __init__(self, tf: Any) -> None:
        self._tf = tf

    def affine(self, folder: Path, *, slope: float = 0.5, intercept: float = 2.0) -> Path:
        """A TF1-style model: y = slope * x + intercept, with predict, classify and regress signatures."""
        v1 = self._tf.compat.v1
        graph = self._tf.Graph()
        with graph.as_default(), v1.Session(graph=graph) as session:
            a = v1.get_variable("a", initializer=slope, use_resource=False)
            b = v1.get_variable("b", initializer=intercept, use_resource=False)
            serialized = v1.placeholder(self._tf.string, [None], name="tf_example")
            parsed = v1.parse_example(serialized, {"x": v1.FixedLenFeature([1], self._tf.float32, default_value=[0.0])})
            x = self._tf.identity(parsed["x"], name="x")  # [B, 1]
            y = self._tf.add(self._tf.multiply(a, x), b, name="y")
            session.run(v1.global_variables_initializer())
            definition = v1.saved_model.signature_def_utils.build_signature_def
            info = v1.saved_model.utils.build_tensor_info
            builder = v1.saved_model.Builder(str(folder))
            builder.add_meta_graph_and_variables(
                session,
                ["serve"],
                signature_def_map={
                    "serving_default": definition({"x": info(x)}, {"y": info(y)}, "tensorflow/serving/predict"),
                    "regress": definition(
                        {"inputs": info(serialized)}, {"outputs": info(y)}, "tensorflow/serving/regress"
                    ),
                    "classify": definition(
                        {"inputs": info(serialized)}, {"scores": info(y)}, "tensorflow/serving/classify"
                    ),
                },
            )
            builder.save()
        return folder

    def ranker(self, folder: Path, *, items: int = 20) -> Path:
        """A TF2-style model with our own contract: ids in, ids out, look-up tables inside.

        An item scores the number of times it is in the history, plus a hundredth less for each place in the catalogue.
        """
        tf = self._tf
        ids = [f"i{number}" for number in range(items)]

        class Ranker(tf.Module):  # type: ignore[name-defined,misc]
            def __init__(self) -> None:
                super().__init__()
                keys = tf.lookup.KeyValueTensorInitializer(tf.constant(ids), tf.range(items, dtype=tf.int64))
                self.index = tf.lookup.StaticHashTable(keys, default_value=-1)
                self.ids = tf.constant(ids)

            @tf.function(
                input_signature=[
                    tf.TensorSpec([None, None], tf.string, name="history"),
                    tf.TensorSpec([None, None], tf.string, name="exclude"),
                    tf.TensorSpec(None, tf.int32, name="k"),
                ]
            )
            def recommend(self, history: Any, exclude: Any, k: Any) -> dict[str, Any]:
                seen = tf.reduce_sum(tf.one_hot(self.index.lookup(history), items), 1)  # [B, I]
                banned = tf.reduce_sum(tf.one_hot(self.index.lookup(exclude), items), 1)  # [B, I]
                score = seen - tf.range(items, dtype=tf.float32) / 100
                score = tf.where(banned > 0, -float("inf"), score)
                best, places = tf.math.top_k(score, tf.reduce_max(k))
                return {"item_id": tf.gather(self.ids, places), "score": best}

        module = Ranker()
        tf.saved_model.save(
            module, str(folder), signatures={"serving_default": module.recommend, "recommend": module.recommend}
        )
        return folder

    def spinner(self, folder: Path) -> Path:
        """A model that counts to n: y [B] = x, after n steps of a loop, some 0.2 million a second."""
        tf = self._tf

        class Spinner(tf.Module):  # type: ignore[name-defined,misc]
            @tf.function(
                input_signature=[tf.TensorSpec([None], tf.float32, name="x"), tf.TensorSpec([], tf.float32, name="n")]
            )
            def spin(self, x: Any, n: Any) -> dict[str, Any]:
                (steps,) = tf.while_loop(lambda i: i < n, lambda i: (i + 1.0,), (tf.constant(0.0),))
                return {"y": x + 0.0 * steps}

        module = Spinner()
        tf.saved_model.save(module, str(folder), signatures={"serving_default": module.spin})
        return folder

    def people(self, folder: Path) -> Path:
        """A TF1-style model over examples with `who` and `x`: two labelled scores, a value, and odd signatures."""
        tf, v1 = self._tf, self._tf.compat.v1
        graph = tf.Graph()
        with graph.as_default(), v1.Session(graph=graph) as session:
            serialized = v1.placeholder(tf.string, [None])
            features = {
                "who": v1.FixedLenFeature([], tf.string, default_value="nobody"),
                "x": v1.FixedLenFeature([], tf.float32, default_value=0.5),
            }
            parsed = v1.parse_example(serialized, features)
            who, x = parsed["who"], tf.identity(parsed["x"])  # [B], [B]
            classes = tf.stack([who, tf.fill(tf.shape(who), "others")], axis=1)  # [B, 2]
            scores = tf.stack([x, 1.0 - x], axis=1)  # [B, 2]

            def signature(outputs: dict[str, Any], method: str, given: dict[str, Any] | None = None) -> Any:
                info = v1.saved_model.utils.build_tensor_info
                return v1.saved_model.signature_def_utils.build_signature_def(
                    {alias: info(tensor) for alias, tensor in (given or {"inputs": serialized}).items()},
                    {alias: info(tensor) for alias, tensor in outputs.items()},
                    method,
                )

            builder = v1.saved_model.Builder(str(folder))
            builder.add_meta_graph_and_variables(
                session,
                ["serve"],
                signature_def_map={
                    "serving_default": signature({"classes": classes, "scores": scores}, CLASSIFY),
                    "labels": signature({"classes": classes}, CLASSIFY),
                    "flat": signature({"scores": x}, CLASSIFY),
                    "swapped": signature({"classes": scores}, CLASSIFY),
                    "uneven": signature({"classes": classes, "scores": scores[:, :1]}, CLASSIFY),
                    "few": signature({"scores": scores[:1]}, CLASSIFY),
                    "nameless": signature({"other": scores}, CLASSIFY),
                    "value": signature({"outputs": x}, REGRESS),
                    "wide": signature({"outputs": scores}, REGRESS),
                    "texts": signature({"outputs": who}, REGRESS),
                    "two_inputs": signature({"outputs": x}, REGRESS, {"inputs": serialized, "x": x}),
                    "renamed_input": signature({"outputs": x}, REGRESS, {"examples": serialized}),
                    "mislabelled": signature({"outputs": x}, PREDICT),
                    "own_method": signature({"y": 2.0 * x}, "own/method", {"x": x}),
                },
            )
            builder.save()
        return folder
