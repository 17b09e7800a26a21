"""The embedded model server: TensorFlow Serving's flags and wire API over TensorFlow's Python runtime.

It is the default on one machine; production runs the `tensorflow/serving` image, and neither caller nor model
notices. The files, from the bottom up:

- `errors`, `flags`, `text_config`, `model_config`: what the process is told, and how it says no
- `source`, `policy`, `states`, `manager`: which versions should serve, and the life of each
- `tensors`, `signatures`, `servable`, `warmup`: one loaded SavedModel
- `batching`, `merging`: concurrent calls become one run
- `predict`, `examples`, `metadata`, `services`, `rest`: the API
- `metrics`, `tls`, `server`, `main`: the process

Importing the package imports nothing heavy; TensorFlow comes with `servable` and everything above it.
"""
