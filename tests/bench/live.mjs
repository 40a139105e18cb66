// Load for live editing: one scenario against one server, told as JSON on the command line, answered as JSON.
//
// Clients speak Hocuspocus' wire frame by frame, with updates that Yjs has made beforehand: on one core this drives any
// server further than real editors could. Latency is from the send of an update to its arrival at each reader.

import { readFileSync, readdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import { setTimeout as sleep } from 'node:timers/promises'

const require = createRequire(new URL('../npm/package.json', import.meta.url))
const Y = require('yjs')
const WebSocket = require('ws')
const encoding = require('lib0/encoding')
const decoding = require('lib0/decoding')

const wanted = JSON.parse(process.argv[2])

/** CPU time of all threads of the server (s), and its resident memory (MB). */
function used () {
  let nanoseconds = 0
  for (const task of readdirSync(`/proc/${wanted.pid}/task`)) {
    try {
      nanoseconds += Number(readFileSync(`/proc/${wanted.pid}/task/${task}/schedstat`, 'utf8').split(' ')[0])
    } catch {} // it has ended
  }
  const status = readFileSync(`/proc/${wanted.pid}/status`, 'utf8')
  return { cpu: nanoseconds / 1e9, memory: Number(/VmRSS:\s+(\d+)/.exec(status)[1]) / 1024 }
}

/** A frame: the document's name and what `write` puts behind it. */
function framed (name, write) {
  const encoder = encoding.createEncoder()
  encoding.writeVarString(encoder, name)
  write(encoder)
  return encoding.toUint8Array(encoder)
}

const sync = (name, step, bytes) => framed(name, encoder => {
  encoding.writeVarUint(encoder, 0)
  encoding.writeVarUint(encoder, step)
  encoding.writeVarUint8Array(encoder, bytes)
})

/** A client of one document. `heard` gets each update that comes, as bytes. */
class Client {
  constructor (name, heard = () => {}) {
    this.name = name
    this.state = null
    this.arrived = 0
    this.socket = new WebSocket(wanted.url, { perMessageDeflate: false })
    this.synced = new Promise((resolve, reject) => {
      this.socket.on('error', reject)
      this.socket.on('open', () => {
        this.socket.send(framed(name, encoder => {
          encoding.writeVarUint(encoder, 2)
          encoding.writeVarUint(encoder, 0)
          encoding.writeVarString(encoder, wanted.token)
          encoding.writeVarString(encoder, '4.8.0')
        }))
        this.socket.send(sync(name, 0, Uint8Array.of(0)))
      })
      this.socket.on('message', data => {
        const decoder = decoding.createDecoder(data)
        decoding.readVarString(decoder)
        const kind = decoding.readVarUint(decoder)
        if (kind === 2 && decoding.readVarUint(decoder) === 1) reject(new Error(decoding.readVarString(decoder)))
        if (kind !== 0) return
        const step = decoding.readVarUint(decoder)
        const bytes = decoding.readVarUint8Array(decoder)
        if (step === 0) this.socket.send(sync(name, 1, Uint8Array.of(0, 0)))
        if (step === 1 && !this.state) { this.state = bytes.length; this.arrived = performance.now(); resolve(this) }
        if (step === 2) heard(bytes)
      })
    })
  }

  update (bytes) { this.socket.send(sync(this.name, 2, bytes)) }

  look (client, clock) { // where its cursor is, as editors say it after each keystroke
    const place = { type: null, tname: 'content', item: { client, clock }, assoc: 0 }
    const state = JSON.stringify({ user: { name: 'Somebody', color: '#30bced' }, cursor: { anchor: place, head: place } })
    const inner = encoding.createEncoder()
    encoding.writeVarUint(inner, 1)
    encoding.writeVarUint(inner, client)
    encoding.writeVarUint(inner, clock + 1)
    encoding.writeVarString(inner, state)
    this.socket.send(framed(this.name, encoder => {
      encoding.writeVarUint(encoder, 1)
      encoding.writeVarUint8Array(encoder, encoding.toUint8Array(inner))
    }))
  }
}

const open = (name, heard) => new Client(name, heard).synced

/** The updates of one client that types so many letters, one after another; each holds its client and clock. */
function typed (count) {
  const doc = new Y.Doc()
  const updates = []
  doc.on('update', update => updates.push(update))
  const text = doc.getText('content')
  for (let at = 0; at < count; at++) text.insert(at, 'x')
  return { client: doc.clientID, updates }
}

/** Whose letter an update holds that came out of `typed`, merged with others of the same client or not: its last. */
function letters (bytes) {
  const found = []
  for (const one of Y.decodeUpdate(bytes).structs) {
    for (let n = 0; n < one.length; n++) found.push([one.id.client, one.id.clock + n])
  }
  return found
}

function quantile (values, part) {
  const sorted = Float64Array.from(values).sort()
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))]
}

/** One writer and so many readers; the next letter is sent when all have the last one. */
async function fan ({ readers, updates }) {
  const [name] = wanted.documents
  const { updates: made } = typed(updates)
  let missing = 0
  let next
  const hear = () => { if (--missing === 0) next() }
  const all = await Promise.all(Array.from({ length: readers }, () => open(name, hear)))
  const writer = await open(name)
  await sleep(300)
  const times = []
  const before = used()
  const started = performance.now()
  for (const update of made) {
    const sent = performance.now()
    missing = all.length
    const done = new Promise(resolve => { next = resolve })
    writer.update(update)
    await done
    times.push(performance.now() - sent)
  }
  const seconds = (performance.now() - started) / 1000
  const cpu = used().cpu - before.cpu
  return { per_second: updates / seconds, cpu_us: cpu * 1e6 / (updates * readers), p99_ms: quantile(times, 0.99) }
}

