from google import genai
from google.genai import errors, types
from google.oauth2.credentials import Credentials
from sdk import DESCRIPTION, KEY, RESULT, SCHEMA, Sdk, call, given, plain

PARAMETERS = {key: value for key, value in SCHEMA.items() if key != "additionalProperties"}
TOOL = types.Tool(
    function_declarations=[
        types.FunctionDeclaration(name="get_weather", description=DESCRIPTION, parameters_json_schema=PARAMETERS)
    ]
)
CONFIG = types.GenerateContentConfig(
    tools=[TOOL], automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True)
)


class Gemini(Sdk):
    name = "google-genai"
    model = "gemini-2.5-flash"
    embedding_model = "gemini-embedding-001"
    words = {"text": "STOP", "tools": "STOP"}
    raises = {404: errors.ClientError, 429: errors.ClientError, 503: errors.ServerError}

    def __init__(self, base):
        self.client = genai.Client(**given(base, api_key=KEY, http_options={"base_url": base}))

    def first(self, question):
        return [types.UserContent(question)]

    def turn(self, history, tools, stream):
        asked = {"model": self.model, "contents": history, "config": CONFIG if tools else None}
        if stream:
            chunks = list(self.client.models.generate_content_stream(**asked))
        else:
            chunks = [self.client.models.generate_content(**asked)]
        parts = [part for chunk in chunks for part in (chunk.candidates[0].content.parts or [])]
        last = chunks[-1]
        held = {
            "text": "".join(part.text for part in parts if part.text and not part.thought),
            "thinking": "".join(part.text for part in parts if part.text and part.thought) or None,
            "signature": next((str(part.thought_signature) for part in parts if part.thought_signature), None),
            "calls": [
                call(part.function_call.id, part.function_call.name, part.function_call.args)
                for part in parts
                if part.function_call
            ],
            "finish": last.candidates[0].finish_reason.value,
            "usage": plain(last.usage_metadata),
            "model": last.model_version,
            "id": last.response_id,
        }
        return held, [chunk.candidates[0].content for chunk in chunks if chunk.candidates[0].content.parts]

    # As the SDK's own chats do, chunk by chunk.
    def after(self, history, answer, calls):
        results = [types.Part.from_function_response(name=c["name"], response=RESULT) for c in calls]
        return [*history, *answer, types.UserContent(results)]

    def embed(self, texts):
        answer = self.client.models.embed_content(model=self.embedding_model, contents=texts)
        return {"vectors": [item.values for item in answer.embeddings]}

    def status(self, error):
        return error.code

    def retry_after(self, error):
        return error.response.headers.get("retry-after")


class Vertex(Gemini):
    name = "google-genai vertex"
    embedding_model = "text-embedding-005"

    def __init__(self, base):
        self.client = genai.Client(
            vertexai=True, project="p1", location="us-central1", credentials=Credentials(token=KEY),
            **given(base, http_options={"base_url": base}),
        )


SDKS = [Gemini, Vertex]
