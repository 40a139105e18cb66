// Drives real clients for the tests: commands are lines of JSON on stdin, answers are lines of JSON on stdout.
//
// {"id": 1, "do": "open", "client": "ada", …} is answered by {"id": 1, "answer": …} or {"id": 1, "error": "…"}, when it
// is done: commands do not wait for each other. {"fault": "…"} is what a library threw where nobody could catch it.
// The end of stdin ends everything.

import { createInterface } from 'node:readline'
import * as Y from 'yjs'
import { Client } from './client.mjs'
import { until } from './waiting.mjs'

const MOST_CLIENTS = 1000
const clients = new Map()

const say = message => process.stdout.write(JSON.stringify(message) + '\n')
const base64 = bytes => Buffer.from(bytes).toString('base64')
const bytes = text => new Uint8Array(Buffer.from(text, 'base64'))
const same = ([first, ...rest]) => rest.every(one => Y.equalSnapshots(Y.snapshot(first.doc), Y.snapshot(one.doc)))

function find (name) {
  const client = clients.get(name)
  if (client === undefined) throw new Error(`there is no client ${name}`)
  return client
}

/** What a command does, by its name: with the client that it names, and the rest of it. */
const commands = {
  async open (_, { client: name, ...settings }) {
    if (clients.has(name) || clients.size === MOST_CLIENTS) throw new Error(`there is no room for a client ${name}`)
    const client = new Client(name, clients)
    clients.set(name, client)
    try {
      await client.open(settings)
    } catch (error) {
      clients.delete(name)
      throw error
    }
  },
  reopen: (client, settings) => client.reopen(settings),
  async destroy (client) {
    clients.delete(client.name)
    await client.destroy()
  },

  // What is in the document
  insert: (client, { at, text }) => client.field.insert(at, text),
  delete: (client, { at, length }) => client.field.delete(at, length),
  text: client => client.doc.getText('content').toString(),
  xml: client => client.doc.getXmlFragment('default').toString(),
  seen: client => client.field.read(),
  html: client => client.field.editor.getHTML(),
  json: client => client.field.editor.getJSON(),
  command: (client, { name, args }) => client.field.command(name, args),
  set: (client, { map, key, value }) => { client.doc.getMap(map).set(key, value) },
  map: (client, { map }) => client.doc.getMap(map).toJSON(),
  state_vector: client => base64(Y.encodeStateVector(client.doc)),
  update: client => base64(Y.encodeStateAsUpdate(client.doc)),
  apply: (client, { update }) => Y.applyUpdate(client.doc, bytes(update)),
  find: (client, { text }) => client.field.find(text),
  relative: (client, { at, assoc }) => base64(Y.encodeRelativePosition(client.field.relative(at, assoc))),
  absolute (client, { position }) {
    const read = typeof position === 'string' ? Y.decodeRelativePosition(bytes(position)) : Y.createRelativePositionFromJSON(position)
    return client.field.absolute(read) ?? null
  },

  // Words: see fields.mjs
  word: (client, { place }) => client.word(place),
  strike: (client, { place }) => client.field.strike(place),
  type: (client, { words, every_ms: milliseconds, seed }) => client.type(words, milliseconds, seed),
  stop_typing: client => client.stopTyping(),
  typed: client => ({ typed: client.typed, acknowledged: client.acknowledged }),

  // The connection
  connect: client => { client.connect() },
  disconnect: (client, { seconds }) => client.disconnect(seconds),
  drop: (client, { seconds }) => client.drop(seconds),
  pause: client => client.socket.pause(),
  resume: client => client.socket.resume(),
  credentials (client, given) {
    Object.assign(client.settings, given)
    if (given.ticket !== undefined) client.provider.params = { ticket: given.ticket }
    if (given.protocols !== undefined) client.provider.protocols = given.protocols
  },
  stateless: (client, { payload }) => client.provider.sendStateless(payload),
  status: client => client.describe(),

  // Presence
  awareness: client => Object.fromEntries(client.awareness.getStates()),
  set_awareness: (client, { field, value }) => client.awareness.setLocalStateField(field, value),

  // Waiting, at most for `seconds`
  synced: (client, { seconds }) => client.until('is synced', seconds, () => client.provider.synced),
  saved: (client, { seconds }) =>
    client.until('is saved', seconds, () => client.unsynced === 0 && client.provider.synced && client.status === 'connected'),
  has_scope: (client, { scope, seconds }) => client.until(`may ${scope}`, seconds, () => client.scope === scope),
  closed: (client, { count, seconds }) =>
    client.until(`was closed ${count} times`, seconds, () => client.closes.length >= count && client.closes),
  refused: (client, { count, seconds }) =>
    client.until(`was refused ${count} times`, seconds, () => client.denied.length >= count && client.denied),
  told: (client, { count, seconds }) =>
    client.until(`was told ${count} payloads`, seconds, () => client.stateless.length >= count && client.stateless),
  reads: (client, { text, seconds }) =>
    client.until(`reads ${JSON.stringify(text)} (${JSON.stringify(client.field.read())} by now)`, seconds, () => client.field.read() === text),
  shows: (client, { words, seconds }) =>
    client.until(`shows ${words.join(', ')}`, seconds, () => words.every(word => client.field.read().includes(word))),
  sees: (client, { field, value, there, seconds }) =>
    client.until(`${there ? 'sees' : 'no longer sees'} ${JSON.stringify(value)} as ${field}`, seconds, () => client.sees(field, value) === there),
  has_typed: (client, { count, acknowledged, seconds }) =>
    client.until(`has ${count} words ${acknowledged ? 'acknowledged' : 'typed'}`, seconds,
      () => (acknowledged ? client.acknowledgedWords : client.typed.length) >= count),
  let_escape: () => { Promise.reject(new Error('as told')) },
  same (_, { clients: names, seconds }) {
    const all = names.map(find)
    const differing = () => all.map(one => `${one.name} ${Y.encodeStateVector(one.doc).length}: ${JSON.stringify(one.describe())}`)
    return until(() => `all have the same\n${differing().join('\n')}`, seconds, () => all.every(one => one.provider.synced) && same(all))
  }
}

async function answer (line) {
  const { id, do: name, ...rest } = JSON.parse(line)
  try {
    if (!Object.hasOwn(commands, name)) throw new Error(`there is no command ${name}`)
    const alone = rest.client === undefined || name === 'open'
    const { client, ...settings } = rest
    const done = await (alone ? commands[name](null, rest) : commands[name](find(client), settings))
    say({ id, answer: done === undefined ? null : done })
  } catch (error) {
    say({ id, error: error.message || String(error) })
  }
}

console.log = console.info = console.warn = console.error // stdout is for answers
process.setMaxListeners(0) // each y-websocket listens to the end of the process
for (const kind of ['uncaughtException', 'unhandledRejection']) {
  process.on(kind, error => say({ fault: `${kind}: ${error?.stack ?? error}` }))
}
const lines = createInterface({ input: process.stdin })
lines.on('line', answer)
lines.on('close', () => process.exit(0))
