"""Run as a script: loads a SavedModel where Tastemaker's code cannot be imported, and prints what `recommend` answers.

Arguments: folder, history and exclude (ids with commas between), k. Prints the list twice, from each way of loading.
"""

import sys
from importlib.abc import MetaPathFinder
from typing import Any


class _NoTastemaker(MetaPathFinder):
    """Makes the import of our packages fail, wherever they are installed."""

    def find_spec(self, name: str, *_: Any) -> None:
        """Refuse ours; leave the others to the finders that follow."""
        if name.split(".")[0].startswith("tastemaker"):
            raise ModuleNotFoundError(name)


def _main(folder: str, history: str, exclude: str, k: str) -> None:
    sys.meta_path.insert(0, _NoTastemaker())
    import tensorflow as tf

    inputs = {"history": [history.split(",")], "exclude": [exclude.split(",")], "k": int(k)}
    recommend = tf.saved_model.load(folder).signatures["recommend"]
    modern = recommend(**{name: tf.constant(value) for name, value in inputs.items()})["item_id"].numpy()
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        meta = tf.compat.v1.saved_model.load(session, ["serve"], folder)
        signature = meta.signature_def["recommend"]
        feed = {signature.inputs[name].name: value for name, value in inputs.items()}
        classic = session.run(signature.outputs["item_id"].name, feed)
    assert not any(name.startswith("tastemaker") for name in sys.modules)
    for items in (modern, classic):
        sys.stdout.write(",".join(item.decode() for item in items[0]) + "\n")


if __name__ == "__main__":
    _main(*sys.argv[1:])
