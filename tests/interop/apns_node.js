// @parse/node-apn sends to the stand-in of APNs: each tells the other what Apple's documents say.
//
// Usage: node apns_node.js READY.json, with NODE_PATH naming the folder of its packages. The stand-in must
// be a fresh one, with two topics: a key may show one provider token in 20 minutes. A check that does not
// hold ends the program with status 1 at once.
'use strict';

const assert = require('node:assert/strict');
const { generateKeyPairSync, randomUUID } = require('node:crypto');
const { readFileSync } = require('node:fs');
const apn = require('@parse/node-apn');

const standIn = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const open = [];

function check(sentence, found, wanted) {
  try {
    assert.deepEqual(found, wanted);
  } catch (difference) {
    console.log(`FAIL node-apn: ${sentence}`);
    console.error(`interop: ${difference.message}`);
    process.exit(1);
  }
  console.log(`ok   node-apn: ${sentence}`);
}

async function control(path, body) {
  const request = body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) };
  const reply = await fetch(standIn.control_url + path, { ...request, signal: AbortSignal.timeout(60000) });
  const text = await reply.text();
  assert.ok(reply.ok, `${path}: ${reply.status} ${text}`);
  return text === '' ? null : JSON.parse(text);
}

function provider(changes = {}, options = {}) {
  const { hostname, port } = new URL(standIn.base_url);
  const token = { key: standIn.key_file, keyId: standIn.key_id, teamId: standIn.team_id, ...changes };
  const ca = readFileSync(standIn.ca_file);
  const one = new apn.Provider({ token, address: hostname, port: Number(port), ca, ...options });
  open.push(one);
  return one;
}

const ALERT = { alert: { 'title-loc-key': 'TITLE', 'loc-key': 'BODY' }, sound: 'default' };

function notification(changes = {}) {
  return new apn.Notification({ topic: standIn.topics[0], pushType: 'alert', aps: ALERT, ...changes });
}

async function refused(from, device, sentence, changes, status, reason) {
  const { sent, failed } = await from.send(notification(changes), device);
  const found = failed.map(one => [one.status, one.response && one.response.reason]);
  check(`${sentence}: ${reason}`, [sent.length, found], [0, [[status, reason]]]);
}

async function acceptsWhatIsRight(from, device) {
  const expiry = Math.floor(Date.now() / 1000) + 120;
  const [id, collapseId] = [randomUUID(), randomUUID()];
  const payload = { v: 1, kind: 'test' };
  const alert = notification({ id, collapseId, expiry, payload });
  check('an alert is accepted, under its own id', await from.send(alert, device), {
    sent: [{ device, 'apns-id': id }],
    failed: [],
  });
  const { pushes } = await control(`/pushes/${device}?wait=30`);
  const { stream, ...push } = pushes.at(-1).push;
  check('it arrived as it was sent', push, {
    apns_id: id,
    topic: standIn.topics[0],
    push_type: 'alert',
    priority: 10,
    expiration: expiry,
    collapse_id: collapseId,
    key_id: standIn.key_id,
    payload: { ...payload, aps: ALERT },
  });
  const background = notification({ pushType: 'background', priority: 5, aps: { 'content-available': 1 } });
  check('a background push of priority 5 is accepted', (await from.send(background, device)).failed, []);
  const fifty = await from.send(notification(), Array(50).fill(device));
  check('fifty at once are accepted', [fifty.sent.length, fifty.failed], [50, []]);
  const { connections, provider_tokens } = await control('/status');
  check('all over one connection with one provider token', [connections, provider_tokens], [1, 1]);
}

async function refusesWhatIsWrong(from, device) {
  const wrong = (...rest) => refused(from, device, ...rest);
  await wrong('a topic that is not ours', { topic: 'org.example.nobodys' }, 400, 'TopicDisallowed');
  await wrong('another topic of ours', { topic: standIn.topics[1] }, 400, 'DeviceTokenNotForTopic');
  await wrong('no topic', { topic: undefined }, 400, 'MissingTopic');
  await refused(from, 'none', 'a token that is none', {}, 400, 'BadDeviceToken');
  await wrong('a push type that is none', { pushType: 'shout' }, 400, 'InvalidPushType');
  await wrong('a priority that is none', { priority: 7 }, 400, 'BadPriority');
  await wrong('a collapse id of 65 bytes', { collapseId: 'c'.repeat(65) }, 400, 'BadCollapseId');
  await wrong('an id that is none', { id: '7' }, 400, 'BadMessageId');
  await wrong('4097 bytes', { payload: { more: 'x'.repeat(4096) } }, 413, 'PayloadTooLarge');
  await control(`/script/${device}`, [{ do: 'gone', timestamp_millis: 1700000000123 }]);
  const gone = (await from.send(notification(), device)).failed[0];
  const response = { reason: 'Unregistered', timestamp: 1700000000123 };
  check('a token that is gone: Unregistered, with its time', [gone.status, gone.response], [410, response]);
  const before = (await control('/status')).attempted;
  await control(`/script/${device}`, [{ do: 'status', code: 503 }, { do: 'status', code: 429 }]);
  check('503 and 429 pass, as the client tries again', (await from.send(notification(), device)).failed, []);
  check('it took three attempts', (await control('/status')).attempted - before, 3);
}

async function checksWhoSends(device) {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const key = privateKey.export({ type: 'pkcs8', format: 'pem' });
  const invalid = (sentence, changes) =>
    refused(provider(changes), device, sentence, {}, 403, 'InvalidProviderToken');
  await invalid("another's key", { key });
  await invalid('an unknown key id', { keyId: 'UNKNOWN000' });
  await invalid('another team', { teamId: 'UNKNOWN000' });
  const second = provider();
  await refused(second, device, 'a second provider token within 20 minutes', {}, 429, 'TooManyProviderTokenUpdates');
  const stranger = provider({}, { ca: undefined });
  const { sent, failed } = await stranger.send(notification(), device);
  const outcome = [sent.length, failed.length, failed[0] && failed[0].status];
  check("who does not trust the stand-in's authority sends it nothing", outcome, [0, 1, undefined]);
}

async function main() {
  const { token: device } = await control('/register', {});
  const from = provider();
  await acceptsWhatIsRight(from, device);
  const before = (await control('/status')).accepted;
  await refusesWhatIsWrong(from, device);
  await checksWhoSends(device);
  check('of all that only the repeated one was received', (await control('/status')).accepted - before, 1);
  for (const one of open) one.shutdown();
}

main().catch(error => {
  console.error('interop:', error);
  process.exit(1);
});
