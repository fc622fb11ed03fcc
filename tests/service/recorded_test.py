"""What clients of version 1 have sent is understood for ever, byte for byte."""
from calls import Api
from recorded import RESPONSES, ask, load, missing


def test_every_recorded_request_is_answered_as_it_was(server):
    recorded = load()
    assert {outcome["path"] for _, _, outcome in recorded} == set(RESPONSES)
    with Api(server.target) as api:
        for name, messages, outcome in recorded:
            answer = ask(api.channel, outcome["path"], messages)
            assert missing({key: value for key, value in outcome.items()
                            if key not in ("path", "messages")}, answer, name) == []


def test_a_recorded_answer_that_is_not_given_is_noticed():
    """The comparison itself: more is fine, less and other is not."""
    assert missing({"a": [1, {"b": 2}]}, {"a": [1, {"b": 2, "c": 3}], "d": 4}) == []
    assert missing({"a": 1}, {"a": 2}) and missing({"a": 1}, {}) and missing([1], [1, 2])
    assert missing({"a": {"b": 1}}, {"a": {"b": "1"}})
