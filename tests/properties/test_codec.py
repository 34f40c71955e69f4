"""Whatever can be called, returned or raised comes back from its payload, or says why not."""

import pickle

from hypothesis import given
from hypothesis import strategies as st

from docket.errors import DeserializationError
from docket.serialization.pickle_codec import (
    decode_call,
    decode_error,
    decode_result,
    encode_call,
    encode_error,
    encode_result,
)

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.datetimes(),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(args=st.lists(VALUES).map(tuple), kwargs=st.dictionaries(st.text(), VALUES))
def test_a_call_comes_back(args: tuple[object, ...], kwargs: dict[str, object]) -> None:
    assert decode_call(encode_call(args, kwargs)) == (args, kwargs)


@given(VALUES | st.just("__main__"))
def test_a_result_comes_back(value: object) -> None:
    assert decode_result(encode_result(value)) == value


@given(st.sampled_from([ValueError, KeyError, OSError, RuntimeError]), st.lists(VALUES))
def test_an_exception_comes_back_with_its_arguments(
    kind: type[Exception], args: list[object]
) -> None:
    error = kind(*args)

    again = decode_error(encode_error(error))

    assert (type(again), again.args) == (type(error), error.args)


@given(st.binary())
def test_bytes_of_a_stranger_are_read_or_refused_and_nothing_else(payload: bytes) -> None:
    try:
        args, kwargs = decode_call(payload)
    except DeserializationError:
        return
    assert isinstance(args, tuple)
    assert isinstance(kwargs, dict)


@given(st.data())
def test_a_payload_that_was_cut_is_refused(data: st.DataObject) -> None:
    payload = encode_call((1, "two", [3.0]), {"four": b"five"})
    cut = payload[: data.draw(st.integers(0, len(payload) - 1))]

    error = decode_error(cut)

    assert isinstance(error, DeserializationError)


@given(VALUES)
def test_what_is_no_exception_is_not_raised(value: object) -> None:
    assert isinstance(decode_error(pickle.dumps(value)), DeserializationError)
