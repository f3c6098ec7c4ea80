// One class an API of an SDK, with the same shape as in ../python/sdk.py.

import Anthropic from "@anthropic-ai/sdk";
import { ApiError, GoogleGenAI } from "@google/genai";
import cohere from "cohere-ai";
import { Ollama } from "ollama";
import OpenAI, { AzureOpenAI } from "openai";

const KEY = process.env.CLIENT_KEY ?? "sk-client";
const DESCRIPTION = "The weather in a city";
const SCHEMA = {
  type: "object",
  properties: { city: { type: "string" }, days: { type: "integer" } },
  required: ["city", "days"],
  additionalProperties: false,
};
const REPORT = "It is 21 degrees";

async function all(stream) {
  const items = [];
  for await (const item of stream) items.push(item);
  return items;
}

const call = (id, name, args) => ({
  id: id ?? null,
  name,
  arguments: typeof args === "string" ? JSON.parse(args) : args,
});
const joined = (items, text) => items.map(text).join("");

// What leads a client to a server; nothing where the environment is to do it.
const given = (base, args) => (base ? args : {});

class Sdk {
  static readsEnvironment = true;
  words = { text: "stop", tools: "tool_calls" };
  kinds = ["text", "think", "tools", "embed"];
  first(question) {
    return [{ role: "user", content: question }];
  }
  status(error) {
    return error.status;
  }
  retryAfter(error) {
    return error.headers?.get("retry-after");
  }
}

const OPENAI_RAISES = { 404: OpenAI.NotFoundError, 429: OpenAI.RateLimitError, 503: OpenAI.InternalServerError };

class OpenAIChat extends Sdk {
  name = "openai chat";
  model = "gpt-4o";
  raises = OPENAI_RAISES;
  constructor(base) {
    super();
    this.client = this.connect(base);
  }
  connect(base) {
    return new OpenAI({ ...given(base, { baseURL: `${base}/v1`, apiKey: KEY }), maxRetries: 0 });
  }
  async turn(history, tools, stream) {
    const asked = { model: this.model, messages: history };
    if (tools) {
      const parameters = { name: "get_weather", description: DESCRIPTION, parameters: SCHEMA, strict: true };
      asked.tools = [{ type: "function", function: parameters }];
    }
    let thinking = "";
    const completion = stream
      ? await this.client.chat.completions
          .stream({ ...asked, stream_options: { include_usage: true } })
          .on("chunk", (chunk) => (thinking += chunk.choices[0]?.delta.reasoning_content ?? ""))
          .finalChatCompletion()
      : await this.client.chat.completions.create(asked);
    const { message, finish_reason } = completion.choices[0];
    thinking ||= message.reasoning_content;
    const held = {
      text: message.content,
      thinking: thinking || null,
      calls: (message.tool_calls ?? []).map((c) => call(c.id, c.function.name, c.function.arguments)),
      finish: finish_reason,
      usage: completion.usage,
      model: completion.model,
      id: completion.id,
    };
    return [held, message];
  }
  after(history, answer, calls) {
    const tool_calls = answer.tool_calls.map(({ id, function: { name, arguments: args } }) => ({
      id,
      type: "function",
      function: { name, arguments: args },
    }));
    const results = calls.map((c) => ({ role: "tool", tool_call_id: c.id, content: REPORT }));
    return [...history, { role: "assistant", content: answer.content, tool_calls }, ...results];
  }
  async embed(texts) {
    const answer = await this.client.embeddings.create({ model: "text-embedding-3-small", input: texts });
    return { vectors: answer.data.map((item) => item.embedding), usage: answer.usage };
  }
}

class Azure extends OpenAIChat {
  name = "openai azure chat";
  connect(base) {
    return new AzureOpenAI({
      ...given(base, { endpoint: base, apiKey: KEY, apiVersion: "2024-10-21" }),
      maxRetries: 0,
    });
  }
}

class Responses extends OpenAIChat {
  name = "openai responses";
  words = { text: "completed", tools: "completed" };
  kinds = ["text", "think", "tools"];
  async turn(history, tools, stream) {
    const asked = { model: this.model, input: history };
    if (tools) {
      asked.tools = [
        { type: "function", name: "get_weather", description: DESCRIPTION, parameters: SCHEMA, strict: true },
      ];
    }
    const response = stream
      ? await this.client.responses.stream(asked).finalResponse()
      : await this.client.responses.create(asked);
    const of = (type) => response.output.filter((item) => item.type === type);
    const held = {
      text: response.output_text,
      thinking: joined(of("reasoning").flatMap((item) => item.summary), (s) => s.text) || null,
      calls: of("function_call").map((c) => call(c.call_id, c.name, c.arguments)),
      finish: response.status,
      usage: response.usage,
      model: response.model,
      id: response.id,
    };
    return [held, response];
  }
  after(history, answer, calls) {
    const said = answer.output.map(({ parsed_arguments, content, ...item }) =>
      content ? { ...item, content: content.map(({ parsed, ...part }) => part) } : item,
    );
    const results = calls.map((c) => ({ type: "function_call_output", call_id: c.id, output: REPORT }));
    return [...history, ...said, ...results];
  }
}

