"""Makes the JSON schemas in tests/deploy/schemas from the definitions that operators publish.

    python tools/trim_crd_schema.py CRD.yaml ... --out tests/deploy/schemas --source "project@commit"

Of each definition the stored version is kept, without prose and status, and strict: a key that the definition does not
know is refused, where an API server would drop it in silence. A pod's template becomes a bare object, marked
`x-pod-template`: Kubernetes' own schema says what is right inside.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import yaml

_POD_TEMPLATES = ("template", "submitterPodTemplate")
_KEPT = frozenset(
    {"type", "properties", "required", "items", "enum", "pattern", "additionalProperties", "anyOf", "format"}
)


def trimmed(schema: dict[str, Any]) -> dict[str, Any]:
    """A definition's schema (openAPIV3Schema) as a strict JSON schema, without prose."""
    kept = {key: value for key, value in schema.items() if key in _KEPT}
    if "properties" in kept:
        kept["properties"] = {
            name: {"type": "object", "x-pod-template": True}
            if name in _POD_TEMPLATES and "spec" in value.get("properties", {})
            else trimmed(value)
            for name, value in sorted(kept["properties"].items())
        }
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            kept["additionalProperties"] = False
    for key in ("items", "additionalProperties"):
        if isinstance(kept.get(key), dict):
            kept[key] = trimmed(kept[key])
    return kept


def of_definition(definition: dict[str, Any], source: str) -> dict[str, Any]:
    """The schema of a CustomResourceDefinition's kind, as objects of it are written in manifests."""
    spec = definition["spec"]
    version = next(version for version in spec["versions"] if version["storage"])
    schema = trimmed(version["schema"]["openAPIV3Schema"])
    schema["properties"].pop("status", None)
    schema["properties"]["metadata"] = {"type": "object"}
    schema["properties"]["apiVersion"] = {"const": f"{spec['group']}/{version['name']}"}
    schema["properties"]["kind"] = {"const": spec["names"]["kind"]}
    return {"$comment": f"From {source}, Apache-2.0, by tools/trim_crd_schema.py.", **schema}


def main() -> int:
    """Writes KIND.json for each definition."""
    parser = argparse.ArgumentParser(description="Make JSON schemas of custom resources.")
    parser.add_argument("definitions", nargs="+", type=Path, metavar="CRD.yaml")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--source", required=True, help="where they were published: project and commit")
    options = parser.parse_args()
    for path in options.definitions:
        definition = yaml.safe_load(path.read_text("utf-8"))
        schema = of_definition(definition, options.source)
        target = options.out / f"{definition['spec']['names']['kind']}.json"
        target.write_text(json.dumps(schema, separators=(",", ":"), sort_keys=True) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
