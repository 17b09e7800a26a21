"""From a trained version to the one that serves: checks, the gate, labels, and the way back."""
