// Waiting for something to become true: whoever changes something says so, and those who wait look again.

const looks = new Set()
let due = false

/** Something has changed. */
export function changed () {
  if (due) return
  due = true
  setImmediate(() => {
    due = false
    for (const look of [...looks]) look()
  })
}

/** Until `holds` gives something other than false, null and undefined, which is the answer. */
export function until (what, seconds, holds) {
  return new Promise((resolve, reject) => {
    const end = (finish, value) => {
      looks.delete(look)
      clearTimeout(timer)
      finish(value)
    }
    const look = () => {
      try {
        const found = holds()
        if (found !== false && found !== null && found !== undefined) end(resolve, found)
      } catch (error) {
        end(reject, error)
      }
    }
    const timer = setTimeout(() => end(reject, new Error(`waited ${seconds} s in vain until ${what()}`)), seconds * 1000)
    looks.add(look)
    look()
  })
}

/** Random numbers from 0 to 1, the same for the same seed. */
export function random (seed) {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }
}
