/**
 * The browser's client: one connection to Roomful that comes back by itself and loses nothing.
 *
 *     const client = Roomful.connect("/ws", { name: "Ann" });
 *     const lobby = client.join("lobby", "last:50");
 *     lobby.on("message", ({ from, data }) => console.log(from.name, data.text));
 *     const { seq } = await lobby.send("chat.message", { text: "hi" });
 *
 * While the connection is away, durable messages wait and are sent under the same id afterwards;
 * every room goes on after the last event it heard.
 */

import { Emitter, RoomfulError, fullJitter, newId } from "./events.js";
import { Link, whenAwake } from "./link.js";
import { Outbox } from "./outbox.js";
import { Room } from "./room.js";

export { Room, RoomfulError, newId };

/** What crosses the wire, as `protocol/README.md` has it. @typedef {Record<string, any>} Frame */
/** @typedef {{user: string, name: string, session: string}} Person */
/** @typedef {{user: string} | {session: string}} Target */
/**
 * `to`: for these only. `echo: false`: for all but this session. `id`: one's own, 16 to 64
 * characters, to send the same message again later.
 *
 * @typedef {{id?: string, to?: Target | Target[], echo?: boolean}} Sending
 */
/** @typedef {"connecting" | "open" | "reconnecting" | "closed"} State */
/**
 * @typedef {object} Options
 * @property {string[]} [rooms] joined at once
 * @property {import("./room.js").Since} [since] from where they are heard; "new" if not said
 * @property {string} [name] how one is shown to others
 * @property {string} [user] who one is, where the node lets people say so themselves
 * @property {string | (() => string | Promise<string>)} [token] or where a fresh one comes from
 * @property {number} [capacity] messages that may wait for an answer; 500
 * @property {number} [pingMs] a sign of life is asked for this often; 20 s
 * @property {number} [openMs] for a connection to say hello; 10 s
 * @property {{base: number, cap: number}} [backoff] ms between attempts to connect; 300, 15 s
 * @property {typeof WebSocket} [WebSocket]
 */

const DEFAULTS = {
  since: /** @type {import("./room.js").Since} */ ("new"),
  name: "",
  capacity: 500,
  pingMs: 20_000,
  openMs: 10_000,
  backoff: { base: 300, cap: 15_000 },
};
/** Shorter connections than this (ms) do not count as a recovery: the delays go on growing. */
const STEADY = 10_000;
/** Resendings of a message that the node says is for a room we are not in. */
const STRAYS = 3;
const UNAUTHORIZED = 4500;

/**
 * Events: `state` {state, code, message}; `hello` (its data); `message` (targeted at this client,
 * outside any room); `lagging`; `error` (a `RoomfulError` that answers nothing in particular).
 */
export class Roomful extends Emitter {
  #url;
  /** @type {Options & typeof DEFAULTS & {WebSocket: typeof WebSocket}} */ #options;
  /** @type {State} */ #state = "closed";
  /** @type {Link | null} */ #link = null;
  /** @type {Frame | null} */ #hello = null;
  /** What resumes the session. @type {{session: string, secret: string} | null} */ #ticket = null;
  /** @type {Frame | null} */ #bye = null;
  /** @type {Map<string, Room>} */ #rooms = new Map();
  #outbox;
  #attempt = 0;
  #openedAt = Infinity;
  /** Of the newest attempt: an older one that still waits for its token stands back. */
  #turn = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;
  #unwatch = () => {};

  /** @param {string | URL} url of the node's `/ws`; may be relative @param {Options} [options] */
  static connect(url, options = {}) {
    const client = new Roomful(url, options);
    for (const room of options.rooms ?? []) client.join(room, options.since);
    client.open();
    return client;
  }

  /** @param {string | URL} url @param {Options} [options] */
  constructor(url, options = {}) {
    super();
    this.#url = new URL(url, globalThis.document?.baseURI);
    this.#url.protocol = this.#url.protocol.replace("http", "ws");
    this.#options = { ...DEFAULTS, WebSocket: globalThis.WebSocket, ...options };
    const post = (/** @type {Frame} */ frame) => this.#link?.send(frame) ?? false;
    const ready = (/** @type {string | undefined} */ room) =>
      this.#state === "open" && (room === undefined || (this.#rooms.get(room)?.joined ?? false));
    this.#outbox = new Outbox(this.#options.capacity, post, ready);
  }

  get state() {
    return this.#state;
  }

  /** The id that others know one by; the node may have chosen it. @type {string | null} */
  get user() {
    return this.#hello?.user ?? this.#options.user ?? null;
  }

  /** @type {string | null} */
  get session() {
    return this.#hello?.session ?? null;
  }

  /** @param {string} name @returns {Room | undefined} one that was joined */
  room(name) {
    return this.#rooms.get(name);
  }

  /** Begin, or begin again after `closed`. */
  open() {
    if (this.#state !== "closed") return;
    this.#attempt = 0;
    this.#enter(this.#hello ? "reconnecting" : "connecting");
    this.#unwatch = whenAwake(() =>
      this.#state === "open" ? this.#link?.probe() : this.#dial(),
    );
    this.#dial();
  }

  /** End it cleanly: others see one leave at once. What still waits is refused with `closed`. */
  close() {
    this.#link?.send({ type: "bye" });
    this.#link?.end();
    this.#ticket = null;
    this.#stop(1000, "Closed from here.");
  }

