/**
 * The conversation on the page: rows in the order of the log, what is still on its way at its end.
 */

import { Emitter } from "./events.js";
import { GapRow, MessageRow, PresenceRow, Row } from "./rows.js";
import { element, find } from "./text.js";

/** @typedef {import("./roomful.js").Frame} Frame */

/** Rows beyond this many are dropped at the top, and loaded again when somebody scrolls there. */
const MOST = 600;
/** Closer to an end than this (px) counts as there. */
const NEAR = 80;
/** When nothing new came for so long (ms), what fits the page is there. */
const SETTLED = 200;

/** Events: `older` {before}: somebody looks for what was said before that seq; `retry` (a row). */
export class Timeline extends Emitter {
  #scroller = find("#scroller");
  #log = find("#log");
  #beginning = find("#beginning");
  #newest = find("#newest");
  /** @type {Row[]} */ #rows = [];
  /** @type {Set<number>} */ #seqs = new Set();
  /** @type {Map<string, MessageRow>} */ #pending = new Map();
  #more = true;
  #loading = false;
  #pinned = true;
  #scrolling = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #settled;

  /** @param {() => string | null} me the user whose messages are one's own */
  constructor(me) {
    super();
    this.me = me;
    this.#scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.#newest.addEventListener("click", () => this.toEnd());
    new ResizeObserver(() => this.#pinned && this.toEnd()).observe(this.#scroller);
  }

  /** The lowest seq on the page. */
  get oldest() {
    return this.#seqs.size ? Math.min(...this.#seqs) : undefined;
  }

  clear() {
    this.#rows = [];
    this.#seqs.clear();
    this.#pending.clear();
    this.#more = true;
    this.#loading = false;
    this.#pinned = true;
    this.#log.replaceChildren();
    this.#beginning.hidden = true;
    this.#newest.hidden = true;
  }

  toEnd() {
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#newest.hidden = true;
  }

  /** An event of the log; one that is on the page already is not shown twice. @param {Frame} event */
  add(event) {
    if (this.#seqs.has(event.seq)) return;
    this.#seqs.add(event.seq);
    const pending = event.type === "presence" ? undefined : this.#own(event);
    if (pending) {
      pending.land(event.seq, event.ts);
      this.#move(pending);
    } else {
      this.#insert(event);
    }
    this.#grown(event);
  }

  /** One's own message, before the node has it. @param {string} id @param {Frame} event */
  await(id, event) {
    const row = new MessageRow(event, true);
    this.#pending.set(id, row);
    this.#place(row);
    this.toEnd();
  }

  /** @param {string} id @param {number} seq */
  landed(id, seq) {
    const row = this.#pending.get(id);
    this.#pending.delete(id);
    if (!row || row.fate === "sent") return;
    if (this.#seqs.has(seq)) return this.#remove(row); // its event was there before the ack
    this.#seqs.add(seq);
    row.land(seq);
    this.#move(row);
  }

  /** @param {string} id @param {string} why a sentence */
  failed(id, why) {
    const row = this.#pending.get(id);
    this.#pending.delete(id);
    if (!row) return;
    const retry = element("button", "", "Send again");
    const discard = element("button", "", "Discard");
    retry.addEventListener("click", () => (this.#remove(row), this.emit("retry", row)));
    discard.addEventListener("click", () => this.#remove(row));
    row.become("failed", `${why} `, retry, discard);
    if (this.#pinned) this.toEnd();
  }

  /** @param {{from: number, to: number, reason: string}} gap */
  gap({ from, to, reason }) {
    if (this.#seqs.size === 0 || to < from) return;
    const anew = reason === "epoch" || reason === "lost";
    if (anew) this.#forgetSeqs();
    this.#place(new GapRow(anew ? 0 : to, this.#rows.at(-1)?.ts ?? Date.now(), anew));
  }

  /** What is there stays, before all that comes; its numbers may now be given to other events. */
  #forgetSeqs() {
    for (const row of this.#rows) if (row.seq < Infinity) row.seq = 0;
    this.#seqs.clear();
    this.#more = false;
  }

  /** Events before all others, in order. @param {Frame[]} events @param {boolean} more */
  prepend(events, more) {
    const { scrollHeight, scrollTop } = this.#scroller;
    this.#log.ariaBusy = "true"; // nobody wants the past read aloud
    for (const event of events) {
      if (this.#seqs.has(event.seq)) continue;
      this.#seqs.add(event.seq);
      this.#insert(event);
    }
    this.#log.ariaBusy = "false";
    this.#loading = false;
    if (!more || events.length === 0) this.#begun();
    this.#scroller.scrollTop = scrollTop + this.#scroller.scrollHeight - scrollHeight;
    this.fill();
  }

  /** The older events did not come. */
  unavailable() {
    this.#loading = false;
  }

  /** Ask for older events as long as there is room for them. */
  fill() {
    const before = this.oldest;
    if (!this.#more || this.#loading || this.#scroller.scrollTop > NEAR || !before) return;
    if (before === 1) return this.#begun();
    this.#loading = true;
    this.emit("older", { before });
  }

  #begun() {
    this.#more = false;
    this.#beginning.hidden = false;
  }

  /** @param {Frame} event */
  #insert(event) {
    if (event.type !== "presence") {
      return this.#place(new MessageRow(event, event.from?.user === this.me()));
    }
    const index = this.#indexOf(event.seq);
    const neighbours = [this.#rows[index - 1], this.#rows[index]];
    const near = neighbours.find((row) => row instanceof PresenceRow);
    if (near instanceof PresenceRow) return near.take(event);
    return this.#place(new PresenceRow(event));
  }

  /** @param {Row} row */
  #place(row) {
    const index = this.#indexOf(row.seq);
    this.#log.insertBefore(row.node, this.#rows[index]?.node ?? null);
    this.#rows.splice(index, 0, row);
    this.#refit(index);
  }

  /** @param {Row} row */
  #remove(row) {
    const index = this.#rows.indexOf(row);
    if (index < 0) return;
    this.#rows.splice(index, 1);
    row.node.remove();
    this.#refit(index);
  }

  /** Its seq is known now. @param {Row} row */
  #move(row) {
    const index = this.#rows.indexOf(row);
    const [previous, next] = [this.#rows[index - 1], this.#rows[index + 1]];
    // Mostly it stands right already; and what is moved would be read aloud again.
    if ((previous?.seq ?? 0) < row.seq && (next?.seq ?? Infinity) > row.seq) return this.#refit(index);
    this.#remove(row);
    return this.#place(row);
  }

  /** @param {number} index */
  #refit(index) {
    for (const at of [index, index + 1]) this.#rows[at]?.follow(this.#rows[at - 1]);
  }

  /** Where a row with this seq belongs. @param {number} seq */
  #indexOf(seq) {
    let index = this.#rows.length;
    while (index > 0 && this.#rows[index - 1].seq > seq) index -= 1;
    return index;
  }

  /** The row on its way that this event is, told by what it says: the ack may come later.
   * @param {Frame} event */
  #own(event) {
    if (event.from?.user !== this.me()) return undefined;
    const same = (/** @type {MessageRow} */ row) =>
      row.fate === "pending" &&
      row.text === event.data?.text &&
      row.aim?.user === event.data?.to?.user;
    return [...this.#pending.values()].find(same);
  }

  /** @param {Frame} event */
  #grown(event) {
    clearTimeout(this.#settled);
    this.#settled = setTimeout(() => this.fill(), SETTLED);
    if (this.#pinned) {
      this.#shed();
      this.#toEndSoon();
    } else if (event.type !== "presence") {
      this.#newest.hidden = false;
    }
  }

  /** Once for all that comes in one frame: a catch-up is thousands of rows. */
  #toEndSoon() {
    if (this.#scrolling) return;
    this.#scrolling = true;
    requestAnimationFrame(() => {
      this.#scrolling = false;
      if (this.#pinned) this.toEnd();
    });
  }

  #shed() {
    if (this.#rows.length <= MOST) return;
    const dropped = this.#rows.splice(0, MOST / 3);
    for (const row of dropped) row.node.remove();
    const first = this.#rows[0].seq;
    this.#seqs = new Set([...this.#seqs].filter((seq) => seq >= first));
    this.#more = true;
    this.#beginning.hidden = true;
    this.#refit(0);
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    this.#pinned = scrollHeight - scrollTop - clientHeight < NEAR;
    if (this.#pinned) this.#newest.hidden = true;
    this.fill();
  }
}
