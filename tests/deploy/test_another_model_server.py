"""TensorFlow Serving in the place of our model server is another address, and nothing else of the front's settings."""

from tastemaker_server.settings import Settings
from tastemaker_server.settings_loader import load_settings


def test_another_model_server_is_another_address_and_nothing_else():
    moved = load_settings(None, {"TASTEMAKER_FRONT_MODEL_SERVER__ADDRESS": "tensorflow-serving:8500"})
    default = Settings()
    assert moved.model_server.address == "tensorflow-serving:8500"
    assert list(type(moved.model_server).model_fields) == ["address"]
    assert moved.model_copy(update={"model_server": default.model_server}) == default
