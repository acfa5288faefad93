// The library `jose` judges spoilt tokens, as `countersign-proof tokens` wrote them down.
//
// Usage: node tokens_node.js TOKENS.jsonl OUT: one character for each line of TOKENS.jsonl, `1` if it is accepted. What is
// compared is the library's own judgement of ES256 with a given key; `typ`, the name of the key and a payload that is a
// JSON object are what any verifier would look at afterwards. tokens_python.py compares.

"use strict";

const fs = require("node:fs");
const readline = require("node:readline");

const keys = new Map();

async function keyOf(jose, jwk) {
  const name = JSON.stringify(jwk);
  if (!keys.has(name)) keys.set(name, await jose.importJWK(jwk, "ES256"));
  return keys.get(name);
}

async function accepts(jose, line) {
  const token = Buffer.from(line.token, "base64url");
  let key;
  if (line.names === "jwk") {
    key = async (header) => keyOf(jose, header.jwk);
  } else {
    const known = await keyOf(jose, line.jwk);
    const thumbprint = await jose.calculateJwkThumbprint(line.jwk);
    key = async (header) => {
      if (header.kid !== thumbprint) throw new Error("an unknown key");
      return known;
    };
  }
  const { payload, protectedHeader } = await jose.compactVerify(token, key, { algorithms: ["ES256"] });
  if (protectedHeader.typ !== line.typ) return false;
  const claims = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(payload));
  return typeof claims === "object" && claims !== null && !Array.isArray(claims);
}

async function main(tokens, out) {
  const jose = await import(require.resolve("jose"));
  const verdicts = [];
  for await (const text of readline.createInterface({ input: fs.createReadStream(tokens) })) {
    const line = JSON.parse(text);
    verdicts.push(await accepts(jose, line).then((is) => (is ? "1" : "0"), () => "0"));
  }
  fs.writeFileSync(out, verdicts.join(""));
}

main(...process.argv.slice(2));
