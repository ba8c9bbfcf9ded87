/**
 * What was asked and not yet answered: kept over lost connections, sent again under the same id.
 *
 * Everything in it may be repeated: reads change nothing, and a durable message takes effect once
 * per id. Ephemeral messages never come here.
 */

import { RoomfulError, fullJitter } from "./events.js";

/** @typedef {import("./roomful.js").Frame} Frame */
/**
 * @typedef {object} Waiting
 * @property {Frame} frame
 * @property {boolean} sent over the present connection
 * @property {number} attempts refused so far, though worth another try
 * @property {number} notBefore ms, as `performance.now` counts
 * @property {(answer: Frame) => void} resolve
 * @property {(error: Error) => void} reject
 */

const RETRY = { base: 500, cap: 15_000 };
/** Below the node's own rate, because what was sent evenly may arrive in a bunch. */
const SHARE = 0.8;

export class Outbox {
  /** In the order in which they were asked. @type {Map<string, Waiting>} */
  #waiting = new Map();
  /** @type {Limits | null} */ #limits = null;
  #tokens = 0;
  #filledAt = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;

  /** @typedef {{message_bytes: number, messages_per_s: number, burst: number}} Limits */

  /**
   * @param {number} capacity further ones are refused with `queue_full`
   * @param {(frame: Frame) => boolean} post
   * @param {(room: string | undefined) => boolean} ready may be sent there now?
   */
  constructor(capacity, post, ready) {
    this.capacity = capacity;
    this.post = post;
    this.ready = ready;
  }

  /**
   * @param {Frame} frame with an `id`
   * @returns {Promise<Frame>} the node's answer; rejects with a `RoomfulError`
   */
  add(frame) {
    if (this.#waiting.size >= this.capacity) {
      return Promise.reject(new RoomfulError("queue_full", "Too much is waiting to be sent."));
    }
    return new Promise((resolve, reject) => {
      const waiting = { frame, sent: false, attempts: 0, notBefore: 0, resolve, reject };
      this.#waiting.set(frame.id, waiting);
      this.flush();
    });
  }

  /** A connection is open, and this is what its node allows. @param {Limits} limits */
  opened(limits) {
    this.#limits = limits;
    this.#tokens = limits.burst * SHARE;
    this.#filledAt = performance.now();
  }

  /** The connection is gone: what was sent over it may not have arrived. */
  lost() {
    this.#limits = null;
    clearTimeout(this.#timer);
    for (const waiting of this.#waiting.values()) waiting.sent = false;
  }

  /** Send what is due, each room's in order. */
  flush() {
    clearTimeout(this.#timer);
    if (!this.#limits) return;
    const now = performance.now();
    const held = new Set();
    let wait = Infinity;
    for (const waiting of this.#waiting.values()) {
      const { room } = waiting.frame;
      if (waiting.sent || held.has(room) || !this.ready(room)) continue;
      const due = Math.max(waiting.notBefore - now, this.#untilToken(now));
      if (due > 0) {
        held.add(room);
        wait = Math.min(wait, due);
      } else if (this.#fits(waiting)) {
        waiting.sent = this.post(waiting.frame);
        this.#tokens -= 1;
      }
    }
    if (wait < Infinity) this.#timer = setTimeout(() => this.flush(), wait);
  }

  /** One message less may be sent now. @returns {boolean} false: none was left */
  spend() {
    if (this.#untilToken(performance.now()) > 0) return false;
    this.#tokens -= 1;
    return true;
  }

  /**
   * @param {Frame} frame an answer
   * @returns {boolean} whether it answered something of this outbox
   */
  settle(frame) {
    const waiting = this.#waiting.get(frame.id);
    if (!waiting) return false;
    if (frame.type === "error" && frame.error.retry) {
      this.again(frame.id, frame.error.retry_after_ms);
    } else {
      this.#waiting.delete(frame.id);
      if (frame.type === "error") waiting.reject(RoomfulError.of(frame));
      else waiting.resolve(frame);
    }
    return true;
  }

  /** Send this one again, after a while. @param {string} id @param {number} [afterMs] */
  again(id, afterMs) {
    const waiting = this.#waiting.get(id);
    if (!waiting) return;
    const delay = afterMs ?? fullJitter(waiting.attempts, RETRY);
    waiting.sent = false;
    waiting.attempts += 1;
    waiting.notBefore = performance.now() + delay;
    this.flush();
  }

  /** @param {string} id */
  attempts(id) {
    return this.#waiting.get(id)?.attempts ?? 0;
  }

  /** Nothing more comes of these. @param {Error} error @param {string} [room] none: all */
  reject(error, room) {
    for (const [id, waiting] of this.#waiting) {
      if (room !== undefined && waiting.frame.room !== room) continue;
      this.#waiting.delete(id);
      waiting.reject(error);
    }
  }

  /** @param {Waiting} waiting */
  #fits({ frame, reject }) {
    const most = this.#limits?.message_bytes ?? Infinity;
    const text = JSON.stringify(frame);
    // Only a long one needs counting: a character takes at most three bytes of UTF-8.
    if (text.length * 3 <= most || new TextEncoder().encode(text).length <= most) return true;
    // The node would close the connection over it, again and again.
    this.#waiting.delete(frame.id);
    reject(new RoomfulError("too_big", `A message has at most ${most} bytes.`));
    return false;
  }

  /** @param {number} now @returns {number} ms */
  #untilToken(now) {
    if (!this.#limits) return Infinity;
    const perMs = (this.#limits.messages_per_s * SHARE) / 1000;
    const filled = this.#tokens + (now - this.#filledAt) * perMs;
    this.#tokens = Math.min(filled, this.#limits.burst * SHARE);
    this.#filledAt = now;
    return this.#tokens >= 1 ? 0 : (1 - this.#tokens) / perMs;
  }
}
