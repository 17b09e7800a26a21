"""The twin of TensorFlow Serving's messages is held against the real ones: each field, and bytes both ways."""

from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from tastemaker.tfserving.v1 import model_metadata_pb2, model_status_pb2, predict_pb2, tensor_pb2

pytestmark = pytest.mark.slow  # imports TensorFlow


@pytest.fixture(scope="module")
def real() -> dict[str, Any]:
    """The real messages, by the twin's names."""
    from tensorflow.core.framework import tensor_pb2 as tf_tensor_pb2
    from tensorflow.core.framework import tensor_shape_pb2
    from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_pb2, status_pb2
    from tensorflow_serving.apis import predict_pb2 as tf_predict_pb2

    return {
        "GetModelMetadataRequest": get_model_metadata_pb2.GetModelMetadataRequest,
        "GetModelMetadataResponse": get_model_metadata_pb2.GetModelMetadataResponse,
        "GetModelStatusRequest": get_model_status_pb2.GetModelStatusRequest,
        "GetModelStatusResponse": get_model_status_pb2.GetModelStatusResponse,
        "ModelSpec": model_pb2.ModelSpec,
        "ModelVersionStatus": get_model_status_pb2.ModelVersionStatus,
        "PredictRequest": tf_predict_pb2.PredictRequest,
        "PredictResponse": tf_predict_pb2.PredictResponse,
        "Status": status_pb2.StatusProto,
        "Tensor": tf_tensor_pb2.TensorProto,
        "TensorShape": tensor_shape_pb2.TensorShapeProto,
    }


_TWINS: dict[str, Descriptor] = {
    name: descriptor
    for module in (predict_pb2, tensor_pb2, model_metadata_pb2, model_status_pb2)
    for name, descriptor in module.DESCRIPTOR.message_types_by_name.items()
}

_VARINT = {FieldDescriptor.TYPE_ENUM, FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_INT64, FieldDescriptor.TYPE_BOOL}


def _wire_kind(field: FieldDescriptor) -> object:
    """Fields of one kind have the same bytes: an enum and an int32 are both varints."""
    return "varint" if field.type in _VARINT else field.type


def _assert_compatible(twin: Descriptor, real: Descriptor) -> None:
    for field in twin.fields:
        original = real.fields_by_number.get(field.number)
        assert original is not None, f"{twin.full_name}.{field.name}: the original has no field {field.number}"
        assert field.name == original.name
        assert field.is_repeated == original.is_repeated, field.full_name
        assert _wire_kind(field) == _wire_kind(original), field.full_name
        twin_oneof = field.containing_oneof.name if field.containing_oneof else None
        assert twin_oneof == (original.containing_oneof.name if original.containing_oneof else None), field.full_name
        if field.message_type is not None and "tastemaker" in field.message_type.full_name:
            _assert_compatible(field.message_type, original.message_type)


@pytest.mark.parametrize("name", sorted(_TWINS))
def test_every_field_has_the_originals_number_kind_and_name(name: str, real: dict[str, Any]) -> None:
    _assert_compatible(_TWINS[name], real[name].DESCRIPTOR)


def test_enums_have_the_originals_numbers(real: dict[str, Any]) -> None:
    from tensorflow.core.framework import types_pb2

    for name, number in tensor_pb2.DataType.items():
        suffix = name.removeprefix("DATA_TYPE_")
        assert number == (0 if suffix == "UNSPECIFIED" else types_pb2.DataType.Value(f"DT_{suffix}"))
    for name, number in model_status_pb2.ModelVersionStatus.State.items():
        suffix = name.removeprefix("STATE_").replace("UNSPECIFIED", "UNKNOWN")
        assert number == real["ModelVersionStatus"].State.Value(suffix)


def test_request_of_the_front_reads_as_the_original_and_back(real: dict[str, Any]) -> None:
    import tensorflow as tf

    from tastemaker_server.model_client import ServedModel, recommend_request

    ours = recommend_request(ServedModel("rnn", "stable"), history=["a", "é"], history_length=4, exclude=["x"], k=7)
    theirs = real["PredictRequest"].FromString(ours.SerializeToString())
    assert (theirs.model_spec.name, theirs.model_spec.signature_name) == ("rnn", "recommend")
    assert theirs.model_spec.version_label == "stable"
    newest = recommend_request(ServedModel("rnn"), history=[], history_length=1, exclude=[], k=1)
    assert newest.model_spec.WhichOneof("version_choice") is None, "no label, and not an empty one"
    assert tf.make_ndarray(theirs.inputs["history"]).tolist() == [[b"", b"", b"a", "é".encode()]]
    assert tf.make_ndarray(theirs.inputs["exclude"]).tolist() == [[b"x"] + [b""] * 15]
    assert tf.make_ndarray(theirs.inputs["k"]).tolist() == [7]
    assert predict_pb2.PredictRequest.FromString(theirs.SerializeToString()) == ours


def test_original_answer_reads_as_the_twin(real: dict[str, Any]) -> None:
    import tensorflow as tf

    theirs = real["PredictResponse"]()
    theirs.model_spec.name = "rnn"
    theirs.model_spec.version.value = 3
    theirs.outputs["item_id"].CopyFrom(tf.make_tensor_proto([[b"a", b""]]))
    theirs.outputs["score"].dtype = 1
    theirs.outputs["score"].float_val.extend([1.5, float("-inf")])
    ours = predict_pb2.PredictResponse.FromString(theirs.SerializeToString())
    assert list(ours.outputs["item_id"].string_val) == [b"a", b""]
    assert list(ours.outputs["score"].float_val) == [1.5, float("-inf")]
    assert ours.model_spec.version.value == 3


def test_status_with_an_error_reads_as_the_twin(real: dict[str, Any]) -> None:
    theirs = real["GetModelStatusResponse"]()
    theirs.model_version_status.add(version=2, state=50).status.error_code = 5
    (ours,) = model_status_pb2.GetModelStatusResponse.FromString(theirs.SerializeToString()).model_version_status
    assert (ours.version, ours.state, ours.status.error_code) == (2, model_status_pb2.ModelVersionStatus.STATE_END, 5)