class Messages extends Sdk {
  name = "anthropic";
  model = "claude-sonnet-4-5";
  words = { text: "end_turn", tools: "tool_use" };
  kinds = ["text", "think", "tools"];
  raises = { 404: Anthropic.NotFoundError, 429: Anthropic.RateLimitError, 503: Anthropic.InternalServerError };
  constructor(base) {
    super();
    this.client = new Anthropic({ ...given(base, { baseURL: base, apiKey: KEY }), maxRetries: 0 });
  }
  async turn(history, tools, stream) {
    const asked = { model: this.model, max_tokens: 999, messages: history };
    if (tools) asked.tools = [{ name: "get_weather", description: DESCRIPTION, input_schema: SCHEMA }];
    const message = stream
      ? await this.client.messages.stream(asked).finalMessage()
      : await this.client.messages.create(asked);
    const of = (type) => message.content.filter((block) => block.type === type);
    const held = {
      text: joined(of("text"), (block) => block.text),
      thinking: joined(of("thinking"), (block) => block.thinking) || null,
      signature: of("thinking")[0]?.signature ?? null,
      calls: of("tool_use").map((block) => call(block.id, block.name, block.input)),
      finish: message.stop_reason,
      usage: message.usage,
      model: message.model,
      id: message.id,
    };
    return [held, message];
  }
  after(history, answer, calls) {
    const said = answer.content.map(({ type, text, id, name, input }) =>
      type === "text" ? { type, text } : { type, id, name, input },
    );
    const results = calls.map((c) => ({ type: "tool_result", tool_use_id: c.id, content: REPORT }));
    return [...history, { role: "assistant", content: said }, { role: "user", content: results }];
  }
}

class Gemini extends Sdk {
  name = "google-genai";
  model = "gemini-2.5-flash";
  embeddingModel = "gemini-embedding-001";
  words = { text: "STOP", tools: "STOP" };
  raises = { 404: ApiError, 429: ApiError, 503: ApiError };
  constructor(base) {
    super();
    this.client = this.connect(base);
  }
  connect(base) {
    return new GoogleGenAI(given(base, { apiKey: KEY, httpOptions: { baseUrl: base } }));
  }
  first(question) {
    return [{ role: "user", parts: [{ text: question }] }];
  }
  async turn(history, tools, stream) {
    const asked = { model: this.model, contents: history };
    if (tools) {
      const { additionalProperties, ...schema } = SCHEMA;
      const declaration = { name: "get_weather", description: DESCRIPTION, parametersJsonSchema: schema };
      asked.config = { tools: [{ functionDeclarations: [declaration] }] };
    }
    const chunks = stream
      ? await all(await this.client.models.generateContentStream(asked))
      : [await this.client.models.generateContent(asked)];
    const parts = chunks.flatMap((chunk) => chunk.candidates[0].content.parts ?? []);
    const last = chunks.at(-1);
    const held = {
      text: joined(parts.filter((part) => part.text && !part.thought), (part) => part.text),
      thinking: joined(parts.filter((part) => part.text && part.thought), (part) => part.text) || null,
      signature: parts.find((part) => part.thoughtSignature)?.thoughtSignature ?? null,
      calls: parts
        .filter((part) => part.functionCall)
        .map(({ functionCall: c }) => call(c.id, c.name, c.args)),
      finish: last.candidates[0].finishReason,
      usage: last.usageMetadata,
      model: last.modelVersion,
      id: last.responseId,
    };
    return [held, chunks.map((chunk) => chunk.candidates[0].content)];
  }
  after(history, answer, calls) {
    const parts = calls.map((c) => ({ functionResponse: { name: c.name, response: { report: REPORT } } }));
    return [...history, ...answer, { role: "user", parts }];
  }
  async embed(texts) {
    const answer = await this.client.models.embedContent({ model: this.embeddingModel, contents: texts });
    return { vectors: answer.embeddings.map((item) => item.values) };
  }
  retryAfter() {
    return null; // its errors have no headers
  }
}

class Vertex extends Gemini {
  name = "google-genai vertex express";
  kinds = ["text", "think", "tools"];
  connect(base) {
    return new GoogleGenAI({ vertexai: true, apiKey: KEY, ...given(base, { httpOptions: { baseUrl: base } }) });
  }
}

