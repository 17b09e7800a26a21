"""The front: answers `Recommend` inside the caller's deadline, and keeps `Feedback` safe.

It needs neither TensorFlow nor Ray: models are asked over the wire. `app` wires the parts; `main` is the command.
"""
