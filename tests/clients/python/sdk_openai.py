import openai
from sdk import DESCRIPTION, KEY, RESULT, SCHEMA, Sdk, call, given, plain

FUNCTION = {"name": "get_weather", "description": DESCRIPTION, "parameters": SCHEMA, "strict": True}
RAISES = {404: openai.NotFoundError, 429: openai.RateLimitError, 503: openai.InternalServerError}


class Chat(Sdk):
    name = "openai chat"
    model = "gpt-4o"
    raises = RAISES

    def __init__(self, base):
        self.client = openai.OpenAI(**given(base, base_url=f"{base}/v1", api_key=KEY), max_retries=0)

    def turn(self, history, tools, stream):
        asked = {"model": self.model, "messages": history}
        if tools:
            asked["tools"] = [{"type": "function", "function": FUNCTION}]
        if stream:
            with self.client.chat.completions.stream(**asked, stream_options={"include_usage": True}) as events:
                for _ in events:
                    pass
            completion = events.get_final_completion()
        else:
            completion = self.client.chat.completions.create(**asked)
        choice = completion.choices[0]
        held = {
            "text": choice.message.content,
            "thinking": getattr(choice.message, "reasoning_content", None),
            "calls": [call(c.id, c.function.name, c.function.arguments) for c in choice.message.tool_calls or []],
            "finish": choice.finish_reason,
            "usage": plain(completion.usage),
            "model": completion.model,
            "id": completion.id,
        }
        return held, choice.message

    def after(self, history, answer, calls):
        tool_calls = [
            {"id": c.id, "type": "function", "function": {"name": c.function.name, "arguments": c.function.arguments}}
            for c in answer.tool_calls
        ]
        said = {"role": "assistant", "content": answer.content, "tool_calls": tool_calls}
        results = [{"role": "tool", "tool_call_id": c["id"], "content": RESULT["report"]} for c in calls]
        return [*history, said, *results]

    def embed(self, texts):
        answer = self.client.embeddings.create(model="text-embedding-3-small", input=texts)  # asks for base64
        as_floats = self.client.embeddings.create(model=answer.model, input=texts[0], encoding_format="float")
        return {
            "vectors": [item.embedding for item in answer.data],
            "floats": as_floats.data[0].embedding,
            "usage": plain(answer.usage),
        }


class Azure(Chat):
    name = "openai azure chat"

    def __init__(self, base):
        where = given(base, azure_endpoint=base, api_key=KEY, api_version="2024-10-21")
        self.client = openai.AzureOpenAI(**where, max_retries=0)


class Responses(Sdk):
    name = "openai responses"
    model = "gpt-4o"
    words = {"text": "completed", "tools": "completed"}
    kinds = ("text", "think", "tools")
    raises = RAISES

    def __init__(self, base):
        self.client = openai.OpenAI(**given(base, base_url=f"{base}/v1", api_key=KEY), max_retries=0)

    def turn(self, history, tools, stream):
        asked = {"model": self.model, "input": history}
        if tools:
            asked["tools"] = [{"type": "function", **FUNCTION}]
        if stream:
            pieces = []
            with self.client.responses.stream(**asked) as events:
                for event in events:
                    if event.type == "response.output_text.delta":
                        pieces.append(event.delta)
                response = events.get_final_response()
            assert "".join(pieces) == response.output_text, "the deltas are the text"
        else:
            response = self.client.responses.create(**asked)
        calls = [item for item in response.output if item.type == "function_call"]
        summaries = [s.text for item in response.output if item.type == "reasoning" for s in item.summary]
        held = {
            "text": response.output_text,
            "thinking": "".join(summaries) or None,
            "calls": [call(c.call_id, c.name, c.arguments) for c in calls],
            "kinds": [item.type for item in response.output],
            "finish": response.status,
            "usage": plain(response.usage),
            "model": response.model,
            "id": response.id,
        }
        return held, response

    def after(self, history, answer, calls):
        said = []
        for item in answer.output:
            item = plain(item)
            item.pop("parsed_arguments", None)
            said.append(item)
        results = [{"type": "function_call_output", "call_id": c["id"], "output": RESULT["report"]} for c in calls]
        return [*history, *said, *results]

    def hurry(self, history):
        with self.client.responses.create(model=self.model, input=history, stream=True) as events:
            return any(event.type == "response.completed" for event in events)


class AzureResponses(Responses):
    name = "openai azure responses"

    def __init__(self, base):
        where = given(base, azure_endpoint=base, api_key=KEY, api_version="2025-03-01-preview")
        self.client = openai.AzureOpenAI(**where, max_retries=0)


SDKS = [Chat, Azure, Responses, AzureResponses]
