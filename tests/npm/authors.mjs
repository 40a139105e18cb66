// Four authors who edit a text, maps, lists and XML with Yjs, undo, work offline and meet: what a server gets of it.
//
// `node authors.mjs SEED COUNT` prints, as JSON, so many documents' updates in the order in which they come, each with
// whether it answers a step 1, and the text in the end.

import * as Y from 'yjs'

let s = Number(process.argv[2]); const docsN = Number(process.argv[3])
const rnd = () => { s = (s * 1664525 + 1013904223) >>> 0; s ^= s >>> 15; return (Math.imul(s, 2246822519) >>> 0) / 4294967296 }
const int = n => Math.floor(rnd() * n)
const pick = a => a[int(a.length)]
const out = []
for (let d = 0; d < docsN; d++) {
  const peers = []
  const server = [] // updates as they arrive
  for (let i = 0; i < 4; i++) {
    const doc = new Y.Doc({ gc: rnd() < 0.85 }); doc.clientID = 1 + int(1 << 30)
    const p = { doc, queue: [], undo: null, seen: 0 }
    doc.on('update', (u, origin) => { if (origin !== 'net') p.queue.push(u) })
    const scopes = [doc.getText('content'), doc.getMap('mindmap'), doc.getXmlFragment('default'), doc.getArray('list')]
    p.undo = new Y.UndoManager(scopes, { captureTimeout: 0 })
    peers.push(p)
  }
  const full = new Y.Doc() // what the server has, as honest Yjs
  function xmlPlace (doc) {
    let e = doc.getXmlFragment('default')
    while (rnd() < 0.6) {
      const kids = e.toArray().filter(k => k instanceof Y.XmlElement)
      if (!kids.length) break
      e = pick(kids)
    }
    return e
  }
  function edit (p) {
    const doc = p.doc; const t = doc.getText('content')
    switch (int(21)) {
      case 0: case 1: case 2: t.insert(int(t.length + 1), pick(['a', 'bcd', '東', 'word '])); break
      case 3: if (t.length) { const at = int(t.length); t.delete(at, Math.min(t.length - at, 1 + int(5))) } break
      case 4: if (t.length) { const at = int(t.length); t.format(at, Math.min(t.length - at, 1 + int(5)), { [pick(['bold', 'em'])]: pick([true, null]) }) } break
      case 5: t.insert(int(t.length + 1), 'F', { bold: true }); break
      case 6: doc.getMap('mindmap').set(pick('abc'), pick([1, 'x', null, { a: 1 }])); break
      case 7: { const m = doc.getMap('mindmap'); const k = pick('abc'); rnd() < 0.5 ? m.delete(k) : m.set(k, new Y.Array()); break }
      case 8: { for (const v of doc.getMap('mindmap').values()) if (v instanceof Y.Array) { v.insert(int(v.length + 1), [int(9), 'q']); if (rnd() < 0.3) v.delete(0, 1); break } break }
      case 9: case 10: { const e = xmlPlace(doc); const kid = new Y.XmlElement(pick(['p', 'li', 'ul'])); if (rnd() < 0.6) kid.insert(0, [new Y.XmlText('words')]); if (rnd() < 0.4) kid.setAttribute('level', '1'); e.insert(int(e.length + 1), [kid]); break }
      case 11: { const e = xmlPlace(doc); if (e.length) { const at = int(e.length); e.delete(at, Math.min(e.length - at, 1 + int(2))) } break }
      case 16: case 17: case 18: { const e = xmlPlace(doc); if (e instanceof Y.XmlElement) { const k = pick(['level','id']); e.setAttribute(k, String(int(9))); if (rnd()<0.6) e.setAttribute(k, String(int(9))); if (rnd()<0.2) e.removeAttribute(k) } break }
      case 19: case 20: rnd() < 0.5 ? p.undo.undo() : p.undo.redo(); break
      case 12: { const e = xmlPlace(doc); const x = e.toArray().find(k => k instanceof Y.XmlText); if (x) { x.insert(int(x.length + 1), 'hey'); if (rnd() < 0.4) x.format(0, 2, { bold: {} }); if (rnd() < 0.4) x.delete(0, 1) } else if (e instanceof Y.XmlElement) e.setAttribute(pick(['level', 'id']), String(int(9))); break }
      case 13: rnd() < 0.6 ? p.undo.undo() : p.undo.redo(); break
      case 14: { const l = doc.getArray('list'); l.insert(int(l.length + 1), [1, 'b']); if (rnd() < 0.4) l.delete(int(l.length), 1); break }
      case 15: doc.transact(() => { for (let i = 0; i < 4; i++) t.insert(int(t.length + 1), 'm'); if (t.length > 3) t.delete(int(t.length - 2), 2) }); break
    }
  }
  const log = []
  const send = (u, answer) => { log.push([Buffer.from(u).toString('base64'), answer]); Y.applyUpdate(full, u, 'net') }
  for (let n = 0; n < 60; n++) {
    const p = pick(peers)
    const k = 1 + int(6); for (let i = 0; i < k; i++) edit(p)
    const r = rnd()
    if (r < 0.55) { // online: sends and hears
      if (rnd() < 0.6 || p.offline) { // reconnects: step 2 against what the server has
        send(Y.encodeStateAsUpdate(p.doc, Y.encodeStateVector(full)), true); p.queue = []; p.offline = false
      } else if (rnd() < 0.3) { send(Y.mergeUpdates(p.queue), false); p.queue = [] }
      else { for (const u of p.queue) send(u, false); p.queue = [] }
      Y.applyUpdate(p.doc, Y.encodeStateAsUpdate(full, Y.encodeStateVector(p.doc)), 'net')
    } else if (r < 0.7) { // two meet without the server, as tabs of one browser do
      const q = pick(peers)
      if (q !== p) { Y.applyUpdate(q.doc, Y.encodeStateAsUpdate(p.doc, Y.encodeStateVector(q.doc)), 'net'); q.offline = true }
    } else if (r < 0.75) send(Y.encodeStateAsUpdate(p.doc), true)
  }
  out.push({ log, text: full.getText('content').toString() })
}
process.stdout.write(JSON.stringify(out))
