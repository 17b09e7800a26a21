"""What the front tells Prometheus. `docs/metrics.md` has every name; a test holds it against a running front.

| file | what it owns |
|---|---|
| `calls` | every call of every method: how many, how they ended, how long they took, how many are under way |
| `pages` | pages and items by surface and tier, and what became of each tier |
| `feedback` | events by type: accepted, sent before, refused |
| `models` | answers of the model server by version, and why there was none |
| `stores` | how far the online store is behind the event log, and which lists are served |
| `loop_delay` | how long the event loop keeps others waiting |
| `endpoint` | the HTTP port where all of it is read |

Each takes the registry that it counts into. Values of labels come from the configuration, from the API's enums or from
the model server, never from what a caller sends: their number does not grow with traffic.
"""
