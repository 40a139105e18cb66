// The servers that these clients come with, to try the harness on, and to compare ours with.
//
// Prints where they listen, as a line of JSON, and ends with stdin. Neither keeps anything. A token "wrong" is refused,
// "reader" may only read. `--hocuspocus=PORT` and `--y-websocket=PORT` say where to listen. `--lossy` has the y-websocket
// server lose each fifth update: a mutant that must be found out.

import { createRequire } from 'node:module'
import { createServer } from 'node:http'
import { parseArgs } from 'node:util'

const require = createRequire(import.meta.url) // one Yjs for both: y-websocket's server is CommonJS
const { Server } = require('@hocuspocus/server')
const { WebSocketServer } = require('ws')
const { setupWSConnection } = require('y-websocket-2/bin/utils')

const HOST = '127.0.0.1'
const { values: wanted } = parseArgs({
  options: {
    hocuspocus: { type: 'string', default: '0' },
    'y-websocket': { type: 'string', default: '0' },
    lossy: { type: 'boolean', default: false }
  }
})

const hocuspocus = new Server({
  address: HOST,
  port: Number(wanted.hocuspocus),
  quiet: true,
  stopOnSignals: false,
  async onAuthenticate ({ token, connectionConfig }) {
    if (token === 'wrong') throw new Error('wrong token')
    connectionConfig.readOnly = token === 'reader'
  },
  async onStateless ({ payload, connection }) { connection.sendStateless(payload) }
})
await hocuspocus.listen()

const http = createServer()
const sockets = new WebSocketServer({ server: http })
let updates = 0

/** Whether to lose a message: of updates each fifth, and no handshake, which would mend it. */
function isLost (message) {
  const [kind, step] = new Uint8Array(message)
  return kind === 0 && step === 2 && ++updates % 5 === 0
}

sockets.on('connection', (socket, request) => {
  if (wanted.lossy) {
    const emit = socket.emit.bind(socket)
    socket.emit = (name, ...rest) => (name === 'message' && isLost(rest[0])) || emit(name, ...rest)
  }
  setupWSConnection(socket, request)
})
await new Promise(resolve => http.listen(Number(wanted['y-websocket']), HOST, resolve))

const url = server => `ws://${HOST}:${server.address().port}`
process.stdout.write(JSON.stringify({ hocuspocus: url(hocuspocus.httpServer), 'y-websocket': url(http) }) + '\n')
process.stdin.on('end', () => process.exit(0)).resume()