/** So many people in each document, everybody typing, with or without cursors. */
async function type ({ people, rate, seconds, cursors }) {
  const groups = wanted.documents.map(name => ({ name, writers: [] }))
  const sent = new Map()
  const times = []
  let recording = false
  for (const { name, writers } of groups) {
    for (let n = 0; n < people; n++) {
      const made = typed(Math.ceil((seconds + 3) * rate))
      const hear = bytes => {
        const now = performance.now()
        for (const [client, clock] of letters(bytes)) {
          const at = sent.get(client)?.[clock]
          if (at !== undefined && recording) times.push(now - at)
        }
      }
      writers.push({ made, at: 0, connection: await open(name, hear) })
      sent.set(made.client, [])
    }
  }
  const everybody = groups.flatMap(group => group.writers)
  const begin = performance.now()
  everybody.forEach((one, n) => { one.next = begin + n / everybody.length * 1000 / rate })
  const timer = setInterval(() => {
    const now = performance.now()
    for (const one of everybody) {
      if (one.next > now || one.at >= one.made.updates.length) continue
      one.next += 1000 / rate
      sent.get(one.made.client).push(performance.now())
      one.connection.update(one.made.updates[one.at])
      if (cursors) one.connection.look(one.made.client, one.at)
      one.at++
    }
  }, 1)
  await sleep(1000)
  const before = used()
  const marked = everybody.reduce((sum, one) => sum + one.at, 0)
  recording = true
  await sleep(seconds * 1000)
  const after = used()
  const count = everybody.reduce((sum, one) => sum + one.at, 0) - marked
  recording = false
  clearInterval(timer)
  return {
    per_second: count / seconds,
    cpu_us: (after.cpu - before.cpu) * 1e6 / count,
    p99_ms: quantile(times, 0.99),
    memory_mb: after.memory
  }
}

/** A text that was edited for long, brought to the server: so many edits here and there, in so many updates. */
async function write ({ edits, characters, together }) {
  const [name] = wanted.documents
  const doc = new Y.Doc()
  const text = doc.getText('content')
  let seed = 1
  const chance = most => { seed = (seed * 1103515245 + 12345) % 2147483648; return seed % most }
  const updates = []
  let some = []
  doc.on('update', update => some.push(update))
  const line = 'Some words of a long text, again and again.\n'
  while (text.length < characters) { // an update may have a megabyte
    text.insert(0, line.repeat(2000))
    updates.push(some.pop())
  }
  for (let n = 0; n < edits; n++) {
    if (text.length > 50 && chance(10) < 4) text.delete(chance(text.length - 10), 1 + chance(8))
    else text.insert(chance(text.length + 1), 'edited '.slice(0, 1 + chance(7)))
    if (some.length === together) { updates.push(Y.mergeUpdates(some)); some = [] }
  }
  if (some.length) updates.push(Y.mergeUpdates(some))
  const writer = await open(name)
  for (const update of updates) {
    writer.update(update)
    while (writer.socket.bufferedAmount > 1 << 20) await sleep(5)
  }
  for (let tries = 0; ; tries++) { // until it has been taken in
    if (tries === 400) throw new Error('the document was not taken in')
    const reader = await open(name)
    reader.socket.close()
    if (reader.state >= Y.encodeStateAsUpdate(doc).length - 1000) break
    await sleep(50)
  }
  await sleep(3000) // peers store later
  return { bytes: Y.encodeStateAsUpdate(doc).length }
}

/** So many clients open one document at once. */
async function join ({ clients, bytes }) {
  const [name] = wanted.documents
  const before = used()
  let peak = before.memory
  const watch = setInterval(() => { peak = Math.max(peak, used().memory) }, 10)
  const started = performance.now()
  const all = await Promise.all(Array.from({ length: clients }, () => open(name)))
  const seconds = (Math.max(...all.map(one => one.arrived)) - started) / 1000
  clearInterval(watch)
  const cpu = used().cpu - before.cpu
  if (all.some(one => one.state < bytes - 1000)) throw new Error('some did not get the whole document')
  return { seconds, cpu_ms: cpu * 1000 / clients, peak_mb: peak - before.memory }
}

/** What connections to one document, and documents with one connection each, take of memory. */
async function rest ({ connections }) {
  const [first, ...others] = wanted.documents
  const held = [await open(first)]
  await sleep(500)
  const before = used().memory
  for (let n = 0; n < connections; n++) held.push(await open(first))
  await sleep(1000)
  const between = used().memory
  for (const one of held.slice(1)) one.socket.close()
  await sleep(1000)
  const cleared = used().memory
  for (const name of others) {
    const one = await open(name)
    one.update(typed(1).updates[0])
    held.push(one)
  }
  await sleep(2500)
  return {
    connection_kb: (between - before) * 1024 / connections,
    document_kb: (used().memory - cleared) * 1024 / others.length
  }
}

const scenarios = { fan, type, write, join, rest }
process.stdout.write(JSON.stringify(await scenarios[wanted.scenario](wanted)) + '\n')
process.exit(0)
