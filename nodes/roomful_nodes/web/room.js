/**
 * One room as this client has it: how far it has heard, who is there, what it says.
 *
 * The log of a room numbers its entries. A room remembers the last number it heard, and so notices
 * a double (dropped), a hole (it asks again from there) and what is lost for good (`gap`).
 */

import { Emitter, RoomfulError, fullJitter, newId } from "./events.js";

/** @typedef {import("./roomful.js").Frame} Frame */
/** @typedef {import("./roomful.js").Person} Person */
/** @typedef {import("./roomful.js").Sending} Sending */
/** @typedef {number | string} Since a seq, `"new"` or `"last:N"` */
/**
 * What a room needs of its client.
 *
 * @typedef {object} Wire
 * @property {(frame: Frame) => boolean} post
 * @property {(frame: Frame) => Promise<Frame>} ask
 * @property {(frame: Frame) => boolean} signal
 * @property {(room: Room) => void} listening
 * @property {(room: Room, error: RoomfulError) => void} gone
 */

const REJOIN = { base: 500, cap: 15_000 };
/** Joins from one and the same place that led to the same hole, before it is taken for a gap. */
const HEALINGS = 3;

/**
 * Events: `joined` {seq, epoch, recovered, gap, members, count}; `message` (a frame of the
 * application), `presence` (a frame), in the order of the log; `members` after any change of them;
 * `gap` {from, to, reason}: after the reasons `epoch` and `lost`, numbers begin anew; `left`; `error` (a `RoomfulError`: the join was refused).
 */
export class Room extends Emitter {
  #wire;
  /** @type {Since} */ #since;
  /** @type {string | null} */ #epoch = null;
  /** The seq of the last event heard; null before the first. @type {number | null} */
  #position = null;
  /** The seq at which the list of members was true. */
  #listedAt = 0;
  /** @type {Map<string, Person>} */ #members = new Map();
  /** @type {string | null} */ #joinId = null;
  #listening = false;
  #attempts = 0;
  #healings = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;

  /** How many connections are members; the list may hold only a sample of a large room. */
  count = 0;

  /** @param {string} name @param {Since} since @param {Wire} wire */
  constructor(name, since, wire) {
    super();
    this.name = name;
    this.#since = since;
    this.#wire = wire;
    if (typeof since === "number") this.#position = since;
    /** Settled by the first join: the room itself, or why it was refused. */
    this.ready = new Promise((resolve, reject) => {
      this.addEventListener("joined", () => resolve(this), { once: true });
      this.on("error", reject);
      this.on("left", () => reject(new RoomfulError("left", `${name} was left.`)));
    });
    this.ready.catch(() => {}); // those who wait for it hear of it; nobody has to
  }

  /** Whether what is sent now is sent at once. */
  get joined() {
    return this.#listening;
  }

