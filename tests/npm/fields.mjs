// What a client edits, and with what: a Y.Text alone, or an editor that is bound to the document.
//
// Words stand in parentheses, and are put beside each other and struck out whole only, so that each can be told to be
// there once or not at all, whoever else edits. CodeMirror and TipTap run in jsdom, which is loaded when they are.

import * as Y from 'yjs'

const WORD = /\([^()]*\)/g

/** The Y.Text of Markdown, edited directly. */
class TextField {
  constructor (client) {
    this.doc = client.doc
    this.shared = client.doc.getText('content')
  }

  insert (at, text) { this.shared.insert(at, text) }

  delete (at, length) { this.shared.delete(at, length) }

  read () { return this.shared.toString() }

  /** Where some text begins; -1 when it is not there. */
  find (text) { return this.read().indexOf(text) }

  relative (at, assoc) { return Y.createRelativePositionFromTypeIndex(this.shared, at, assoc) }

  absolute (position) { return Y.createAbsolutePositionFromRelativePosition(position, this.doc)?.index }

  /** Put a word somewhere: `place` is from 0 to 1. */
  word (word, place) {
    const places = [0, ...Array.from(this.read().matchAll(WORD), found => found.index + found[0].length)]
    this.insert(places[Math.floor(place * places.length)], word)
  }

  /** Strike some word out: which one, or null when there is none. */
  strike (place) {
    const words = Array.from(this.read().matchAll(WORD))
    if (words.length === 0) return null
    const struck = words[Math.floor(place * words.length)]
    this.delete(struck.index, struck[0].length)
    return struck[0]
  }

  destroy () {}
}

/** The same in CodeMirror: what is done is done in the editor, and the binding takes it over. */
class CodeMirrorField extends TextField {
  constructor (client, { EditorState, EditorView, yCollab }) {
    super(client)
    const state = EditorState.create({ doc: super.read(), extensions: [yCollab(this.shared, client.awareness)] })
    this.view = new EditorView({ state, parent: globalThis.document.body })
  }

  insert (at, text) {
    this.view.dispatch({ changes: { from: at, insert: text }, selection: { anchor: at + text.length } })
  }

  delete (at, length) { this.view.dispatch({ changes: { from: at, to: at + length } }) }

  read () { return this.view.state.doc.toString() }

  destroy () { this.view.destroy() }
}

/** The Y.XmlFragment of rich text in TipTap: places are ProseMirror's, and each word is a paragraph. */
class TipTapField {
  constructor (client, { Editor, extensions, places }) {
    this.doc = client.doc
    this.places = places
    this.editor = new Editor({ element: globalThis.document.createElement('div'), extensions: extensions(client.doc) })
  }

  insert (at, text) { this.command('insertContentAt', [at, text]) }

  delete (at, length) { this.command('deleteRange', [{ from: at, to: at + length }]) }

  read () { return this.editor.getText() }

  find (text) {
    let found = -1
    this.editor.state.doc.descendants((node, at) => {
      if (found < 0 && node.isText && node.text.includes(text)) found = at + node.text.indexOf(text)
    })
    return found
  }

  relative (at) {
    const { type, binding } = this.places.ySyncPluginKey.getState(this.editor.state)
    return this.places.absolutePositionToRelativePosition(at, type, binding.mapping)
  }

  absolute (position) {
    const { type, binding } = this.places.ySyncPluginKey.getState(this.editor.state)
    return this.places.relativePositionToAbsolutePosition(this.doc, type, position, binding.mapping)
  }

  command (name, args) {
    if (!(name in this.editor.commands)) throw new Error(`TipTap has no command ${name}`)
    if (!this.editor.commands[name](...args)) throw new Error(`TipTap could not do ${name}`)
  }

  blocks () {
    const found = []
    this.editor.state.doc.forEach((node, offset) => found.push({ at: offset, end: offset + node.nodeSize, text: node.textContent }))
    return found
  }

  word (word, place) {
    const places = [0, ...this.blocks().map(block => block.end)]
    const paragraph = { type: 'paragraph', content: [{ type: 'text', text: word }] }
    this.command('insertContentAt', [places[Math.floor(place * places.length)], paragraph])
  }

  strike (place) {
    const words = this.blocks().filter(block => /^\([^()]*\)$/.test(block.text))
    if (words.length < 2) return null // y-tiptap passes over a first edit that leaves a document empty
    const { at, end, text } = words[Math.floor(place * words.length)]
    this.delete(at, end - at)
    return text
  }

  destroy () { this.editor.destroy() }
}

let loading = null

/** A window for editors; it lays nothing out. */
async function openWindow () {
  const { JSDOM, VirtualConsole } = await import('jsdom')
  const virtualConsole = new VirtualConsole()
  virtualConsole.on('jsdomError', error => { // what an editor threw when nobody could catch it
    if (error.type !== 'not-implemented') setImmediate(() => { throw error.cause ?? error })
  })
  const { window } = new JSDOM('<!doctype html><body></body>', { pretendToBeVisual: true, virtualConsole })
  const rectangle = () => ({ top: 0, left: 0, bottom: 0, right: 0, width: 0, height: 0, x: 0, y: 0 })
  window.Range.prototype.getClientRects = () => []
  window.Range.prototype.getBoundingClientRect = rectangle
  window.document.elementFromPoint = () => null
  const names = [
    'document', 'window', 'Window', 'MutationObserver', 'Node', 'Element', 'HTMLElement', 'Text', 'Range', 'DOMParser', 'Selection',
    'XMLSerializer', 'DocumentFragment', 'getSelection', 'getComputedStyle', 'requestAnimationFrame', 'cancelAnimationFrame',
    'innerHeight', 'innerWidth'
  ]
  for (const name of names) {
    const value = name === 'window' ? window : window[name]
    globalThis[name] = typeof value === 'function' && /^[a-z]/.test(name) ? value.bind(window) : value
  }
}

async function load () {
  await openWindow()
  const [state, view, binding, tiptap, kit, collaboration, table, list, image, mention, places] = await Promise.all([
    import('@codemirror/state'), import('@codemirror/view'), import('y-codemirror.next'),
    import('@tiptap/core'), import('@tiptap/starter-kit'), import('@tiptap/extension-collaboration'),
    import('@tiptap/extension-table'), import('@tiptap/extension-list'), import('@tiptap/extension-image'),
    import('@tiptap/extension-mention'), import('@tiptap/y-tiptap')
  ])
  return {
    EditorState: state.EditorState,
    EditorView: view.EditorView,
    yCollab: binding.yCollab,
    Editor: tiptap.Editor,
    places,
    extensions: document => [
      kit.StarterKit.configure({ undoRedo: false }), // Collaboration has its own
      collaboration.Collaboration.configure({ document }), // in the fragment `default`
      table.TableKit, list.TaskList, list.TaskItem.configure({ nested: true }),
      image.Image.configure({ inline: true }), mention.Mention
    ]
  }
}

/** What `client` edits. */
export async function field (kind, client) {
  if (kind === 'text') return new TextField(client)
  if (kind !== 'codemirror' && kind !== 'tiptap') throw new Error(`there is no field ${kind}`)
  loading ??= load()
  const libraries = await loading
  return kind === 'codemirror' ? new CodeMirrorField(client, libraries) : new TipTapField(client, libraries)
}
