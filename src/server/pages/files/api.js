// Calls to the relay (NIP-86), each with a signature of its own (NIP-98) by the extension (NIP-07).

import { base64, sha256, utf8 } from "./nostr.js";

// Why a call came to nothing. `state`: extension, unwilling, wrong, refused, offline or failed.
export class Trouble extends Error {
  constructor(state, message) {
    super(message);
    this.state = state;
  }
}

// What this machine's clock is behind the relay's, in seconds, once that is known to matter.
let behind = 0;
// One question after the other: extensions ask people.
let signing = Promise.resolve();

async function sign(event) {
  if (!window.nostr?.signEvent) throw new Trouble("extension", "There is no extension that signs.");
  const before = signing;
  let done;
  signing = new Promise((resolve) => { done = resolve; });
  await before;
  try {
    const signed = await window.nostr.signEvent(event);
    if (!signed?.sig) throw new Error("it gave no signature");
    return signed;
  } catch (error) {
    throw new Trouble("unwilling", `The extension did not sign: ${error?.message ?? error}`);
  } finally {
    done();
  }
}

async function attempt(method, params) {
  const body = JSON.stringify({ method, params });
  const url = `${location.origin}/`;
  // So that no two calls of one second have the same authorization.
  const nonce = crypto.getRandomValues(new Uint32Array(2)).join("");
  const event = await sign({
    kind: 27235,
    created_at: Math.floor(Date.now() / 1000) + behind,
    tags: [["u", url], ["method", "POST"], ["payload", sha256(utf8(body))], ["nonce", nonce]],
    content: "",
  });
  const headers = {
    "content-type": "application/nostr+json+rpc",
    authorization: `Nostr ${base64(JSON.stringify(event))}`,
  };
  try {
    return await fetch(url, { method: "POST", headers, body, signal: AbortSignal.timeout(30000) });
  } catch {
    throw new Trouble("offline", "The relay does not answer.");
  }
}

// What the relay says as a sentence of this page.
const sentence = (text) => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;

// Calls a method and returns its result.
export async function call(method, ...params) {
  let answer = await attempt(method, params);
  const drift = Math.round((Date.parse(answer.headers.get("date")) - Date.now()) / 1000);
  if (answer.status === 401 && Math.abs(drift - behind) > 30) {
    behind = drift;
    answer = await attempt(method, params);
  }
  const said = await answer.json().catch(() => ({ error: `the relay answered with ${answer.status}` }));
  if (answer.status === 401) throw new Trouble("wrong", sentence(said.error));
  if (answer.status === 403) throw new Trouble("refused", sentence(said.error));
  if (!answer.ok || said.error) throw new Trouble("failed", sentence(said.error ?? `the relay answered with ${answer.status}`));
  return said.result;
}
