/**
 * A WebSocket whose other end is the test: what the client sends is kept, what it hears is said.
 */

export class FakeSocket {
  /** In the order in which the client opened them. @type {FakeSocket[]} */
  static all = [];

  static get last() {
    return FakeSocket.all[FakeSocket.all.length - 1];
  }

  /** @param {string} url */
  constructor(url) {
    this.query = new URL(url).searchParams;
    this.readyState = 0;
    /** @type {any[]} */ this.sent = [];
    /** @type {((event: any) => void) | null} */ this.onmessage = null;
    /** @type {((event: any) => void) | null} */ this.onclose = null;
    FakeSocket.all.push(this);
  }

  /** @param {string} text */
  send(text) {
    this.sent.push(JSON.parse(text));
  }

  close() {
    this.readyState = 3;
  }

  /** What was sent of this type. @param {string} type */
  of(type) {
    return this.sent.filter((frame) => frame.type === type);
  }

  /** @param {object} frame */
  says(frame) {
    this.onmessage?.({ data: JSON.stringify(frame) });
  }

  /** @param {object} [more] */
  hello(more) {
    this.readyState = 1;
    const limits = { message_bytes: 65_536, messages_per_s: 50, burst: 100, rooms: 128 };
    const data = { session: "n1-s1", secret: "sss", user: "ann", name: "Ann", limits, ...more };
    this.says({ type: "hello", data });
  }

  /** Answer the newest join. @param {number} seq the room's head @param {object} [more] */
  joined(seq, more) {
    const { id, room } = this.of("join").at(-1);
    const members = [{ user: "ann", name: "Ann", session: "n1-s1" }];
    const data = { epoch: "e1", seq, recovered: true, gap: null, members, count: 1, ...more };
    this.says({ type: "joined", id, room, data });
  }

  /** An event of the room "lobby". @param {number} seq @param {object} [more] */
  event(seq, more) {
    const from = { user: "ben", name: "Ben", session: "n1-s2" };
    const data = { text: `message ${seq}` };
    this.says({ type: "chat.message", room: "lobby", seq, ts: 1, from, data, ...more });
  }

  /** The connection breaks. @param {number} [code] */
  drop(code = 1006) {
    this.readyState = 3;
    this.onclose?.({ code, reason: "" });
  }
}

/** @param {() => unknown} condition @param {string} what it is that should come true */
export async function until(condition, what) {
  const deadline = performance.now() + 5000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`It did not happen: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** @param {unknown} actual @param {unknown} expected */
export function equal(actual, expected) {
  const [is, should] = [JSON.stringify(actual), JSON.stringify(expected)];
  if (is !== should) throw new Error(`${is} is not ${should}`);
}
