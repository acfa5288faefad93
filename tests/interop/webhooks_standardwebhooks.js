// The official npm library of Standard Webhooks verifies what the real server told a webhook.
//
// Usage: node webhooks_standardwebhooks.js MESSAGES.json, as webhooks_standardwebhooks.py wrote it less than five minutes
// ago, with NODE_PATH naming the folder of its packages. The `v1a` signatures, which the library does not know, are
// verified by Node itself. A check that does not hold ends the program with status 1 at once.
'use strict';

const assert = require('node:assert/strict');
const { createPublicKey, verify } = require('node:crypto');
const { readFileSync } = require('node:fs');
const { Webhook, WebhookVerificationError } = require('standardwebhooks');

const messages = JSON.parse(readFileSync(process.argv[2], 'utf8'));

function check(sentence, holds) {
  if (!holds) {
    console.log(`FAIL standardwebhooks.js: ${sentence}`);
    process.exit(1);
  }
  console.log(`ok   standardwebhooks.js: ${sentence}`);
}

function verifies({ secret, id, timestamp, signature, body }) {
  const headers = { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': signature };
  try {
    const told = new Webhook(secret).verify(body, headers);
    assert.deepEqual(told, JSON.parse(body));
    return true;
  } catch (error) {
    if (error instanceof WebhookVerificationError) return false;
    throw error;
  }
}

function verifiesEd25519({ public_key: publicKey, id, timestamp, signature, body }) {
  const x = Buffer.from(publicKey.slice('whpk_'.length), 'base64').toString('base64url');
  const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
  const signed = Buffer.from(`${id}.${timestamp}.${body}`);
  return signature
    .split(' ')
    .filter((part) => part.startsWith('v1a,'))
    .some((part) => verify(null, signed, key, Buffer.from(part.slice('v1a,'.length), 'base64')));
}

check('there are messages', messages.length === 4);
for (const message of messages) {
  const { type } = JSON.parse(message.body);
  check(`the library verifies ${type}`, verifies(message));
  check('Node verifies its ed25519 signature', verifiesEd25519(message));
  const later = String(Number(message.timestamp) + 1);
  for (const [what, value] of [['body', `${message.body} `], ['timestamp', later], ['id', 'another']]) {
    check(`with another ${what} both refuse it`,
      !verifies({ ...message, [what]: value }) && !verifiesEd25519({ ...message, [what]: value }));
  }
}
const [first, second, old, fresh] = messages;
check('signatures are of one message each', !verifies({ ...first, signature: second.signature }));
check('a rotated secret is another one', old.secret !== fresh.secret && old.signature === fresh.signature);
