"""What every SDK is asked through: one class an API of an SDK."""

import json
import os

KEY = os.environ.get("CLIENT_KEY", "sk-client")

# The tool that models call here.
DESCRIPTION = "The weather in a city"
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
RESULT = {"report": "It is 21 degrees"}


class Sdk:
    """An API as one SDK offers it. What it holds of an answer is a dict: `text`, `calls` (`name`, `arguments`, `id`),
    `finish`, `usage`, and `thinking`, `signature`, `model`, `id` where the SDK shows them."""

    name = ""
    # How it says that a turn is over, and that it ended in tool calls.
    words = {"text": "stop", "tools": "tool_calls"}
    # What it can be asked for: text, think, tools, embed.
    kinds = ("text", "think", "tools", "embed")
    # Its exception for a status.
    raises = {}

    def __init__(self, base):
        """Makes the client: for this URL, or for what the environment says where there is none."""
        raise NotImplementedError

    def first(self, question):
        """A conversation that begins."""
        return [{"role": "user", "content": question}]

    def turn(self, history, tools, stream):
        """Asks; what is held, and the answer as `after` wants it."""
        raise NotImplementedError

    def after(self, history, answer, calls):
        """The conversation with the answer and a result for each of its calls."""
        raise NotImplementedError

    def hurry(self, history):
        """Reads a stream up to its terminal event and hangs up at once. `openai` does so on its own at `[DONE]`, and
        Gemini's streams have no such event."""
        raise NotImplementedError

    def embed(self, texts):
        """Vectors, and what is held beside them."""
        raise NotImplementedError

    def status(self, error):
        """The HTTP status that an exception tells."""
        return error.status_code

    def retry_after(self, error):
        """The header as the exception has it, where the SDK shows headers."""
        return error.response.headers.get("retry-after")


def given(base, **arguments):
    """What leads a client to a server; nothing where the environment is to do it."""
    return arguments if base else {}


def call(id, name, arguments):
    """One tool call that is held; arguments as an object or as text."""
    return {"id": id, "name": name, "arguments": json.loads(arguments) if isinstance(arguments, str) else arguments}


def plain(value):
    """A model of an SDK as a dict without what is null."""
    return json.loads(value.model_dump_json(exclude_none=True)) if value is not None else None
