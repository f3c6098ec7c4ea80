// Asks through every Node SDK; as ../python/clients.py, where every phase is explained.

import { SDKS } from "./sdks.mjs";

const LANGUAGE = "node";

const question = (name, topic, stream) => `[${name}${stream ? " streamed" : ""}] topic ${topic}: go on`;
const label = (sdk, topic, stream) => `${LANGUAGE} ${sdk.name}: ${topic}${stream ? ", streamed" : ""}`;
const chats = (sdk) =>
  sdk.kinds.filter((topic) => topic !== "embed").flatMap((topic) => [[topic, false], [topic, true]]);

async function report(check, ask, beside = {}) {
  let line;
  try {
    line = await ask();
  } catch (error) {
    line = { failed: `${error}`, stack: error.stack?.split("\n").slice(0, 3) };
  }
  console.log(JSON.stringify({ check, ...line, ...beside }));
}

async function turns(sdk, asked, topic, stream) {
  const history = sdk.first(asked);
  const [held, answer] = await sdk.turn(history, topic === "tools", stream);
  if (topic !== "tools") return { held: [held] };
  const [end] = await sdk.turn(sdk.after(history, answer, held.calls), true, stream);
  return { held: [held, end] };
}

async function ask(sdk) {
  for (const [topic, stream] of chats(sdk)) {
    const asked = question(`${LANGUAGE} ${sdk.name}`, topic, stream);
    await report(label(sdk, topic, stream), () => turns(sdk, asked, topic, stream), { topic, words: sdk.words });
  }
  if (sdk.kinds.includes("embed")) {
    const texts = [`${LANGUAGE} ${sdk.name} topic embed`, "another text"];
    await report(label(sdk, "embed", false), async () => ({ held: [await sdk.embed(texts)] }), { topic: "embed" });
  }
}

async function swap(sdk) {
  for (const [topic, stream] of chats(sdk)) {
    const asked = question(`${LANGUAGE} ${sdk.name}`, topic, stream);
    await report(label(sdk, topic, stream), () => turns(sdk, asked, topic, !stream), { topic });
  }
}

async function hand(sdk) {
  for (const [topic, stream] of chats(sdk)) {
    const words = { words: sdk.words };
    await report(label(sdk, topic, stream), () => turns(sdk, `By hand: ${topic}`, topic, stream), words);
  }
  if (sdk.kinds.includes("embed")) {
    const embed = async () => ({ held: [await sdk.embed(["By hand: a", "By hand: b"])] });
    await report(label(sdk, "embed", false), embed);
  }
}

async function cross(sdk, ...recorders) {
  for (const [topic, stream] of chats(sdk)) {
    await report(label(sdk, topic, stream), async () => {
      const held = {};
      for (const name of recorders) {
        try {
          [held[name]] = await sdk.turn(sdk.first(question(name, topic, true)), topic === "tools", stream);
        } catch (error) {
          if (sdk.status(error) !== 404) throw error;
          held[name] = { status: 404 };
        }
      }
      return { held };
    });
  }
}

async function fails(sdk, topic, status) {
  for (const stream of [false, true]) {
    await report(label(sdk, topic, stream), async () => {
      let held;
      try {
        [held] = await sdk.turn(sdk.first(`[${LANGUAGE} ${sdk.name} ${stream}] topic ${topic}`), false, stream);
      } catch (error) {
        if (!(error instanceof sdk.raises[status])) throw error;
        const said = { status: sdk.status(error), message: `${error.message}`, class: error.constructor.name };
        return { raised: { ...said, retry_after: sdk.retryAfter(error) ?? null } };
      }
      return { failed: `no exception, but ${JSON.stringify(held)}` };
    });
  }
}

const PHASES = {
  ask,
  swap,
  hand,
  cross,
  limit: (sdk) => fails(sdk, "limit", 429),
  miss: (sdk) => fails(sdk, "never recorded", 404),
  strict_miss: (sdk) => fails(sdk, "never recorded", 503),
};

const [url, phase, ...rest] = process.argv.slice(2);
const here = url !== "-";
for (const Class of SDKS.filter((sdk) => here || sdk.readsEnvironment)) await PHASES[phase](new Class(here ? url : null), ...rest);
