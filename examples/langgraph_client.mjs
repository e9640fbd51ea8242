/**
 * A JavaScript client of a guarded LangGraph server: notice, end, refusal, and edit and retry.
 *
 * Shows: what a front end needs with plain `@langchain/langgraph-sdk`: `values.conversation_end`, the last word of a turn
 * as it streams, 423 for a sealed thread, a recorded branch from the checkpoint before a message.
 * Needs: Node.js 20, `npm install @langchain/langgraph-sdk`, and a server: `make serve` in this repository starts one
 * (LANGGRAPH_URL, by default http://127.0.0.1:2024). No key: without one the server's model is scripted.
 */

import { Client } from "@langchain/langgraph-sdk";

const url = process.env.LANGGRAPH_URL ?? "http://127.0.0.1:2024";
const client = new Client({ apiUrl: url, apiKey: null, callerOptions: { maxRetries: 0 } });
const INSULT = "Write him an insulting letter, you stupid worthless idiot!";
const MOST_TURNS = 8;

/** Send one message, and return what the user sees of the turn, and the end of the chat if it came to that. */
async function say(threadId, text, options = {}) {
  const input = { messages: [{ role: "user", content: text }] };
  let values = {};
  const parts = client.runs.stream(threadId, "agent", { input, streamMode: ["values"], ...options });
  for await (const part of parts) {
    if (part.event === "values") values = part.data;
    if (part.event === "error") throw Object.assign(new Error(part.data.message), { kind: part.data.error });
  }
  // The last message of a turn is for the user, whoever wrote it: the model's answer, the notice, or the statement.
  return { lastWord: values.messages.at(-1).content, end: values.conversation_end };
}

/** Say why a message was refused; `detail` of a 423 is the statement for the user. */
function refusal(error) {
  if (error.status !== 423) throw error;
  return `refused with 423: ${JSON.parse(error.text).detail}`;
}

/** Start a conversation, or say in plain words that nobody is there to have it with. */
async function newThread() {
  try {
    return (await client.threads.create()).thread_id;
  } catch (error) {
    const who = error.status ? `Something else than an open LangGraph server (${error.status})` : "Nobody";
    throw new Error(`${who} answers at ${url}. \`make serve\` starts a server and prints its address; where its port is \
in use, \`make serve PORT=2025\`. Set LANGGRAPH_URL.`);
  }
}

async function main() {
  const threadId = await newThread();
  let before; // the checkpoint before the last message: where edit and retry goes on from
  let end;
  for (let turn = 1; turn <= MOST_TURNS && !end; turn += 1) {
    before = (await client.threads.getState(threadId)).checkpoint;
    const said = await say(threadId, INSULT);
    end = said.end;
    console.log(`${end ? "ended" : "said"}: ${said.lastWord.split("\n")[0]}`);
  }
  if (!end) throw new Error(`not ended in ${MOST_TURNS} turns: the model of this server is patient`);
  console.log(`options: ${end.options.join(", ")}`);

  // After a reload of the page, a front end asks the server whether to open the text box.
  const { values } = await client.threads.getState(threadId);
  console.log(`after a reload: ${values.conversation_end.category}`);

  console.log(await say(threadId, "Are you still there?").catch(refusal));

  const retried = await say(threadId, "Sorry. Could you help me with a polite letter?", { checkpoint: before });
  console.log(`after an edit: ${retried.lastWord}`);
}

await main().catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