  get members() {
    return [...this.#members.values()];
  }

  /** The seq of the last event heard. */
  get position() {
    return this.#position;
  }

  /**
   * Say something that all shall hear, however long it takes.
   *
   * @param {string} type with a dot in it
   * @param {unknown} data
   * @param {Sending} [how]
   * @returns {Promise<Frame>} the ack, with its `seq`; rejects with a `RoomfulError`
   */
  send(type, data, { id = newId(), to, echo } = {}) {
    return this.#wire.ask({ type, id, room: this.name, data, to, echo });
  }

  /**
   * Say something of the moment: heard by those who are there now, or never.
   *
   * @param {string} type
   * @param {unknown} data
   * @param {Omit<Sending, "id">} [how]
   * @returns {boolean} false: not connected, or too many already
   */
  signal(type, data, { to, echo } = {}) {
    const frame = { type, room: this.name, data, to, echo, ephemeral: true };
    return this.#listening && this.#wire.signal(frame);
  }

  /**
   * @param {{before?: number, after?: number, limit?: number}} [which] none: the newest
   * @returns {Promise<{events: Frame[], more: boolean}>}
   */
  async history(which = {}) {
    const frame = { type: "history", id: newId(), room: this.name, ...which };
    return (await this.#wire.ask(frame)).data;
  }

  /** @returns {Promise<{members: Person[], count: number}>} as the node has them now */
  async listMembers() {
    const frame = { type: "members", id: newId(), room: this.name };
    return (await this.#wire.ask(frame)).data;
  }

  leave() {
    this.#wire.post({ type: "leave", id: newId(), room: this.name });
    this.#quit(new RoomfulError("left", `${this.name} was left.`), "left");
  }

  /** Ask to hear everything after what was heard last. For the client. */
  join() {
    this.suspend();
    this.#joinId = newId();
    const from = { since: this.#position ?? this.#since, epoch: this.#epoch ?? undefined };
    this.#wire.post({ type: "join", id: this.#joinId, room: this.name, ...from });
  }

  /** Until the next `joined`, nothing is heard and nothing is sent. For the client. */
  suspend() {
    clearTimeout(this.#timer);
    this.#listening = false;
    this.#joinId = null;
  }

  /** @param {Frame} frame one of this room's. For the client. */
  heard(frame) {
    switch (frame.type) {
      case "joined":
        return frame.id === this.#joinId && this.#welcome(frame.data);
      case "error":
        return frame.id === this.#joinId && this.#refused(RoomfulError.of(frame));
      case "left":
        // With an id it answers a leave, of which nobody needs to hear.
        if (frame.id !== undefined) return undefined;
        return this.#quit(new RoomfulError("left", `No longer in ${this.name}.`), "left");
      case "gap":
        return this.#gap(frame.data);
      default:
        return this.#event(frame);
    }
  }

  /** @param {any} welcome */
  #welcome(welcome) {
    const { seq, epoch, gap, members, count } = welcome;
    const replaced = this.#epoch !== null && epoch !== this.#epoch;
    if (this.#position === null) this.#position = this.#since === "new" ? seq : null;
    // In another log, or in one whose end was lost with a disk, this goes on at the head.
    else this.#position = replaced ? seq : Math.min(gap?.to ?? this.#position, seq);
    this.#epoch = epoch;
    this.#listedAt = seq;
    this.#members = new Map(members.map((/** @type {Person} */ one) => [one.session, one]));
    this.count = count;
    this.#listening = true;
    this.#attempts = 0;
    this.emit("joined", welcome);
    this.emit("members", this.members);
    if (gap) this.emit("gap", gap);
    this.#wire.listening(this);
  }

  /** @param {RoomfulError} error */
  #refused(error) {
    this.suspend();
    if (!error.retry) return this.#quit(error, "error");
    const delay = error.retryAfterMs ?? fullJitter(this.#attempts, REJOIN);
    this.#attempts += 1;
    this.#timer = setTimeout(() => this.join(), delay);
  }

  /** @param {RoomfulError} error @param {"left" | "error"} event */
  #quit(error, event) {
    this.suspend();
    this.#members.clear();
    this.#wire.gone(this, error);
    this.emit(event, error);
  }

  /** @param {{from: number, to: number, reason: string, epoch?: string}} gap */
  #gap(gap) {
    this.emit("gap", gap);
    // With an `epoch`, numbers start over after `to`, whatever was heard before.
    this.#epoch = gap.epoch ?? this.#epoch;
    this.#position = gap.epoch ? gap.to : Math.max(this.#position ?? 0, gap.to);
  }

  /** @param {Frame} frame */
  #event(frame) {
    if (frame.seq === undefined) return this.emit("message", frame);
    // What comes between a lost place and the next `joined` will be told again after it.
    if (!this.#listening || frame.seq <= (this.#position ?? 0)) return undefined;
    if (this.#hole(frame)) return undefined;
    this.#position = frame.seq;
    if (frame.type !== "presence") return this.emit("message", frame);
    this.emit("presence", frame);
    return this.#count(frame);
  }

  /** @param {Frame} frame @returns {boolean} whether to ask again instead of hearing it */
  #hole({ seq, prev = seq - 1 }) {
    if (this.#position === null || prev <= this.#position) {
      this.#healings = 0;
      return false;
    }
    this.#healings += 1;
    if (this.#healings <= HEALINGS) {
      this.join();
      return true;
    }
    this.#healings = 0;
    this.#gap({ from: this.#position + 1, to: prev, reason: "unrecovered" });
    return false;
  }

  /** @param {Frame} presence */
  #count({ seq, data }) {
    if (seq <= this.#listedAt) return; // older than the list of members
    for (const one of data.joined ?? []) this.#members.set(one.session, one);
    for (const one of data.left ?? []) this.#members.delete(one.session);
    this.count = data.count ?? this.#members.size;
    this.emit("members", this.members);
  }
}
