"""From a trained model to `models/<name>/<version>/`, whole or not at all."""