  /**
   * @param {string} name
   * @param {import("./room.js").Since} [since]
   * @returns {Room} at once; its `ready` says when it was joined
   */
  join(name, since = this.#options.since) {
    const present = this.#rooms.get(name);
    if (present) return present;
    const room = new Room(name, since, {
      post: (frame) => this.#link?.send(frame) ?? false,
      ask: (frame) => this.#outbox.add(frame),
      signal: (frame) => this.#signal(frame),
      listening: () => this.#outbox.flush(),
      gone: (gone, error) => this.#forget(gone, error),
    });
    this.#rooms.set(name, room);
    if (this.#state === "open") room.join();
    return room;
  }

  /**
   * Outside any room, to users or sessions wherever they are.
   *
   * @param {string} type
   * @param {unknown} data
   * @param {Sending & {to: Target | Target[]}} how
   * @returns {Promise<Frame>} the ack; `data.delivered` counts the connections reached
   */
  send(type, data, { id = newId(), to }) {
    return this.#outbox.add({ type, id, data, to });
  }

  /** Give the node a fresh token. @param {string} token */
  auth(token) {
    return this.#outbox.add({ type: "auth", id: newId(), token });
  }

  // -- the connection ------------------------------------------------------------------------------

  async #dial() {
    clearTimeout(this.#timer);
    this.#link?.end();
    this.#link = null;
    const turn = ++this.#turn;
    let token;
    try {
      const given = this.#options.token;
      token = typeof given === "function" ? await given() : given;
    } catch {
      if (turn === this.#turn) this.#later();
      return;
    }
    if (turn !== this.#turn || this.#state === "closed") return;
    this.#link = new Link(
      this.#address(token),
      this.#options,
      (frame) => this.#heard(frame),
      (ending) => this.#ended(ending),
    );
  }

  /** @param {string | undefined} token */
  #address(token) {
    const url = new URL(this.#url);
    const user = token ? undefined : this.user;
    const query = { name: this.#options.name, token, user, ...this.#ticket };
    for (const [key, value] of Object.entries(query)) if (value) url.searchParams.set(key, value);
    return url.href;
  }

  /** @param {import("./link.js").Ending} ending */
  #ended({ code, reason }) {
    this.#link = null;
    const bye = this.#bye;
    this.#bye = null;
    if (performance.now() - this.#openedAt > STEADY) this.#attempt = 0;
    this.#openedAt = Infinity;
    this.#outbox.lost();
    for (const room of this.#rooms.values()) room.suspend();
    // A session that the node no longer knows is no reason to stay away: a new one will do.
    const stale = code === UNAUTHORIZED && this.#ticket !== null && this.#state !== "open";
    if (stale || bye?.resume === false) this.#ticket = null;
    const final = (code >= 4500 && code <= 4999) || bye?.reconnect === false;
    if (final && !stale) return this.#stop(code, bye?.message ?? reason);
    this.#enter(this.#hello ? "reconnecting" : "connecting", code, bye?.message ?? reason);
    return this.#later(bye?.delay_ms);
  }

  /** Dial after a while. @param {[number, number]} [asked] ms: the window that the node asked for */
  #later(asked) {
    const [from, to] = asked ?? [0, 0];
    const spread = to > 0 ? from + Math.random() * (to - from) : 0;
    const delay = spread || fullJitter(this.#attempt, this.#options.backoff);
    this.#attempt += 1;
    this.#timer = setTimeout(() => this.#dial(), delay);
  }

  /** @param {number} code @param {string} message */
  #stop(code, message) {
    clearTimeout(this.#timer);
    this.#turn += 1;
    this.#link = null;
    this.#unwatch();
    for (const room of this.#rooms.values()) room.suspend();
    this.#enter("closed", code, message);
    this.#outbox.lost();
    this.#outbox.reject(new RoomfulError("closed", message || "The connection was closed."));
  }

  /** @param {State} state @param {number} [code] @param {string} [message] */
  #enter(state, code, message) {
    if (state === this.#state) return;
    this.#state = state;
    this.emit("state", { state, code, message });
  }

  // -- what is heard -------------------------------------------------------------------------------

  /** @param {Frame} frame */
  #heard(frame) {
    if (frame.type === "hello") return this.#welcome(frame.data);
    if (frame.type === "bye") return void (this.#bye = frame.data);
    if (frame.type === "lagging") return this.emit("lagging", frame.data);
    if (frame.type === "error" && this.#strayed(frame)) return undefined;
    if (frame.id !== undefined && this.#outbox.settle(frame)) return undefined;
    if (frame.room !== undefined) return this.#rooms.get(frame.room)?.heard(frame);
    if (frame.type === "error") return this.emit("error", RoomfulError.of(frame));
    return frame.type.includes(".") ? this.emit("message", frame) : undefined;
  }

  /** @param {Frame} hello */
  #welcome(hello) {
    this.#hello = hello;
    this.#ticket = { session: hello.session, secret: hello.secret };
    this.#openedAt = performance.now();
    this.#outbox.opened(hello.limits);
    this.#enter("open");
    this.emit("hello", hello);
    for (const room of this.#rooms.values()) room.join();
    this.#outbox.flush();
  }

  /** The node does not have us in a room that we are in: join again, then send that once more.
   * @param {Frame} frame */
  #strayed({ id, room: name, error }) {
    const room = this.#rooms.get(name);
    if (error.code !== "not_joined" || !room || this.#outbox.attempts(id) >= STRAYS) return false;
    if (room.joined) room.join();
    this.#outbox.again(id, 0);
    return true;
  }

  /** @param {Frame} frame */
  #signal(frame) {
    return this.#outbox.spend() && (this.#link?.send(frame) ?? false);
  }

  /** @param {Room} room @param {RoomfulError} error */
  #forget(room, error) {
    this.#rooms.delete(room.name);
    this.#outbox.reject(error, room.name);
  }
}
