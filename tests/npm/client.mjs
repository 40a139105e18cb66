// One client: a document, the provider that connects it, and what became of its connections.

import { readFileSync } from 'node:fs'
import { isDeepStrictEqual } from 'node:util'
import { HocuspocusProvider } from '@hocuspocus/provider'
import { HocuspocusProvider as HocuspocusProvider3 } from 'hocuspocus-provider-3'
import WebSocket from 'ws'
import { readAuthMessage } from 'y-protocols/auth'
import { Awareness } from 'y-protocols/awareness'
import { WebsocketProvider } from 'y-websocket'
import { WebsocketProvider as WebsocketProvider2 } from 'y-websocket-2'
import * as Y from 'yjs'
import { field } from './fields.mjs'
import { changed, random, until } from './waiting.mjs'

const HOCUSPOCUS = { hocuspocus: HocuspocusProvider, hocuspocus3: HocuspocusProvider3 }
const Y_WEBSOCKET = { 'y-websocket': WebsocketProvider, 'y-websocket2': WebsocketProvider2 }
const MOST_KEPT = 1000
const MOST_WORDS = 100_000
const MOST_BURST = 8
const MOST_WAITED = 50
const AUTH = 2

function keep (list, value) {
  if (list.length === MOST_KEPT) list.shift()
  list.push(value)
  changed()
}

export class Client {
  /** @param others the clients there are by name, one of which may share its socket. */
  constructor (name, others) {
    this.name = name
    this.others = others
    this.closes = []
    this.errors = []
    this.denied = []
    this.stateless = []
    this.socket = null
    this.made = 0
    this.typed = []
    this.acknowledgedWords = 0
    this.typing = null
  }

  async open (settings) {
    this.settings = settings
    if (!(settings.kind in HOCUSPOCUS || settings.kind in Y_WEBSOCKET)) throw new Error(`there is no client ${settings.kind}`)
    if (settings.shares !== undefined && !(settings.kind in HOCUSPOCUS)) throw new Error('only Hocuspocus shares sockets')
    this.doc ??= new Y.Doc()
    this.doc.on('update', changed)
    this.awareness = new Awareness(this.doc)
    this.awareness.on('update', changed)
    this.field = await field(settings.field ?? 'text', this)
    if (settings.kind in HOCUSPOCUS) this.#openHocuspocus(settings)
    else this.#openYWebsocket(settings)
  }

  #openHocuspocus ({ kind, url, document, offline, shares, options }) {
    const shared = shares === undefined
      ? { url, WebSocketPolyfill: this.#sockets(), autoConnect: !offline, delay: 100, minDelay: 100, maxDelay: 1000 }
      : { websocketProvider: this.others.get(shares).provider.configuration.websocketProvider }
    this.provider = new HOCUSPOCUS[kind]({
      ...shared,
      name: document,
      document: this.doc,
      awareness: this.awareness,
      token: () => this.settings.token ?? '',
      onAuthenticated: ({ scope }) => { this.scope = scope; changed() },
      onAuthenticationFailed: ({ reason }) => keep(this.denied, reason),
      onStateless: ({ payload }) => keep(this.stateless, payload),
      onSynced: changed,
      onStatus: changed,
      onUnsyncedChanges: ({ number }) => {
        if (number === 0) this.acknowledgedWords = this.typed.length
        changed()
      },
      ...options
    })
    if (shares !== undefined && !offline) this.provider.attach()
  }

