/**
 * What the client's modules share: events, errors, ids and the chance in a delay.
 */

/** An `EventTarget` whose listeners get an event's detail itself. */
export class Emitter extends EventTarget {
  /**
   * Call `listener` with the detail of each event of this `type`.
   *
   * @param {string} type
   * @param {(detail: any) => void} listener
   * @returns {() => void} stops it
   */
  on(type, listener) {
    const heard = (/** @type {Event} */ event) => listener(/** @type {CustomEvent} */ (event).detail);
    this.addEventListener(type, heard);
    return () => this.removeEventListener(type, heard);
  }

  /** @param {string} type @param {unknown} [detail] */
  emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** Something was not carried out. `code` is the node's, or one of the client's own:
 * `queue_full`, `left`, `closed`. `retry`: the same may succeed later, unchanged. */
export class RoomfulError extends Error {
  /**
   * @param {string} code
   * @param {string} message a sentence for people
   * @param {{retry?: boolean, retry_after_ms?: number}} [more]
   */
  constructor(code, message, { retry = false, retry_after_ms } = {}) {
    super(message);
    this.name = "RoomfulError";
    this.code = code;
    this.retry = retry;
    this.retryAfterMs = retry_after_ms;
  }

  /** @param {import("./roomful.js").Frame} frame the node's `error` */
  static of(frame) {
    const { code, message, ...more } = frame.error;
    return new RoomfulError(code, message, more);
  }
}

/**
 * A fresh id that nobody else has. `randomUUID` is missing where a page came over plain HTTP.
 *
 * @returns {string} at least 16 characters: the node then knows it across sessions
 */
export function newId() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Milliseconds before another attempt: anywhere between nothing and a ceiling that doubles, so
 * that many clients which lost the same node do not come back at the same moment.
 *
 * @param {number} attempt 0 for the first
 * @param {{base: number, cap: number}} backoff
 */
export function fullJitter(attempt, { base, cap }) {
  return Math.random() * Math.min(cap, base * 2 ** attempt);
}
