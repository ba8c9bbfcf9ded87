/**
 * One WebSocket from its opening to its end: frames in and out, and whether it is still alive.
 */

/** @typedef {{code: number, reason: string}} Ending */
/** @typedef {import("./roomful.js").Frame} Frame */

/** The link's own verdict, for what no close frame told: the browser keeps such codes to itself. */
const DEAD = 4000;

export class Link {
  #socket;
  #options;
  #openTimer;
  /** @type {ReturnType<typeof setInterval> | undefined} */ #pulse;
  /** Turns of the pulse without a word from the node. Counted, not timed: a hidden page's timers
   * come late, and must not take that for the node's silence. */
  #silentTurns = 0;
  #over = false;

  /**
   * @param {string} url
   * @param {{WebSocket: typeof WebSocket, pingMs: number, openMs: number}} options
   * @param {(frame: Frame) => void} onFrame
   * @param {(ending: Ending) => void} onEnd called once, unless the link is ended from here
   */
  constructor(url, options, onFrame, onEnd) {
    this.#options = options;
    this.onFrame = onFrame;
    this.onEnd = onEnd;
    this.#socket = new options.WebSocket(url, "roomful.v1.json");
    this.#socket.onmessage = (event) => this.#heard(event.data);
    this.#socket.onclose = (event) => this.#ended(event);
    this.#openTimer = setTimeout(() => this.#giveUp("No hello in time."), options.openMs);
  }

  /**
   * @param {Frame} frame
   * @returns {boolean} false: not sent, the socket is not open
   */
  send(frame) {
    if (this.#over || this.#socket.readyState !== 1) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  /** Find out soon whether anybody is there: the network changed, or the machine woke up. */
  probe() {
    if (!this.send({ type: "ping" })) return;
    this.#silentTurns = 1;
    this.#beat(this.#options.pingMs / 4);
  }

  /** End it from here; `onEnd` is not called. A dead network would delay the close for minutes, so
   * nobody waits for it. */
  end(code = 1000) {
    this.#over = true;
    clearTimeout(this.#openTimer);
    clearInterval(this.#pulse);
    this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close(code);
  }

  /** @param {string} text */
  #heard(text) {
    this.#silentTurns = 0;
    clearTimeout(this.#openTimer);
    if (this.#pulse === undefined) this.#beat(this.#options.pingMs);
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      return this.#giveUp("The node sent what is not JSON.");
    }
    this.onFrame(frame);
  }

  /** @param {number} every ms */
  #beat(every) {
    clearInterval(this.#pulse);
    this.#pulse = setInterval(() => this.#turn(every), every);
  }

  /** @param {number} every */
  #turn(every) {
    if (this.#silentTurns >= 2) return this.#giveUp("Nothing heard any more.");
    if (every !== this.#options.pingMs && this.#silentTurns === 0) this.#beat(this.#options.pingMs);
    this.#silentTurns += 1;
    this.send({ type: "ping" });
  }

  /** @param {string} reason */
  #giveUp(reason) {
    this.end(DEAD);
    this.onEnd({ code: DEAD, reason });
  }

  /** @param {Ending} ending */
  #ended({ code, reason }) {
    this.end();
    this.onEnd({ code, reason });
  }
}

/**
 * Call `listener` when the network or the page is back: better than the timers set before.
 *
 * @param {() => void} listener
 * @returns {() => void} stops it
 */
export function whenAwake(listener) {
  const stop = new AbortController();
  const { signal } = stop;
  const seen = () => document.visibilityState === "visible" && listener();
  globalThis.addEventListener?.("online", listener, { signal });
  globalThis.document?.addEventListener("visibilitychange", seen, { signal });
  return () => stop.abort();
}