  #openYWebsocket ({ kind, url, document, ticket, protocols, offline, options }) {
    const provider = new Y_WEBSOCKET[kind](url, document, this.doc, {
      awareness: this.awareness,
      connect: false,
      disableBc: true, // or clients of one process would meet without a server
      maxBackoffTime: 1000,
      params: ticket === undefined ? {} : { ticket },
      protocols: protocols ?? [],
      WebSocketPolyfill: this.#sockets(),
      ...options
    })
    const heard = provider.messageHandlers[AUTH]
    provider.messageHandlers[AUTH] = (encoder, decoder, ...rest) => { // it only prints it
      const at = decoder.pos
      readAuthMessage(decoder, this.doc, (_doc, reason) => keep(this.denied, reason))
      decoder.pos = at
      heard(encoder, decoder, ...rest)
    }
    provider.on('sync', changed)
    provider.on('status', changed)
    this.provider = provider
    if (!offline) provider.connect()
  }

  /** WebSockets that are made as the settings say, and are remembered. */
  #sockets () {
    const client = this
    return class extends WebSocket {
      constructor (url, protocols) {
        const { headers, origin, authority, protocols: own } = client.settings
        const ca = authority === undefined ? undefined : readFileSync(authority)
        super(url, protocols ?? own ?? [], { headers, origin, ca })
        client.socket = this
        this.on('close', (code, reason) => keep(client.closes, { code, reason: reason.toString() }))
        this.on('error', error => keep(client.errors, error.message || error.code))
      }
    }
  }

  get isHocuspocus () { return this.settings.kind in HOCUSPOCUS }

  get isSharing () { return this.settings.shares !== undefined }

  get unsynced () {
    if (!this.isHocuspocus) throw new Error('y-websocket is not told what is saved')
    return this.provider.unsyncedChanges
  }

  get acknowledged () { return this.typed.slice(0, this.acknowledgedWords) }

  get status () {
    if (this.isHocuspocus) return this.provider.configuration.websocketProvider.status
    return this.provider.wsconnected ? 'connected' : this.provider.wsconnecting ? 'connecting' : 'disconnected'
  }

  describe () {
    return {
      status: this.status,
      synced: this.provider.synced,
      scope: this.scope ?? null,
      client_id: this.doc.clientID,
      unsynced: this.isHocuspocus ? this.unsynced : null,
      closes: this.closes,
      errors: this.errors,
      denied: this.denied,
      stateless: this.stateless
    }
  }

  until (what, seconds, holds) {
    return until(() => `${this.name} ${what}: ${JSON.stringify(this.describe())}`, seconds, holds)
  }

  connect () {
    if (this.isSharing) this.provider.attach()
    else this.provider.connect()
  }

  async disconnect (seconds) {
    if (this.isSharing) return this.provider.detach()
    const socket = this.socket
    this.provider.disconnect()
    await this.#closed(socket, seconds)
  }

  /** Lose the network: the other side hears nothing but a reset. */
  async drop (seconds) {
    const socket = this.isSharing ? this.others.get(this.settings.shares).socket : this.socket
    if (socket === null || socket.readyState === WebSocket.CLOSED) return
    if (socket._socket && !socket._socket.encrypted) socket._socket.resetAndDestroy()
    else socket.terminate()
    await this.#closed(socket, seconds)
  }

  async #closed (socket, seconds) {
    if (socket === null || socket.readyState === WebSocket.CLOSED) return
    socket.once('close', changed)
    await this.until('is disconnected', seconds, () => socket.readyState === WebSocket.CLOSED && this.status !== 'connected')
  }

  /** The same document on a new connection; `fresh` is a new start of the application, from what it had stored. */
  async reopen ({ fresh = false, ...settings }) {
    await this.close()
    if (fresh) {
      const stored = Y.encodeStateAsUpdate(this.doc)
      this.doc.destroy()
      this.doc = new Y.Doc()
      Y.applyUpdate(this.doc, stored)
    } else {
      this.doc.off('update', changed)
    }
    await this.open({ ...this.settings, ...settings })
  }

  /** Leave, but keep the document. */
  async close () {
    this.stopTyping()
    this.field.destroy()
    this.provider.destroy()
    this.awareness.destroy()
    if (this.isHocuspocus && !this.isSharing) { // 3.x comes back once more, when it was about to
      this.provider.configuration.websocketProvider.connect = async () => {}
    }
    const socket = this.isSharing ? null : this.socket
    if (socket !== null && socket.readyState !== WebSocket.CLOSED) {
      socket.once('close', changed)
      await until(() => `${this.name} is closed`, 10, () => socket.readyState === WebSocket.CLOSED).catch(() => socket.terminate())
    }
  }

  async destroy () {
    await this.close()
    this.doc.destroy()
  }

  /** A word that nobody else has; each third is no ASCII, and not of the Basic Multilingual Plane either. */
  word (place) {
    if (this.made === MOST_WORDS) throw new Error('too many words')
    const word = `(${this.name}.${++this.made}${this.made % 3 === 0 ? '😀é' : ''})`
    this.typed.push(word) // before it is sent, as it may be acknowledged at once
    this.field.word(word, place)
    changed()
    return word
  }

  /** Words in bursts; after each, wait a while to hear that it is saved: all would never be, for who types on and on. */
  type (words, milliseconds, seed) {
    this.stopTyping()
    const chance = random(seed)
    let left = words
    let burst = 0
    let waited = 0
    this.typing = setInterval(() => {
      if (left === 0) return this.stopTyping()
      if (burst === 0) {
        if (this.isHocuspocus && this.acknowledgedWords < this.typed.length && ++waited < MOST_WAITED) return
        burst = 1 + Math.floor(chance() * MOST_BURST)
        waited = 0
      }
      burst--
      left--
      this.word(chance())
    }, milliseconds)
  }

  stopTyping () {
    clearInterval(this.typing)
    this.typing = null
    changed()
  }

  /** Whether another client's presence has `field` as `value`. */
  sees (field, value) {
    return [...this.awareness.getStates()].some(
      ([id, state]) => id !== this.doc.clientID && isDeepStrictEqual(state[field], value)
    )
  }
}
