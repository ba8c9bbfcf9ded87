/**
 * One row of the conversation each: a message, comings and goings, or a gap.
 */

import { avatar, dayName, dayOf, element, linked, onlyEmoji, timeOfDay } from "./text.js";

/** @typedef {import("./roomful.js").Frame} Frame */
/** @typedef {"sent" | "pending" | "failed"} Fate */

/** A longer pause than this (ms) begins a new group of the same sender. */
const PAUSE = 5 * 60_000;

/** What all rows have: a place in the order, and a day above it where one begins. */
export class Row {
  /** @param {string} kind @param {number} seq Infinity: not yet known @param {number} ts */
  constructor(kind, seq, ts) {
    this.kind = kind;
    this.seq = seq;
    this.ts = ts;
    this.day = element("div", "day");
    this.node = element("li", `row ${kind}`, this.day);
  }

  /** Fit it to what stands before it. @param {Row | undefined} previous */
  follow(previous) {
    const starts = !previous || dayOf(previous.ts) !== dayOf(this.ts);
    this.node.classList.toggle("newday", starts);
    this.day.textContent = starts ? dayName(this.ts) : "";
    this.node.classList.toggle("first", starts || !this.continues(previous));
  }

  /** Whether it belongs to the same group. @param {Row | undefined} _previous */
  continues(_previous) {
    return false;
  }
}

/** What somebody said, aloud or as a whisper. */
export class MessageRow extends Row {
  /**
   * @param {Frame} event `seq` is missing while it is on its way
   * @param {boolean} mine
   */
  constructor(event, mine) {
    const whisper = event.type === "chat.whisper";
    super(whisper ? "whisper" : "said", event.seq ?? Infinity, event.ts);
    this.from = event.from ?? { user: "", name: "The room" };
    this.text = String(event.data?.text ?? "");
    /** @type {{user: string, name: string} | null} */
    this.aim = whisper ? (event.data?.to ?? null) : null;
    this.mine = mine;
    this.note = element("div", "note");
    this.time = timeOfDay(this.ts);
    this.node.classList.toggle("mine", mine);
    this.node.append(this.#message());
    this.become(event.seq === undefined ? "pending" : "sent");
  }

  #message() {
    const name = element("span", "name", this.from.name);
    name.dir = "auto";
    const bubble = element("div", "bubble", linked(this.text));
    bubble.dir = "auto";
    bubble.classList.toggle("emoji", onlyEmoji(this.text));
    const head = element("div", "head", name, this.time);
    const body = element("div", "body", head, bubble, this.note);
    return element("div", "message", avatar(this.from.user, this.from.name), body);
  }

  /** @param {Row | undefined} previous */
  continues(previous) {
    return (
      previous instanceof MessageRow &&
      previous.from.user === this.from.user &&
      previous.from.name === this.from.name &&
      previous.mine === this.mine &&
      previous.kind === this.kind &&
      this.ts - previous.ts < PAUSE
    );
  }

  /** It is in the log now. @param {number} seq @param {number} [ts] */
  land(seq, ts = this.ts) {
    this.seq = seq;
    this.ts = ts;
    const time = timeOfDay(ts);
    this.time.replaceWith(time);
    this.time = time;
    this.become("sent");
  }

  /** @param {Fate} fate @param {...(Node | string)} why */
  become(fate, ...why) {
    this.fate = fate;
    this.node.classList.toggle("pending", fate === "pending");
    this.node.classList.toggle("failed", fate === "failed");
    if (fate === "pending") this.note.replaceChildren("Sending…");
    else if (fate === "failed") this.note.replaceChildren(...why);
    else this.note.replaceChildren(this.#whispered());
  }

  #whispered() {
    if (this.kind !== "whisper") return "";
    if (!this.mine) return "whispered to you";
    const name = element("bdi", "", this.aim?.name ?? "somebody");
    return element("span", "", "whispered to ", name);
  }
}

/** Who came and went; what follows on another joins it. */
export class PresenceRow extends Row {
  /** @type {{seq: number, user: string, name: string, came: boolean}[]} */ #changes = [];

  /** @param {Frame} event */
  constructor(event) {
    super("came", event.seq, event.ts);
    this.notice = element("p", "notice");
    this.node.append(this.notice);
    this.take(event);
  }

  /** @param {Frame} event of presence, next to those it has already */
  take({ seq, data }) {
    const changed = (/** @type {Frame} */ one, /** @type {boolean} */ came) =>
      this.#changes.push({ seq, user: one.user, name: one.name, came });
    for (const one of data.joined ?? []) changed(one, true);
    for (const one of data.left ?? []) changed(one, false);
    this.seq = Math.min(this.seq, seq);
    this.#changes.sort((one, other) => one.seq - other.seq);
    this.notice.replaceChildren(...this.#words());
    this.notice.hidden = this.#changes.length === 0;
  }

  #words() {
    /** @type {Map<string, {name: string, was: boolean, is: boolean}>} */
    const people = new Map();
    for (const { user, name, came } of this.#changes) {
      const known = people.get(user);
      people.set(user, { name, was: known?.was ?? !came, is: came });
    }
    return [...people.values()].flatMap(({ name, was, is }, index) => [
      index ? " · " : "",
      element("bdi", "", name),
      was === is ? (is ? " came back" : " came and went") : is ? " joined" : " left",
    ]);
  }
}

/** Something was said that nobody can be shown any more. */
export class GapRow extends Row {
  /** @param {number} seq @param {number} ts @param {boolean} anew the whole room began anew */
  constructor(seq, ts, anew) {
    super("gap", seq, ts);
    const words = anew
      ? "The room began anew here; some messages may be missing."
      : "Some messages are no longer kept.";
    this.node.append(element("p", "notice", words));
  }
}