class CohereV2 extends Sdk {
  static readsEnvironment = false;
  name = "cohere v2";
  model = "command-a-03-2025";
  words = { text: "COMPLETE", tools: "TOOL_CALL" };
  raises = {
    404: cohere.Cohere.NotFoundError,
    429: cohere.Cohere.TooManyRequestsError,
    503: cohere.Cohere.ServiceUnavailableError,
  };
  constructor(base) {
    super();
    this.client = new cohere.CohereClientV2({ token: KEY, environment: base });
  }
  async turn(history, tools, stream) {
    const asked = { model: this.model, messages: history };
    if (tools) {
      const parameters = { name: "get_weather", description: DESCRIPTION, parameters: SCHEMA };
      asked.tools = [{ type: "function", function: parameters }];
    }
    const held = stream ? await this.streamed(asked) : await this.whole(asked);
    return [held, held];
  }
  async whole(asked) {
    const { id, message, finishReason, usage } = await this.client.chat(asked, { maxRetries: 0 });
    const of = (type) => (message.content ?? []).filter((block) => block.type === type);
    return {
      text: joined(of("text"), (block) => block.text),
      thinking: joined(of("thinking"), (block) => block.thinking) || null,
      plan: message.toolPlan ?? null,
      calls: (message.toolCalls ?? []).map((c) => call(c.id, c.function.name, c.function.arguments)),
      finish: finishReason,
      usage,
      id,
    };
  }
  async streamed(asked) {
    const held = { text: "", thinking: "", plan: "", calls: [] };
    for await (const event of await this.client.chatStream(asked, { maxRetries: 0 })) {
      const message = event.delta?.message;
      switch (event.type) {
        case "message-start":
          held.id = event.id;
          break;
        case "content-delta":
          held.text += message.content.text ?? "";
          held.thinking += message.content.thinking ?? "";
          break;
        case "tool-plan-delta":
          held.plan += message.toolPlan;
          break;
        case "tool-call-start":
          held.calls.push({ ...message.toolCalls.function, id: message.toolCalls.id });
          break;
        case "tool-call-delta":
          held.calls[event.index].arguments += message.toolCalls.function.arguments;
          break;
        case "message-end":
          held.finish = event.delta.finishReason;
          held.usage = event.delta.usage;
      }
    }
    const calls = held.calls.map((c) => call(c.id, c.name, c.arguments));
    return { ...held, calls, thinking: held.thinking || null, plan: held.plan || null };
  }
  after(history, answer, calls) {
    const toolCalls = calls.map((c) => ({
      id: c.id,
      type: "function",
      function: { name: c.name, arguments: JSON.stringify(c.arguments) },
    }));
    const results = calls.map((c) => ({ role: "tool", toolCallId: c.id, content: REPORT }));
    return [...history, { role: "assistant", toolCalls, toolPlan: answer.plan }, ...results];
  }
  async embed(texts) {
    const answer = await this.client.embed({
      model: "embed-v4.0",
      texts,
      inputType: "search_query",
      embeddingTypes: ["float"],
    });
    return { vectors: answer.embeddings.float };
  }
  status(error) {
    return error.statusCode;
  }
  retryAfter(error) {
    return error.rawResponse?.headers.get("retry-after");
  }
}

class OllamaChat extends Sdk {
  static readsEnvironment = false;
  name = "ollama chat";
  model = "llama3.2";
  words = { text: "stop", tools: "stop" };
  raises = { 404: Error, 429: Error, 503: Error };
  constructor(base) {
    super();
    this.client = new Ollama({ host: base });
  }
  async turn(history, tools, stream) {
    const asked = { model: this.model, messages: history };
    if (tools) {
      const parameters = { name: "get_weather", description: DESCRIPTION, parameters: SCHEMA };
      asked.tools = [{ type: "function", function: parameters }];
    }
    const chunks = stream
      ? await all(await this.client.chat({ ...asked, stream: true }))
      : [await this.client.chat(asked)];
    const last = chunks.at(-1);
    const held = {
      text: joined(chunks, (chunk) => chunk.message.content ?? ""),
      thinking: joined(chunks, (chunk) => chunk.message.thinking ?? "") || null,
      calls: chunks
        .flatMap((chunk) => chunk.message.tool_calls ?? [])
        .map((c) => call(c.id, c.function.name, c.function.arguments)),
      finish: last.done_reason,
      usage: { prompt_eval_count: last.prompt_eval_count, eval_count: last.eval_count },
      model: last.model,
    };
    return [held, held];
  }
  after(history, answer, calls) {
    const tool_calls = calls.map((c) => ({ function: { name: c.name, arguments: c.arguments } }));
    const results = calls.map((c) => ({ role: "tool", content: REPORT, tool_name: c.name }));
    return [...history, { role: "assistant", content: answer.text, tool_calls }, ...results];
  }
  async embed(texts) {
    const answer = await this.client.embed({ model: "nomic-embed-text", input: texts });
    return { vectors: answer.embeddings, tokens: answer.prompt_eval_count };
  }
  status(error) {
    return error.status_code;
  }
  retryAfter() {
    return null; // its errors have no headers
  }
}

export const SDKS = [OpenAIChat, Azure, Responses, Messages, Gemini, Vertex, CohereV2, OllamaChat];
