"""Run as a script in a process of its own: holds a SavedModel against the contract of the signatures.

    python -m tastemaker_jobs.registry.contract_check FOLDER

Prints what is wrong, a line each; nothing where all is well. Imports TensorFlow and nothing of ours, so that a model
which needs our code to load is found out.
"""

import sys
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

__all__ = ["problems"]

_STRING, _INT32, _FLOAT = tf.string, tf.int32, tf.float32
# signature → inputs and outputs: name → dtype and rank; None where the contract leaves the rank open.
_CONTRACT: dict[str, tuple[dict[str, tuple[Any, int | None]], dict[str, tuple[Any, int | None]]]] = {
    "recommend": (
        {"history": (_STRING, 2), "exclude": (_STRING, 2), "k": (_INT32, None)},
        {"item_id": (_STRING, 2), "score": (_FLOAT, 2)},
    ),
    "score": ({"history": (_STRING, 2), "candidate": (_STRING, 2)}, {"score": (_FLOAT, 2)}),
    "similar": (
        {"item_id": (_STRING, 1), "exclude": (_STRING, 2), "k": (_INT32, None)},
        {"item_id": (_STRING, 2), "score": (_FLOAT, 2)},
    ),
    "explain": ({"history": (_STRING, 2), "item_id": (_STRING, 1)}, {"item_id": (_STRING, 1), "weight": (_FLOAT, 1)}),
    "encode": ({"history": (_STRING, 2)}, {"user_vector": (_FLOAT, 2)}),
    "classify": ({"image": (_STRING, 1)}, {"label": (_STRING, 2), "probability": (_FLOAT, 2)}),
}
_MAIN = ("recommend", "classify")  # a recommender has the first, an image classifier the second
_FOREIGN_OPS = frozenset({"EagerPyFunc", "PyFunc", "PyFuncStateless", "XlaHostCompute"})


def problems(folder: str) -> Iterator[str]:
    """What is wrong with a SavedModel.

    Args:
        folder: Of the version.

    Yields:
        A line for each breach of the contract.
    """
    try:
        yield from _ops(folder)
        loaded = tf.saved_model.load(folder)
    except Exception as error:
        yield f"it does not load: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        return
    signatures = loaded.signatures
    main = next((name for name in _MAIN if name in signatures), None)
    if main is None:
        yield f"it has no signature {' or '.join(_MAIN)}; it has {', '.join(sorted(signatures)) or 'none'}"
        return
    shapes = [line for name in _CONTRACT if name in signatures for line in _shapes(name, signatures[name])]
    if "serving_default" not in signatures:
        shapes.append(f"it has no signature serving_default, which is to be the same as {main}")
    yield from shapes
    if not shapes:
        yield from _answers(signatures[main]) if main == "recommend" else _classes(signatures[main])


def _ops(folder: str) -> Iterator[str]:
    """Ops that an unmodified tensorflow/serving image does not have."""
    from tensorflow.python.framework import op_def_registry
    from tensorflow.python.saved_model import loader_impl

    graph = loader_impl.parse_saved_model(folder).meta_graphs[0].graph_def
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    functions = {function.signature.name for function in graph.library.function}
    used = {node.op for node in nodes} - functions
    foreign = sorted(op for op in used if op in _FOREIGN_OPS or op_def_registry.get(op) is None)
    if foreign:
        yield f"it uses ops that stock TensorFlow Serving does not have: {', '.join(foreign)}"


def _shapes(name: str, signature: Any) -> Iterator[str]:
    inputs, outputs = _CONTRACT[name]
    found_in = dict(signature.structured_input_signature[1])
    for kind, wanted, found in (("input", inputs, found_in), ("output", outputs, signature.structured_outputs)):
        for key in sorted(wanted.keys() ^ found.keys()):
            yield f"{name}: {kind} {key} is {'missing' if key in wanted else 'not in the contract'}"
        for key in sorted(wanted.keys() & found.keys()):
            dtype, rank = wanted[key]
            if found[key].dtype != dtype:
                yield f"{name}: {kind} {key} is {found[key].dtype.name}, and should be {dtype.name}"
            elif rank is not None and found[key].shape.rank not in (rank, None):
                yield f"{name}: {kind} {key} has {found[key].shape.rank} axes, and should have {rank}"


def _answers(recommend: Any) -> Iterator[str]:
    """Ask a new user's list, and once more with some of it as history and others excluded."""
    nothing = tf.constant([[""]])
    first = _row(recommend(history=nothing, exclude=nothing, k=tf.constant(10)))
    known = [item for item, _ in first if item]
    if not known:
        yield "recommend: a user without history gets no list"
        return
    # Every other item as history, the second half excluded: who drops the one in place of the other is found out.
    history, exclude = known[::2], known[len(known) // 2 :]
    again = _row(recommend(history=tf.constant([history]), exclude=tf.constant([exclude]), k=tf.constant(10)))
    for found in (first, again):
        items, scores = [item for item, _ in found if item], [score for _, score in found]
        if len(set(items)) < len(items):
            yield "recommend: an item stands twice in one list"
        if scores != sorted(scores, reverse=True) or any(score != score for score in scores):
            yield f"recommend: scores do not fall along the list: {scores}"
        if any(not item and score > float("-inf") for item, score in found):
            yield f'recommend: where there is no item, "", the score is not -inf: {scores}'
    if returned := sorted(set(exclude) & {item for item, _ in again}):
        yield f"recommend: excluded items come back: {', '.join(item.decode() for item in returned)}"


def _classes(classify: Any) -> Iterator[str]:
    """Ask what no image shows: every class once, by how often it was seen."""
    answer = classify(image=tf.constant([b"", b"no image"]))
    for row, shares in zip(answer["label"].numpy().tolist(), answer["probability"].numpy().tolist(), strict=True):
        if len(row) < 2 or len(set(row)) < len(row):
            yield f"classify: labels are not two or more different ones: {row}"
        if shares != sorted(shares, reverse=True) or not abs(sum(shares) - 1) < 1e-3:
            yield f"classify: probabilities do not fall along the row and sum to 1: {shares}"


def _row(answer: dict[str, Any]) -> list[tuple[bytes, float]]:
    return list(zip(answer["item_id"].numpy()[0], answer["score"].numpy()[0].tolist(), strict=True))


if __name__ == "__main__":
    for line in problems(sys.argv[1]):
        sys.stdout.write(f"{line}\n")
