"""The chunks of installed clients are read as the general path reads them; LiteLLM takes seconds to import."""

from __future__ import annotations

from litellm.types.utils import Delta, ModelResponseStream, StreamingChoices
from openai.types.chat import ChatCompletionChunk

from killswitch.router.refusals import text_of
from killswitch.router.usual_chunks import UsualChunks
from tests.unit.router.shadow.answer_shapes import CHUNKS


def test_chunks_of_the_clients_hold_up_no_reader() -> None:
    """Objects of OpenAI's client, and LiteLLM's, whose choices and deltas have no declared fields."""
    chunk = CHUNKS["chat stream with tools"][0][0]
    choice = StreamingChoices(index=0, delta=Delta(content="Hello ", role="assistant"))
    for one in (ChatCompletionChunk.construct(**chunk), ModelResponseStream(id="c", model="m", choices=[choice])):
        usual = UsualChunks()
        assert usual.words(one) == text_of(one) == "Hello "
        assert usual.piece(one) is not None
