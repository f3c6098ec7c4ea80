import anthropic
from sdk import DESCRIPTION, KEY, RESULT, SCHEMA, Sdk, call, given, plain

TOOL = {"name": "get_weather", "description": DESCRIPTION, "input_schema": SCHEMA}


class Messages(Sdk):
    name = "anthropic"
    model = "claude-sonnet-4-5"
    words = {"text": "end_turn", "tools": "tool_use"}
    kinds = ("text", "think", "tools")
    raises = {404: anthropic.NotFoundError, 429: anthropic.RateLimitError, 503: anthropic.InternalServerError}

    def __init__(self, base):
        self.client = anthropic.Anthropic(**given(base, base_url=base, api_key=KEY), max_retries=0)

    def turn(self, history, tools, stream):
        asked = {"model": self.model, "max_tokens": 999, "messages": history}
        if tools:
            asked["tools"] = [TOOL]
        if stream:
            with self.client.messages.stream(**asked) as events:
                for _ in events:
                    pass
                message = events.get_final_message()
        else:
            message = self.client.messages.create(**asked)
        thoughts = [block for block in message.content if block.type == "thinking"]
        held = {
            "text": "".join(block.text for block in message.content if block.type == "text"),
            "thinking": "".join(block.thinking for block in thoughts) or None,
            "signature": thoughts[0].signature if thoughts else None,
            "calls": [call(block.id, block.name, block.input) for block in message.content if block.type == "tool_use"],
            "kinds": [block.type for block in message.content],
            "finish": message.stop_reason,
            "usage": plain(message.usage),
            "model": message.model,
            "id": message.id,
        }
        return held, message

    def after(self, history, answer, calls):
        said = [
            {"type": "text", "text": block.text} if block.type == "text" else
            {"type": "tool_use", "id": block.id, "name": block.name, "input": block.input}
            for block in answer.content
        ]
        results = [{"type": "tool_result", "tool_use_id": c["id"], "content": RESULT["report"]} for c in calls]
        return [*history, {"role": "assistant", "content": said}, {"role": "user", "content": results}]

    def hurry(self, history):
        with self.client.messages.create(model=self.model, max_tokens=999, messages=history, stream=True) as events:
            return any(event.type == "message_stop" for event in events)


class Bedrock(Messages):
    name = "anthropic bedrock"
    model = "anthropic.claude-3-haiku-20240307-v1:0"

    def __init__(self, base):
        where = given(base, base_url=base, aws_region="us-east-1", aws_access_key="AKIACLIENT", aws_secret_key=KEY)
        self.client = anthropic.AnthropicBedrock(**where, max_retries=0)


class Vertex(Messages):
    name = "anthropic vertex"
    model = "claude-sonnet-4@20250514"

    def __init__(self, base):
        self.client = anthropic.AnthropicVertex(
            region="us-east5", project_id="p1", access_token=KEY, **given(base, base_url=f"{base}/v1"), max_retries=0
        )


SDKS = [Messages, Bedrock, Vertex]
